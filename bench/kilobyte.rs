//! The server of `bench/one-hop`: answers every HTTP/1.1 request with one kilobyte.
//!
//! Not an HTTP server: it takes each empty line for the end of a request. Built with
//! `rustc` alone, so that no dependency is built with other features than the program's.

use std::{
    env,
    error::Error,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: kilobyte ADDRESS:PORT")?;
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n";
    let answer = [head.as_bytes(), &[b'x'; 1024]].concat();
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    // A connection that breaks is its client's affair.
    let _ = stream.set_nodelay(true);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        read.extend_from_slice(&buffer[..count]);
        while let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            read.drain(..end + 4);
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

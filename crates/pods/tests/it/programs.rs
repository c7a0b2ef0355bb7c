//! The programs that run in the tests' pods.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use weft_nft::{Capture, Change, to_batch};
use weft_pods::supervisor::{Users, users};
use weft_process::sockets;

/// Answers every connection with its name and the peer's address.
pub fn serve(port: &str, name: &str) -> ExitCode {
    let listener = TcpListener::bind(("0.0.0.0", port.parse().unwrap())).unwrap();
    println!("{name} listens");
    answer(&listener, name)
}

/// The same on a socket that the node lends.
pub fn serve_lent(port: &str, name: &str) -> ExitCode {
    let lease = sockets::ask(Path::new(sockets::PATH), port.parse().unwrap()).unwrap();
    let lease = lease.expect("the node lends a socket");
    println!("{name} was lent {:?}", lease.addresses().unwrap());
    answer(&lease.listeners[0], name)
}

fn answer(listener: &TcpListener, name: &str) -> ExitCode {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        let _ = writeln!(stream, "{name} {peer}");
    }
    ExitCode::SUCCESS
}

/// Prints what an address says.
pub fn ask(address: &str) -> ExitCode {
    match fetch(address) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{:?}", error.kind());
            ExitCode::FAILURE
        }
    }
}

/// What an address says until it closes.
pub fn fetch(address: &str) -> std::io::Result<String> {
    let address = address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Prints the addresses of a name, as the C library finds them.
pub fn look_up(name: &str) -> ExitCode {
    let mut found: Vec<String> = (name, 0)
        .to_socket_addrs()
        .map(|all| all.map(|address: SocketAddr| address.ip().to_string()).collect())
        .unwrap_or_default();
    found.sort();
    found.dedup();
    println!("{}", if found.is_empty() { "none".to_owned() } else { found.join(" ") });
    ExitCode::SUCCESS
}

/// Leads the pod's connections through ports of its own.
pub fn capture(flags: &[&str]) -> ExitCode {
    let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
    let mut capture = Capture::from_arguments(&flags).unwrap();
    if users() == Users::One {
        capture = capture.excluding_mark(1337);
    }
    let changes: Vec<Change> = capture.tables().into_iter().map(Change::ReplaceTable).collect();
    weft_process::netfilter::apply(&to_batch(&changes)).unwrap();
    ExitCode::SUCCESS
}

/// Ends well when it is asked to, and says so.
pub fn graceful(seconds: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate()).unwrap();
        println!("waiting");
        let patience = Duration::from_secs(seconds.parse().unwrap());
        let asked = tokio::time::timeout(patience, term.recv()).await.is_ok();
        println!("{}", if asked { "asked to end" } else { "never asked" });
    });
    ExitCode::SUCCESS
}

//! A client outside of the mesh: plain HTTP/1.1 over a socket, one request a connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::mesh::PATIENCE;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body, with chunks joined.
    pub body: String,
}

/// Sends one request and reads the whole answer.
#[track_caller]
pub fn send(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let mut stream = TcpStream::connect(to).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let host = match headers.to_ascii_lowercase().contains("host:") {
        true => String::new(),
        false => format!("Host: {to}\r\n"),
    };
    let length = match body.is_empty() {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let head =
        format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).expect("the gateway reads");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the gateway answers");
    parse(&String::from_utf8_lossy(&all))
}

/// `GET path`.
#[track_caller]
pub fn get(to: SocketAddr, path: &str) -> Response {
    send(to, "GET", path, "", "")
}

#[track_caller]
fn parse(all: &str) -> Response {
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {all:?}"));
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let head = head.to_ascii_lowercase();
    let body = match head.contains("transfer-encoding: chunked") {
        true => join(body),
        false => body.to_owned(),
    };
    Response { status: status.expect("a status line has a status"), head, body }
}

fn join(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || size > after.len() {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

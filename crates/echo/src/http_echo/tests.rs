//! The application's behaviour over loopback.

use std::{net::SocketAddr, sync::Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::*;

/// A running application; it ends with this value.
struct Running {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<io::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(text: &str, next: Option<SocketAddr>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let text = Some(text.to_owned());
    let next = next.map(|next| next.to_string());
    let settings = Settings::from_variables(text, next, None).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let log_line: Log = Arc::new(move |line| lines.lock().unwrap().push(line.to_owned()));
    let task = tokio::spawn(serve(listener, settings, log_line));
    Running { address, log, task }
}

/// Status and body of one raw request.
async fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap().split_once(' ').unwrap().1;
    (status.to_owned(), body.to_owned())
}

#[track_caller]
fn check((status, body): (String, String), expected_status: &str, expected_body: &str) {
    assert_eq!(status, expected_status);
    assert_eq!(body, expected_body);
}

#[tokio::test]
async fn every_path_and_method_is_answered_with_the_text() {
    let last = start("!!!", None).await;
    for (line, body) in [("GET /", "!!!"), ("POST /other?a=b", "!!!"), ("HEAD /x", "")] {
        let request = format!("{line} HTTP/1.1\nHost: x\nConnection: close\n\n");
        check(exchange(last.address, &request).await, "200 OK", body);
    }
    assert_eq!(*last.log.lock().unwrap(), ["GET /", "POST /other?a=b", "HEAD /x"]);
}

#[tokio::test]
async fn a_chain_of_three_says_hello_world() {
    let last = start("!!!", None).await;
    let middle = start("world", Some(last.address)).await;
    let first = start("hello", Some(middle.address)).await;
    let answer = exchange(first.address, "GET /hello HTTP/1.0\n\n").await;
    check(answer, "200 OK", "hello world !!!\n\n");
    assert_eq!(*last.log.lock().unwrap(), ["GET /"]);
}

#[tokio::test]
async fn a_next_that_cannot_be_reached_takes_the_place_of_the_text() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let first = start("hello", Some(closed)).await;
    let answer = exchange(first.address, "GET / HTTP/1.0\n\n").await;
    check(answer, "200 OK", &format!("Couldn't connect to http://{closed}/"));
}

#[tokio::test]
async fn only_tracing_headers_are_passed_on() {
    let next = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = start("hello", Some(next.local_addr().unwrap())).await;
    let asking = exchange(
        first.address,
        "GET / HTTP/1.0\nX-Request-Id: 7\nx-b3-traceid: 8\nend-user: john\nauthorization: x\n\n",
    );
    let answering = async {
        let (mut stream, _) = next.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.0 500 x\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        String::from_utf8(head).unwrap()
    };
    let (answer, head) = tokio::join!(asking, answering);
    check(answer, "200 OK", "hello no\n");
    assert!(head.contains("x-request-id: 7\r\n") && head.contains("x-b3-traceid: 8\r\n"), "{head}");
    assert!(!head.contains("end-user") && !head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn tokens_are_said_to_be_missing() {
    let last = start("!!!", None).await;
    let (status, body) = exchange(last.address, "GET /login HTTP/1.0\n\n").await;
    assert_eq!(status, "501 Not Implemented");
    assert!(body.contains("tokens"), "{body}");
}

#[test]
fn settings_come_from_the_images_variables() {
    let some = |text: &str| Some(text.to_owned());
    let settings = Settings::from_variables(some("x"), some(""), some("5")).unwrap();
    assert_eq!((settings.next, settings.latency), (None, Duration::from_secs(5)));
    let wrong = Settings::from_variables(None, None, some("5s")).unwrap_err();
    assert_eq!(wrong, SettingsError::Latency("5s".to_owned()));
}

//! Paths, callers, and connections that hang.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::shutdown::{self, Stop};

fn paths() -> Paths {
    Paths::default()
        .get("/ready", |_| async { Answer::text("LIVE\n") })
        .get("/echo/*", |asked: Asked| async move {
            Answer::text(asked.query("say").unwrap_or("-").to_owned())
        })
        .get("/large", |_| async {
            Answer::streamed_metrics(Body::streamed(|pieces| async move {
                for _ in 0..200 {
                    pieces.send(vec![b'x'; 32 * 1024]).await?;
                }
                pieces.end().await
            }))
        })
        .post("/quit", |_| async { Answer::text("bye\n") })
}

async fn ask(method: &str, target: &str, peer: &str, headers: HeaderMap) -> String {
    let asked = Asked {
        method: method.parse().unwrap(),
        uri: target.parse().unwrap(),
        headers,
        peer: SocketAddr::new(peer.parse().unwrap(), 4000),
    };
    let answer = paths().answer(asked).await;
    let body = answer.body.collect().await.unwrap();
    let first = String::from_utf8(body.to_vec()).unwrap();
    format!("{} {}", answer.status.as_u16(), first.lines().next().unwrap_or_default())
}

#[tokio::test]
async fn a_path_and_method_lead_to_their_function() {
    for (method, target, expected) in [
        ("GET", "/ready", "200 LIVE"),
        ("HEAD", "/ready?x=1", "200 LIVE"),
        ("GET", "/echo/a?b=c&say=hello", "200 hello"),
        ("GET", "/quit", "405 /quit is not served here with GET"),
        ("POST", "/quit", "200 bye"),
        ("GET", "/ready/", "404 nothing is served at this path; there is"),
    ] {
        assert_eq!(ask(method, target, "127.0.0.1", HeaderMap::new()).await, expected, "{target}");
    }
}

#[tokio::test]
async fn only_callers_on_this_machine_may_change_anything() {
    let refused = "403 only for callers on this machine, and not for browsers";
    for peer in ["10.1.2.3", "169.254.1.1", "fe80::1", "::ffff:10.1.2.3", "127.0.0.6", "0.0.0.0"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUIT"] {
            for target in ["/quit", "/ready", "/none"] {
                let answer = ask(method, target, peer, HeaderMap::new()).await;
                assert_eq!(answer, refused, "{method} {target} from {peer}");
            }
        }
        assert_eq!(ask("GET", "/ready", peer, HeaderMap::new()).await, "200 LIVE", "{peer}");
    }
    for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(ask("POST", "/quit", peer, HeaderMap::new()).await, "200 bye", "{peer}");
        let mut browser = HeaderMap::new();
        browser.insert(header::ORIGIN, "http://evil.example".parse().unwrap());
        assert_eq!(ask("POST", "/quit", peer, browser).await, refused, "{peer}");
    }
}

/// A port that is served until it is dropped.
struct Port {
    address: SocketAddr,
    stop: Stop,
    serving: JoinHandle<()>,
}

async fn port(limits: Limits) -> Port {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let (stop, stopping) = shutdown::channel();
    let serving = tokio::spawn(paths().serve_within(listener, stopping, limits));
    Port { address, stop, serving }
}

impl Port {
    /// A connection from 127.0.0.`source` that has said `text`.
    async fn client(&self, source: u8, text: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, source], 0))).unwrap();
        let mut client = socket.connect(self.address).await.unwrap();
        client.write_all(text.as_bytes()).await.unwrap();
        client
    }

    /// The whole answer to a GET; `None` when it does not come in time.
    async fn get(&self, source: u8, path: &str) -> Option<String> {
        let mut client = self.client(source, &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        let mut answer = String::new();
        timeout(Duration::from_secs(20), client.read_to_string(&mut answer)).await.ok()?.ok()?;
        Some(answer)
    }
}

#[tokio::test]
async fn a_listener_is_served_until_the_end() {
    let port = port(Limits::default()).await;
    let answer = port.get(1, "/ready").await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nLIVE\n"), "{answer}");
    port.stop.stop();
    port.serving.await.unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn a_caller_at_another_address_of_the_machine_is_refused() {
    // From 127.0.0.6 come connections that a sidecar makes for others.
    let port = port(Limits::default()).await;
    for (source, expected) in [(6, "403"), (1, "200")] {
        let mut client = port.client(source, "POST /quit HTTP/1.0\r\n\r\n").await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.0 {expected} ")), "{answer}");
    }
}

/// Opens `count` connections that say `text` and then hang, from one source or many.
async fn hang(port: &Port, count: usize, text: &str, sources: usize) -> Vec<TcpStream> {
    let mut hanging = Vec::new();
    for number in 0..count {
        let source = 10 + u8::try_from(number % sources).unwrap();
        hanging.push(port.client(source, text).await);
    }
    hanging
}

#[tokio::test]
async fn probes_and_scrapes_are_answered_while_others_hang() {
    for (what, text) in [
        ("idle", ""),
        ("slow heads", "GET /rea"),
        ("slow readers", "GET /large HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        for sources in [1, 20] {
            let port = port(Limits::default()).await;
            let _hanging = hang(&port, 1000, text, sources).await;
            let answer = port.get(2, "/ready").await;
            assert!(answer.is_some_and(|answer| answer.contains("LIVE")), "{what}, {sources}");
            let scrape = port.get(3, "/large").await.map(|answer| answer.len());
            assert!(scrape.is_some_and(|length| length > 200 * 32 * 1024), "{what}, {sources}");
        }
    }
}

#[tokio::test]
async fn one_source_never_has_all_places() {
    let port = port(Limits { connections: 8, per_source: 4, ..Limits::default() }).await;
    let mut good = port.client(2, "").await;
    let _hanging = hang(&port, 40, "", 1).await;
    good.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    good.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("LIVE\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_ended() {
    for text in ["", "GET /rea", "GET /ready HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let port = port(Limits::default()).await;
        let mut client = port.client(1, text).await;
        let began = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(31), "{took:?}");
    }
}

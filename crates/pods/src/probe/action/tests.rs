//! What the fields of a probe ask for, against a server that says one thing.

use futures::FutureExt;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::spec::Probe;

/// Tries `probe`, with `PORT` as its port, against a server that says `answer`
/// to the first bytes it hears. What was heard, and why it did not succeed.
fn probed(answer: &'static str, probe: &serde_json::Value) -> (String, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 1024];
            let length = stream.read(&mut heard).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Until the client has had enough.
            while stream.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0) {}
            String::from_utf8_lossy(&heard[..length]).into_owned()
        });
        let probe = probe.to_string().replace("\"PORT\"", &port.to_string());
        let probe: Probe = serde_json::from_str(&probe).unwrap();
        let exec = |_: Vec<String>| async { Ok(0) }.boxed();
        let container = Container::default();
        let target =
            ProbeTarget { address: Ipv4Addr::LOCALHOST, container: &container, exec: &exec };
        let tried = attempt(&target, &probe.action(), probe.timeout()).await;
        let heard = serving.await.unwrap().replace(&port.to_string(), "PORT");
        (heard, tried.err().unwrap_or_default())
    })
}

#[track_caller]
fn check(answer: &'static str, probe: serde_json::Value, heard: &str, expected: &str) {
    let (found, error) = probed(answer, &probe);
    assert!(found.contains(heard), "{found:?}");
    assert_eq!(error, expected);
}

#[test]
fn an_http_probe_is_content_below_400() {
    let get = json!({"httpGet": {"port": "PORT", "path": "healthz"}});
    check("HTTP/1.1 200 OK\r\n\r\n", get.clone(), "GET /healthz HTTP/1.1\r\n", "");
    check("HTTP/1.1 302 Found\r\n\r\n", get.clone(), "host: 127.0.0.1:PORT\r\n", "");
    let failed = "HTTP probe failed with statuscode: 500";
    check("HTTP/1.1 500 Oh\r\n\r\n", get, "user-agent: kube-probe/", failed);
    let named = json!({"httpGet": {"port": "PORT", "httpHeaders": [
        {"name": "Host", "value": "shop.example"}, {"name": "X-Probe", "value": "yes"},
    ]}});
    check("HTTP/1.1 200 OK\r\n\r\n", named.clone(), "host: shop.example\r\n", "");
    check("HTTP/1.1 200 OK\r\n\r\n", named, "x-probe: yes\r\n", "");
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    check("", json!({"tcpSocket": {"port": "PORT"}}), "", "");
    let late = "no answer within 1s";
    check("", json!({"grpc": {"port": "PORT", "service": "up"}}), "PRI * HTTP/2.0\r\n", late);
    // What TLS begins with.
    let secure = json!({"httpGet": {"scheme": "HTTPS", "port": "PORT"}});
    check("", secure, "\x16\x03\x01", late);
}

#[test]
fn a_probe_that_asks_for_nothing_fails() {
    let container = Container::default();
    let exec = |_: Vec<String>| async { Ok(0) }.boxed();
    let target = ProbeTarget { address: Ipv4Addr::LOCALHOST, container: &container, exec: &exec };
    let tried = perform(&target, &Action::default()).now_or_never().unwrap();
    assert_eq!(tried, Err("it names none of exec, httpGet, tcpSocket, grpc, sleep".into()));
}

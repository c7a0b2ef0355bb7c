//! Commands, attached streams, forwarded ports and proxied requests.

use futures::{SinkExt as _, StreamExt as _};
use http::Method;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::client::{World, request};

const POD: &str = "/api/v1/namespaces/default/pods/p";

async fn with_pod() -> World {
    let world = World::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": 8080}]}]}});
    let answer = world.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    world
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn socket(world: &World, path: &str, protocol: &str) -> Socket {
    let mut request = request(Method::GET, path, "", "");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", protocol),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = world.open(request).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

/// What comes on each channel until the end, joined.
async fn drain(socket: &mut Socket) -> Vec<(u8, String)> {
    let mut channels: Vec<(u8, String)> = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        let text = String::from_utf8_lossy(&bytes[1..]).into_owned();
        match channels.iter_mut().find(|(channel, _)| *channel == bytes[0]) {
            Some((_, known)) => known.push_str(&text),
            None => channels.push((bytes[0], text)),
        }
    }
    channels
}

#[tokio::test]
async fn a_command_gets_its_input_and_its_end_is_told() {
    let world = with_pod().await;
    let path = format!("{POD}/exec?command=cat&stdin=true&stdout=true");
    let mut session = socket(&world, &path, "v5.channel.k8s.io").await;
    session.send(Message::Binary(b"\x00hello"[..].into())).await.unwrap();
    session.send(Message::Binary(b"\xff\x00"[..].into())).await.unwrap();
    let channels = drain(&mut session).await;
    assert_eq!(channels[0], (1, "hello".to_owned()));
    let status: Value = serde_json::from_str(&channels[1].1).unwrap();
    assert_eq!((channels[1].0, &status["status"]), (3, &json!("Success")));
}

#[tokio::test]
async fn a_command_that_fails_tells_its_exit_code() {
    let world = with_pod().await;
    let mut session =
        socket(&world, &format!("{POD}/exec?command=complain"), "v4.channel.k8s.io").await;
    let channels = drain(&mut session).await;
    assert_eq!(channels[0], (2, "no\n".to_owned()));
    let status: Value = serde_json::from_str(&channels[1].1).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "7");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_or_on_the_error_channel() {
    let world = with_pod().await;
    let mut session =
        socket(&world, &format!("{POD}/exec?command=dance"), "v5.channel.k8s.io").await;
    let channels = drain(&mut session).await;
    assert!(channels[0].1.contains("no such command: dance"), "{channels:?}");
    let plain = world.get(&format!("{POD}/exec?command=x")).await;
    assert_eq!(plain.code, 400, "{}", plain.body);
    let wrong = world.get(&format!("{POD}/exec?command=x&container=nobody")).await;
    assert!(wrong.body.contains("container nobody is not valid for pod p"), "{}", wrong.body);
    let mut old = request(Method::POST, &format!("{POD}/exec?command=x"), "", "");
    old.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    old.headers_mut().insert("upgrade", "SPDY/3.1".parse().unwrap());
    let old = world.call(old).await;
    assert!(old.code == 400 && old.body.contains("SPDY is not served"), "{}", old.body);
}

#[tokio::test]
async fn a_port_is_forwarded_both_ways() {
    let world = with_pod().await;
    let mut session =
        socket(&world, &format!("{POD}/portforward?ports=8080"), "v4.channel.k8s.io").await;
    session.send(Message::Binary(b"\x00GET /x HTTP/1.1\r\n\r\n"[..].into())).await.unwrap();
    let channels = drain(&mut session).await;
    assert!(channels[0].1.ends_with("8080: GET /x HTTP/1.1"), "{channels:?}");
}

#[tokio::test]
async fn a_request_reaches_a_pods_port_by_number_and_by_name() {
    let world = with_pod().await;
    let path = "/api/v1/namespaces/default/pods/p:web/proxy/a/b?c=d";
    assert_eq!(world.get(path).await.body, "8080: GET /a/b?c=d HTTP/1.1");
    let path = "/api/v1/namespaces/default/pods/p:99/proxy/";
    assert_eq!(world.get(path).await.body, "99: GET / HTTP/1.1");
    let refused = world.get("/api/v1/namespaces/default/pods/p:nothing/proxy/").await;
    assert_eq!(refused.code, 400, "{}", refused.body);
}

#[tokio::test]
async fn logs_come_in_the_part_that_was_asked_for() {
    let world = with_pod().await;
    assert_eq!(world.get(&format!("{POD}/log")).await.body, "c line 1\nc line 2\nc line 3\n");
    assert_eq!(world.get(&format!("{POD}/log?tailLines=1&follow=true")).await.body, "c line 3\n");
    let refused = world.get(&format!("{POD}/log?previous=true")).await;
    assert_eq!(refused.code, 400, "{}", refused.body);
}

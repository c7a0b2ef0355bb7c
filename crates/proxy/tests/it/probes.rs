//! Probes that the proxy makes for the node, as the injector writes them down.

use std::{net::SocketAddr, thread};

use serde_json::{Value, json};

use crate::{
    application,
    world::{Running, World, brief},
};

/// The port of a fresh application; over TLS with these protocols.
fn application(tls: Option<&'static [&'static str]>) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            application::serve(listener, tls).await;
        });
    });
    port
}

/// A port that is taken, and at which nobody listens.
fn closed() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// A proxy that knows `probe` as `/app-health/web/readyz`.
fn knowing(probe: &Value) -> Running {
    let mut world = World::new();
    let probes = json!({ "/app-health/web/readyz": probe });
    world.options.application.probes = Some(probes.to_string());
    world.start()
}

#[track_caller]
fn check(mut probe: Value, expected: &str) {
    if probe["timeoutSeconds"].is_null() {
        // A machine that is busy is not what is asked about.
        probe["timeoutSeconds"] = json!(60);
    }
    let answer = knowing(&probe).get("merged", "/app-health/web/readyz");
    assert_eq!(brief(&answer).trim(), expected, "{probe}");
}

#[test]
fn an_http_probe_has_the_applications_status() {
    let port = application(None);
    let get = |path: &str| json!({ "httpGet": { "port": port, "path": path } });
    check(get("/healthz"), "200");
    check(get("healthz"), "200");
    check(get("/moved"), "302");
    check(get("/broken"), "503");
    check(
        json!({ "httpGet": { "port": port, "path": "/host", "scheme": "HTTP",
        "httpHeaders": [{ "name": "Host", "value": "shop.example" }] } }),
        "200",
    );
}

#[test]
fn an_https_probe_has_it_too_whatever_protocols_the_server_offers() {
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let port = application(Some(protocols));
        let get =
            |path: &str| json!({ "httpGet": { "port": port, "path": path, "scheme": "HTTPS" } });
        check(get("/healthz"), "200");
        check(get("/broken"), "503");
    }
    let plain = application(None);
    let reason = "500 TLS handshake: received corrupt message of type InvalidContentType";
    check(json!({ "httpGet": { "port": plain, "path": "/healthz", "scheme": "HTTPS" } }), reason);
}

#[test]
fn a_grpc_probe_is_200_when_serving_and_else_500() {
    let port = application(None);
    let grpc = |service: &str| json!({ "grpc": { "port": port, "service": service } });
    check(json!({ "grpc": { "port": port }, "timeoutSeconds": 1 }), "200");
    check(grpc("up"), "200");
    check(grpc("down"), "500 service unhealthy (responded with \"NOT_SERVING\")");
    check(grpc("missing"), "500 health rpc failed: code 5");
}

#[test]
fn a_probe_without_an_answer_is_500_with_the_reason() {
    let (_taken, port) = closed();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let refused = format!("500 connecting to {address}: Connection refused (os error 111)");
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        check(json!({ kind: { "port": port } }), &refused);
    }
    check(json!({ "exec": {} }), "500 the probe has neither httpGet nor tcpSocket nor grpc");
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    check(json!({ "tcpSocket": { "port": port } }), "200");
    for kind in ["httpGet", "grpc"] {
        check(json!({ kind: { "port": port }, "timeoutSeconds": 1 }), "500 no answer within 1s");
    }
}

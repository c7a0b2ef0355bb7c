//! HTTP/1.0, HTTP/2, gRPC, upgrades: what works, and what is refused.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Request, Response, client::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use crate::world::{Client, World, backend, brief, get, lines, ok, server};

#[test]
fn http_1_0_is_http() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let server = server(&[chunked, &ok("kept")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.say("GET / HTTP/1.0\r\n\r\n");
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
    let kept = proxy.ask("GET / HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n");
    assert!(kept.contains("connection: keep-alive"), "{kept}");
    assert!(server.heard()[1].starts_with("GET / HTTP/1.1\r\n"), "{:?}", server.heard());
}

#[test]
fn websockets_are_relayed_and_http2_is_not_upgraded_to() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                  \r\nserver first";
    let server = server(&[switch, &ok("plain")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    let head = client
        .ask("GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut client.0, &mut first).unwrap();
    assert_eq!(&first, b"server first");
    drop(client);
    let upgrade = "GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\n\
                   upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    assert_eq!(brief(&proxy.ask(upgrade)), "200 plain");
    assert!(!server.heard()[1].contains("upgrade"), "{:?}", server.heard());
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let server = server(&[switch, "pong\r\n\r\n then close"]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    client.say("ping\r\n\r\n");
    assert_eq!(client.rest(), "pong\r\n\r\n");
    assert_eq!(server.heard()[1], "ping\r\n\r\n");
}

#[test]
fn an_upgraded_connection_counts_as_busy_until_it_ends() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: \
                  websocket\r\n\r\n";
    let server = server(&[switch, "bye\r\n\r\n then close"]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let busy =
        |count: usize| proxy.get("admin", "/backends").contains(&format!("\"busy\": {count}"));
    assert!(busy(1), "{}", proxy.get("admin", "/backends"));
    client.say("quit\r\n\r\n");
    assert_eq!(client.rest(), "bye\r\n\r\n");
    drop(client);
    while !busy(0) {
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_grpc_client_that_says_how_long_it_waits_is_told_when_that_is_over() {
    let silent = server(&["hang"]);
    let (world, log) = World::new()
        .backend("silent", &[silent.address])
        .resource(speaking("one", "silent", "http1"))
        .all_to("one")
        .log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%");
    let proxy = world.start();
    let request = Request::post("http://x/a.B/C").header("grpc-timeout", "30m");
    let (parts, _) = send_over_http2(proxy.at("test"), request, true).await;
    assert_eq!(parts.headers["grpc-status"], "4");
    assert_eq!(lines(&log, 1), ["200 DT max_duration_timeout"]);
}

#[test]
fn an_upgraded_connection_is_waited_for_when_the_proxy_ends() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let server = server(&[switch, "pong\r\n\r\n", "bye\r\n\r\n then close"]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.ask("ping\r\n\r\n"), "pong\r\n\r\n");
    let ending = std::thread::spawn(|| proxy.end());
    client.say("quit\r\n\r\n");
    assert_eq!(client.rest(), "bye\r\n\r\n");
    drop(client);
    ending.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_allows_few_streams_gets_more_connections() {
    let server = meeting(2).await;
    let proxy = World::new()
        .backend("few", &[server])
        .resource(speaking("all", "few", "http2"))
        .all_to("all")
        .start();
    let at = proxy.at("test");
    // From here on the proxy knows what the server allows.
    assert_eq!(over_http2(at, "http://x/alone", false).await.1, "alone");
    let ask = || over_http2(at, "http://x/together", false);
    let (one, two) = tokio::join!(ask(), ask());
    for (parts, body) in [one, two] {
        assert_eq!((parts.status.as_u16(), &*body), (200, "together"));
    }
}

/// A server that allows one stream on each connection, and answers nobody who asks
/// for `/together` before so many have asked.
async fn meeting(size: usize) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let everybody = Arc::new(tokio::sync::Barrier::new(size));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let everybody = Arc::clone(&everybody);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let everybody = Arc::clone(&everybody);
                async move {
                    let text = request.uri().path()[1..].to_owned();
                    if text == "together" {
                        everybody.wait().await;
                    }
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(text))))
                }
            });
            let mut serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            serving.max_concurrent_streams(1);
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A server of HTTP/2 that answers with its version and the path.
async fn http2_server() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                let text = format!(
                    "{:?} {} {}",
                    request.version(),
                    request.uri(),
                    request.headers().get("host").is_some()
                );
                let mut response = Response::new(Full::new(Bytes::from(text)));
                response.headers_mut().insert("grpc-status", "0".parse().unwrap());
                Ok::<_, hyper::Error>(response)
            });
            let io = TokioIo::new(stream);
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serving.serve_connection(io, service));
        }
    });
    address
}

/// A backend with the endpoints called `endpoints`, to which `upstream` is spoken.
fn speaking(name: &str, endpoints: &str, upstream: &str) -> serde_json::Value {
    let mut backend = backend(name, json!({ "endpoints": endpoints }));
    backend["upstream"] = json!(upstream);
    json!({ "backend": backend })
}

async fn over_http2(proxy: SocketAddr, uri: &str, grpc: bool) -> (http::response::Parts, String) {
    send_over_http2(proxy, Request::get(uri), grpc).await
}

async fn send_over_http2(
    proxy: SocketAddr,
    request: http::request::Builder,
    grpc: bool,
) -> (http::response::Parts, String) {
    let stream = tokio::net::TcpStream::connect(proxy).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = request.body(Empty::<Bytes>::new()).unwrap();
    if grpc {
        let content_type = "application/grpc".parse().unwrap();
        request.headers_mut().insert("content-type", content_type);
    }
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn http2_is_spoken_on_both_sides_and_translated_where_one_cannot() {
    let (two, one) = (http2_server().await, server(&[&ok("from http/1")]));
    let proxy = World::new()
        .backend("two", &[two])
        .backend("one", &[one.address])
        .resource(speaking("always", "two", "http2"))
        .resource(speaking("never", "one", "http1"))
        .route(&["two"], json!([crate::world::rule("two")]))
        .route(&["always"], json!([crate::world::rule("always")]))
        .route(&["never"], json!([crate::world::rule("never")]))
        .start();
    let at = proxy.at("test");
    let (parts, body) = over_http2(at, "http://two/a?b=1", false).await;
    assert_eq!((parts.status.as_u16(), &*body), (200, "HTTP/2.0 http://two/a?b=1 false"));
    assert_eq!(parts.headers["server"], "istio-envoy");
    let asked = tokio::task::spawn_blocking(move || Client::to(at).ask(&get("always", "/x")));
    assert_eq!(brief(&asked.await.unwrap()), "200 HTTP/2.0 http://always/x false");
    let (_, body) = over_http2(at, "http://never/y", false).await;
    assert_eq!(body, "from http/1");
    let heard = one.heard().remove(0);
    assert!(heard.starts_with("GET /y HTTP/1.1\r\nhost: never\r\n"), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn grpc_clients_are_told_in_their_own_form() {
    let proxy = World::new().backend("none", &[]).all_to("none").start();
    let (parts, body) = over_http2(proxy.at("test"), "http://x/a.B/C", true).await;
    assert_eq!((parts.status.as_u16(), &*body), (200, ""));
    assert_eq!(parts.headers["grpc-status"], "14");
    assert_eq!(parts.headers["grpc-message"], "no healthy upstream");
    assert_eq!(parts.headers["content-type"], "application/grpc");
}

//! Probes of an application on loopback.

use tokio::net::TcpListener;
use weft_testkit::application;

use super::*;

/// What `ask` learns over a connection to a fresh application.
fn over<T>(tls: Option<&'static [&'static str]>, ask: impl AsyncFnOnce(TcpStream) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(application::serve(listener, tls));
        ask(TcpStream::connect(address).await.unwrap()).await
    })
}

/// The status, or why it is missing.
#[track_caller]
fn check_get(tls: Option<&'static [&'static str]>, question: &Get, expected: &str) {
    let found = over(tls, async |stream| get(stream, question).await);
    assert_eq!(found.map_or_else(|error| error.to_string(), |status| status.to_string()), expected);
}

/// An empty text is a success.
#[track_caller]
fn check_health(service: &str, expected: &str) {
    let found = over(None, async |stream| health(stream, service).await);
    assert_eq!(found.map_or_else(|error| error.to_string(), |()| String::new()), expected);
}

fn question(secure: bool, path: &str) -> Get {
    Get { secure, path: path.to_owned(), headers: Vec::new() }
}

fn with_header(get: Get, name: &str, value: &str) -> Get {
    Get { headers: vec![(name.to_owned(), value.to_owned())], ..get }
}

#[test]
fn health_is_asked_of_a_service_or_of_all() {
    check_health("", "");
    check_health("up", "");
    check_health("down", "service unhealthy (responded with \"NOT_SERVING\")");
    check_health("empty", "service unhealthy (responded with \"UNKNOWN\")");
    check_health("missing", "health rpc failed: code 5");
    let none = "this server does not implement the grpc health protocol (grpc.health.v1.Health)";
    check_health("old", none);
    check_health("text", "health rpc failed: the answer is not a HealthCheckResponse");
}

#[test]
fn a_status_is_told_whatever_it_is() {
    for (path, status) in
        [("/healthz", "200"), ("healthz", "200"), ("/moved", "302"), ("", "503"), ("/x", "503")]
    {
        check_get(None, &question(false, path), status);
    }
    let named = with_header(question(false, "/host"), "Host", "shop.example");
    check_get(None, &named, "200");
    let field = with_header(question(false, "/field"), "X-Probe", "yes");
    check_get(None, &field, "200");
    let other_agent = with_header(question(false, "/healthz"), "User-Agent", "curl");
    check_get(None, &other_agent, "503");
    let none = with_header(question(false, "/"), "X Probe", "yes");
    check_get(None, &none, "the request cannot be made: invalid HTTP header name");
}

#[test]
fn over_tls_anybody_is_asked_in_the_protocol_that_was_negotiated() {
    let named = with_header(question(true, "/host"), "Host", "shop.example");
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &["h2"], &[]] {
        check_get(Some(protocols), &question(true, "/healthz"), "200");
        check_get(Some(protocols), &question(true, "/broken"), "503");
        check_get(Some(protocols), &named, "200");
    }
    let plain = "TLS handshake: received corrupt message of type InvalidContentType";
    check_get(None, &question(true, "/healthz"), plain);
}

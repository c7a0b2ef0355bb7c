//! Probes against servers on loopback.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, service::service_fn};
use hyper_util::{rt::TokioExecutor, rt::TokioIo, server::conn::auto};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::json;
use tokio::{io::AsyncRead, io::AsyncWrite, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::spec::Probe;

/// How a server of a test speaks.
#[derive(Clone, Copy)]
enum Speaks {
    Plain,
    Tls(&'static [&'static str]),
    /// It accepts, and says nothing.
    Nothing,
}

/// Asks a fresh server as `probe` says, with `PORT` as its port; an empty text
/// is a success.
#[track_caller]
fn check(speaks: Speaks, probe: serde_json::Value, expected: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(serve(listener, speaks));
        let probe = probe.to_string().replace("\"PORT\"", &port.to_string());
        let probe: Probe = serde_json::from_str(&probe).unwrap();
        let exec = |_: Vec<String>| async { Ok(0) }.boxed();
        let container = Container::default();
        let target = Target { address: Ipv4Addr::LOCALHOST, container: &container, exec: &exec };
        attempt(&target, &probe.action(), probe.timeout()).await
    });
    assert_eq!(found.err().unwrap_or_default(), expected);
}

async fn serve(listener: TcpListener, speaks: Speaks) {
    let (stream, _) = listener.accept().await.unwrap();
    match speaks {
        Speaks::Plain => answer_all(stream).await,
        Speaks::Tls(protocols) => {
            let acceptor = TlsAcceptor::from(Arc::new(self_signed(protocols)));
            // A client that does not speak TLS has been told so.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_all(stream).await;
            }
        }
        Speaks::Nothing => std::future::pending().await,
    }
}

/// A certificate that nobody vouches for, and for another name.
fn self_signed(protocols: &[&str]) -> ServerConfig {
    let made = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn answer_all<S>(stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let server = auto::Builder::new(TokioExecutor::new());
    // The client hangs up as soon as it has its answer.
    let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

type Answer = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let field = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let authority = request.uri().authority().map_or_else(|| field("host"), ToString::to_string);
    let agent = field("user-agent");
    let status = match path.as_str() {
        "/healthz" if agent.starts_with("kube-probe/") => 200,
        "/host" if authority == "shop.example" => 200,
        "/moved" => 302,
        "/grpc.health.v1.Health/Check" => return Ok(health(request).await),
        _ => 500,
    };
    let body = Full::new(Bytes::from_static(b"said\n")).boxed();
    Ok(Response::builder().status(status).body(body).unwrap())
}

/// A gRPC server that knows the services `up` and `down`, and is well as a whole.
async fn health(request: Request<Incoming>) -> Answer {
    let asked = request.into_body().collect().await.unwrap().to_bytes();
    let (message, code): (&[u8], _) = match &asked[5..] {
        b"" | b"\x0a\x02up" => (b"\0\0\0\0\x02\x08\x01", "0"),
        b"\x0a\x04down" => (b"\0\0\0\0\x02\x08\x02", "0"),
        b"\x0a\x05empty" => (b"\0\0\0\0\0", "0"),
        b"\x0a\x04text" => (b"text", "0"),
        b"\x0a\x03old" => (b"", "12"),
        _ => (b"", "5"),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let body = Full::new(Bytes::copy_from_slice(message));
    let body = body.with_trailers(async move { Some(Ok(trailers)) }).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn grpc(service: &str) -> serde_json::Value {
    json!({"grpc": {"port": "PORT", "service": service}})
}

#[test]
fn a_grpc_probe_asks_for_the_health_of_its_service() {
    check(Speaks::Plain, json!({"grpc": {"port": "PORT"}}), "");
    check(Speaks::Plain, grpc("up"), "");
    check(Speaks::Plain, grpc("down"), "service unhealthy (responded with \"NOT_SERVING\")");
    check(Speaks::Plain, grpc("empty"), "service unhealthy (responded with \"UNKNOWN\")");
    check(Speaks::Plain, grpc("missing"), "health rpc failed: code 5");
    check(
        Speaks::Plain,
        grpc("old"),
        "this server does not implement the grpc health protocol (grpc.health.v1.Health)",
    );
    let odd = "health rpc failed: the answer is not a HealthCheckResponse";
    check(Speaks::Plain, grpc("text"), odd);
}

#[test]
fn an_https_probe_makes_its_request_whoever_the_server_is() {
    let get = |path: &str| json!({"httpGet": {"scheme": "HTTPS", "port": "PORT", "path": path}});
    let failed = "HTTP probe failed with statuscode: 500";
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &["h2"], &[]] {
        check(Speaks::Tls(protocols), get("/healthz"), "");
        check(Speaks::Tls(protocols), get("/broken"), failed);
    }
    let named = json!({"httpGet": {
        "scheme": "HTTPS", "port": "PORT", "path": "/host",
        "httpHeaders": [{"name": "Host", "value": "shop.example"}],
    }});
    check(Speaks::Tls(&["h2"]), named.clone(), "");
    check(Speaks::Tls(&["http/1.1"]), named, "");
    let plain = "TLS handshake: received corrupt message of type InvalidContentType";
    check(Speaks::Plain, get("/healthz"), plain);
}

#[test]
fn an_http_probe_is_content_below_400() {
    let get = |path: &str| json!({"httpGet": {"port": "PORT", "path": path}});
    check(Speaks::Plain, get("/healthz"), "");
    check(Speaks::Plain, get("healthz"), "");
    check(Speaks::Plain, get("/moved"), "");
    check(Speaks::Plain, get(""), "HTTP probe failed with statuscode: 500");
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let tcp = json!({"tcpSocket": {"port": "PORT"}});
    check(Speaks::Nothing, tcp, "");
    check(Speaks::Nothing, grpc(""), "no answer within 1s");
    let get = json!({"httpGet": {"scheme": "HTTPS", "port": "PORT"}});
    check(Speaks::Nothing, get, "no answer within 1s");
    let nothing = "it names none of exec, httpGet, tcpSocket, grpc, sleep";
    check(Speaks::Nothing, json!({}), nothing);
}

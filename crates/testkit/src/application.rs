//! An application that answers probes of every kind: over HTTP/1.1 and HTTP/2, with TLS or without, and gRPC's health
//! service.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{HeaderMap, Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::certificates::SelfSigned;

/// Serves every connection; over TLS when there are protocols to be negotiated.
pub async fn serve(listener: TcpListener, tls: Option<&[&str]>) {
    // For another name than the one that it is reached by.
    let certificate = SelfSigned::new("elsewhere.example");
    let acceptor = tls.map(|protocols| TlsAcceptor::from(certificate.server(protocols)));
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor {
                None => answer_all(stream).await,
                // A client that does not speak TLS has been told so.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer_all(stream).await;
                    }
                }
            }
        });
    }
}

async fn answer_all<S>(stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let server = auto::Builder::new(TokioExecutor::new());
    // The client hangs up as soon as it has its answer.
    let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let field = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let authority = request.uri().authority().map_or_else(|| field("host"), ToString::to_string);
    let status = match path.as_str() {
        "/healthz" if field("user-agent").starts_with("kube-probe/") => 200,
        "/host" if authority == "shop.example" => 200,
        "/field" if field("x-probe") == "yes" => 200,
        "/moved" => 302,
        "/grpc.health.v1.Health/Check" => return Ok(health(request).await),
        _ => 503,
    };
    let body = Full::new(Bytes::from_static(b"said\n")).boxed();
    Ok(Response::builder().status(status).body(body).expect("a status"))
}

/// A gRPC server that knows the services `up` and `down`, and is well as a whole.
async fn health(request: Request<Incoming>) -> Answer {
    let asked = request.into_body().collect().await.map(|body| body.to_bytes());
    let asked = asked.unwrap_or_default();
    let (message, code): (&[u8], _) = match asked.get(5..).unwrap_or(b"no message") {
        b"" | b"\x0a\x02up" => (b"\0\0\0\0\x02\x08\x01", "0"),
        b"\x0a\x04down" => (b"\0\0\0\0\x02\x08\x02", "0"),
        b"\x0a\x05empty" => (b"\0\0\0\0\0", "0"),
        b"\x0a\x04text" => (b"text", "0"),
        b"\x0a\x03old" => (b"", "12"),
        _ => (b"", "5"),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().expect("a code is a header's value"));
    let body = Full::new(Bytes::copy_from_slice(message));
    let body = body.with_trailers(async move { Some(Ok(trailers)) }).boxed();
    let head = Response::builder().header("content-type", "application/grpc");
    head.body(body).expect("a head")
}

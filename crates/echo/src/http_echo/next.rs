//! The call to the next service of the chain.
//!
//! Only the headers by which old tracers follow a request are passed on; who the
//! caller was, and what it may do, is not.

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What is passed on, and nothing else.
const PASSED_ON: [&str; 7] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-ot-span-context",
];

/// Why the next service gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum NextError {
    #[error("connecting failed: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("not an address: {0}")]
    Address(#[from] http::Error),
}

/// The body that `GET http://NEXT/` answers, whatever its status.
pub(super) async fn ask(next: &str, headers: &HeaderMap) -> Result<String, NextError> {
    let mut request = Request::get("/").header(header::HOST, next);
    for name in PASSED_ON {
        for value in headers.get_all(name) {
            request = request.header(name, value);
        }
    }
    let request = request
        .header(header::USER_AGENT, "Go-http-client/1.1")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let stream = match next.contains(':') {
        true => TcpStream::connect(next).await?,
        false => TcpStream::connect((next, 80)).await?,
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    };
    // The answer comes from the exchange; the connection only drives it.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

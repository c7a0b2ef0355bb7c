//! One question to an application, over a connection that the caller made: is it well?
//!
//! How the connection was made, how long an answer may take and what comes of
//! it are not known here.

mod grpc;
mod http;
mod tls;

use std::{future::Future, io, net::SocketAddr, pin::pin};

use tokio::net::TcpStream;

/// How a probe names itself.
const AGENT: &str = "kube-probe/1.33";

/// What is asked over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Get {
    /// Whether TLS comes first; any certificate will do.
    pub secure: bool,
    /// Path and query; a `/` in front is added where it is missing.
    pub path: String,
    /// Further fields; `host` among them if it is not the connection's address.
    pub headers: Vec<(String, String)>,
}

/// Why a probe did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The connection broke.
    #[error("{0}")]
    Connection(io::Error),
    /// There is no TLS with the application.
    #[error("TLS handshake: {0}")]
    Tls(io::Error),
    /// A path or field is invalid.
    #[error("the request cannot be made: {0}")]
    Request(hyper::http::Error),
    /// There is no answer over HTTP.
    #[error("{0}")]
    Http(hyper::Error),
    /// The health service gave no answer of use.
    #[error("health rpc failed: {0}")]
    Health(String),
    /// There is no health service.
    #[error("this server does not implement the grpc health protocol (grpc.health.v1.Health)")]
    NoHealthService,
    /// The health service says another status than SERVING.
    #[error("service unhealthy (responded with {0:?})")]
    Unhealthy(&'static str),
}

/// Makes one request over `stream`; the status of its answer, whatever it is.
pub async fn get(stream: TcpStream, get: &Get) -> Result<u16, ProbeError> {
    let address = peer(&stream)?;
    if !get.secure {
        return http::over_http1(stream, address, get).await;
    }
    let stream = tls::secure(address.ip(), stream).await?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http::over_http2(stream, address, get).await,
        _ => http::over_http1(stream, address, get).await,
    }
}

/// Asks gRPC's health service over `stream` for `service`, or with none for all
/// of the server. Anything but SERVING is an error.
pub async fn health(stream: TcpStream, service: &str) -> Result<(), ProbeError> {
    let address = peer(&stream)?;
    grpc::check(stream, address, service).await
}

fn peer(stream: &TcpStream) -> Result<SocketAddr, ProbeError> {
    stream.peer_addr().map_err(ProbeError::Connection)
}

/// What `exchange` comes to, over `connection`, which has to be driven meanwhile
/// and goes with the answer.
async fn driven<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

#[cfg(test)]
mod tests;

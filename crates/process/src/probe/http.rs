//! One request, and the status of its answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request,
    client::conn::{http1, http2},
    http::{Error, request::Builder},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{AGENT, Get, ProbeError, driven};

pub(super) async fn over_http1<S>(
    stream: S,
    address: SocketAddr,
    get: &Get,
) -> Result<u16, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ProbeError::Http)?;
    let request = Request::get(path(get)).header("connection", "close");
    let request = request.header("host", authority(address, get));
    let request = finish(request, get).map_err(ProbeError::Request)?;
    let answer = driven(connection, sender.send_request(request)).await;
    Ok(answer.map_err(ProbeError::Http)?.status().as_u16())
}

pub(super) async fn over_http2<S>(
    stream: S,
    address: SocketAddr,
    get: &Get,
) -> Result<u16, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(ProbeError::Http)?;
    let request = Request::get(format!("https://{}{}", authority(address, get), path(get)));
    let request = finish(request, get).map_err(ProbeError::Request)?;
    let answer = driven(connection, sender.send_request(request)).await;
    Ok(answer.map_err(ProbeError::Http)?.status().as_u16())
}

fn finish(mut request: Builder, get: &Get) -> Result<Request<Empty<Bytes>>, Error> {
    for (name, usual) in [("user-agent", AGENT), ("accept", "*/*")] {
        if given(get, name).is_none() {
            request = request.header(name, usual);
        }
    }
    for (name, value) in get.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        request = request.header(name, value);
    }
    request.body(Empty::new())
}

fn path(get: &Get) -> String {
    match get.path.as_str() {
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    }
}

fn authority(address: SocketAddr, get: &Get) -> String {
    given(get, "host").map_or_else(|| address.to_string(), str::to_owned)
}

fn given<'g>(get: &'g Get, name: &str) -> Option<&'g str> {
    let found = get.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

//! One request, over TLS or not, and whether its status is a good one.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request,
    client::conn::{http1, http2},
    http::Error,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    action::{AGENT, connect, driven},
    tls,
};
use crate::spec::HttpAction;

/// Asks as `get` says; an error says what came instead of a good status.
pub(super) async fn get(address: SocketAddr, get: &HttpAction) -> Result<(), String> {
    let stream = connect(address).await?;
    let status = match get.scheme.as_deref() {
        Some("HTTPS") => {
            let stream = tls::secure(address.ip(), stream).await?;
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => over_http2(stream, address, get).await?,
                _ => over_http1(stream, address, get).await?,
            }
        }
        _ => over_http1(stream, address, get).await?,
    };
    match status {
        200..400 => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn over_http1<S>(stream: S, address: SocketAddr, get: &HttpAction) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(path(get)).header("connection", "close");
    let request = request.header("host", authority(address, get));
    let request = finish(request, get).map_err(|error| error.to_string())?;
    let answer = async { sender.send_request(request).await.map_err(|error| error.to_string()) };
    Ok(driven(connection, answer).await?.status().as_u16())
}

async fn over_http2<S>(stream: S, address: SocketAddr, get: &HttpAction) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(format!("https://{}{}", authority(address, get), path(get)));
    let request = finish(request, get).map_err(|error| error.to_string())?;
    let answer = async { sender.send_request(request).await.map_err(|error| error.to_string()) };
    Ok(driven(connection, answer).await?.status().as_u16())
}

fn finish(
    mut request: hyper::http::request::Builder,
    get: &HttpAction,
) -> Result<Request<Empty<Bytes>>, Error> {
    for (name, usual) in [("user-agent", AGENT), ("accept", "*/*")] {
        if given(get, name).is_none() {
            request = request.header(name, usual);
        }
    }
    for header in get.http_headers.iter().filter(|one| !one.name.eq_ignore_ascii_case("host")) {
        request = request.header(&header.name, &header.value);
    }
    request.body(Empty::new())
}

fn path(get: &HttpAction) -> String {
    match get.path.as_deref().unwrap_or_default() {
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    }
}

fn authority(address: SocketAddr, get: &HttpAction) -> String {
    given(get, "host").map_or_else(|| address.to_string(), str::to_owned)
}

fn given<'g>(get: &'g HttpAction, name: &str) -> Option<&'g str> {
    let found = get.http_headers.iter().find(|one| one.name.eq_ignore_ascii_case(name));
    found.map(|one| one.value.as_str())
}

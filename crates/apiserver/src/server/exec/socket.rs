//! From an HTTP request to a WebSocket (RFC 6455, section 4.2).

use futures::{
    StreamExt as _,
    future::BoxFuture,
    stream::{SplitSink, SplitStream},
};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::{
    server::{
        ApiRequest,
        reply::{self, Body},
    },
    status::Status,
};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The sending half of a client's WebSocket.
pub type Sender = SplitSink<Socket, Message>;

/// The receiving half of a client's WebSocket.
pub type Receiver = SplitStream<Socket>;

/// Both halves of a client's WebSocket, once it has begun.
pub type Opening = BoxFuture<'static, Option<(Sender, Receiver)>>;

/// The answer that changes the protocol, and the socket once that has happened.
pub fn accept(
    asked: ApiRequest,
    protocols: &[&'static str],
) -> Result<(Response<Body>, Opening), Status> {
    let wanted = asked.header(header::UPGRADE).to_ascii_lowercase();
    if wanted.starts_with("spdy") {
        return Err(Status::bad_request(
            "SPDY is not served; use a client that speaks WebSocket here (kubectl 1.30 or newer, \
             without KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false)",
        ));
    }
    let key = asked.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    let (Some(upgrade), Some(key), "websocket") = (asked.upgrade, key, wanted.as_str()) else {
        return Err(Status::bad_request("this path speaks WebSocket; ask for an upgrade to it"));
    };
    let offered: Vec<String> = asked
        .headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .collect();
    let chosen = protocols.iter().find(|known| offered.iter().any(|one| one == *known));
    let chosen = chosen.ok_or_else(|| {
        let (offered, served) = (offered.join(", "), protocols.join(", "));
        Status::bad_request(format!(
            "none of the sub-protocols offered ({offered}) is served; served are {served}"
        ))
    })?;
    let mut response = Response::new(reply::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Status::internal(error.to_string()))?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let socket = async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!("a client left before its WebSocket began: {error}");
                return None;
            }
        };
        let io = TokioIo::new(upgraded);
        Some(WebSocketStream::from_raw_socket(io, Role::Server, None).await.split())
    };
    Ok((response, Box::pin(socket)))
}

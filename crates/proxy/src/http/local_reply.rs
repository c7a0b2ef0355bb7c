//! Answers of our own, in the form that the client understands.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use weft_decide::{Reply, Text};

use crate::{
    connection::direction::Direction, http::response_body::Payload, telemetry::outcome::Outcome,
};

/// Bytes of a reply's body that a gRPC client gets as the message of its call.
const LONGEST_MESSAGE: usize = 1 << 10;

/// Answers a request of `method` by `reply`.
pub fn local(
    reply: &Reply,
    method: &Method,
    direction: Direction,
    mut outcome: Box<Outcome>,
) -> Response<Payload> {
    let grpc = outcome.is_grpc();
    let head = *method == Method::HEAD;
    let body = if grpc { Text::Fixed("") } else { reply.body.clone() };
    outcome.replied(reply, if head { 0 } else { body.len() as u64 });
    outcome.complete();
    let length = body.len();
    let mut response = Response::new(Payload::own(Bytes::from_owner(body)));
    let status = match grpc {
        true => StatusCode::OK,
        false => StatusCode::from_u16(reply.status.unwrap_or(503))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if grpc {
        grpc_form(reply, headers);
    } else if length > 0 {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    reply.write_head(headers, status.as_u16());
    headers.insert(header::SERVER, HeaderValue::from_static(direction.server()));
    response
}

/// A gRPC client reads the status and the message of the call, not of HTTP.
fn grpc_form(reply: &Reply, headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(reply.grpc_status())));
    let mut message = String::new();
    for byte in reply.body.bytes().take(LONGEST_MESSAGE) {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            other => message.push_str(&format!("%{other:02X}")),
        }
    }
    if let Some(message) = HeaderValue::try_from(message).ok().filter(|text| !text.is_empty()) {
        headers.insert("grpc-message", message);
    }
}

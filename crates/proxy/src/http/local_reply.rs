//! Answers of our own, in the form that the client understands.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use weft_decide::Reply;

use crate::{
    connection::direction::Direction, http::response_body::Payload, telemetry::outcome::Outcome,
};

/// Answers a request of `method` by `reply`.
pub fn local(
    reply: &Reply,
    method: &Method,
    direction: Direction,
    mut outcome: Box<Outcome>,
) -> Response<Payload> {
    let grpc = outcome.is_grpc();
    let head = *method == Method::HEAD;
    let body = if grpc { "" } else { &*reply.body };
    outcome.replied(reply, if head { 0 } else { body.len() as u64 });
    outcome.complete();
    let mut response = Response::new(Payload::own(body.to_owned()));
    let status = match grpc {
        true => StatusCode::OK,
        false => StatusCode::from_u16(reply.status.unwrap_or(503))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if grpc {
        grpc_form(reply, headers);
    } else if !body.is_empty() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    reply.write_head(headers, status.as_u16());
    headers.insert(header::SERVER, HeaderValue::from_static(direction.server()));
    response
}

/// A gRPC client reads the status and the message of the call, not of HTTP.
fn grpc_form(reply: &Reply, headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(reply.grpc_status())));
    let message: String = reply
        .body
        .bytes()
        .map(|byte| match byte {
            b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    if let Some(message) = HeaderValue::try_from(message).ok().filter(|text| !text.is_empty()) {
        headers.insert("grpc-message", message);
    }
}

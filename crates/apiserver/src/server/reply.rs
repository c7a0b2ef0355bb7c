//! Answers: JSON, refusals, streams.

use std::{convert::Infallible, io};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::status::Status;

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A whole body.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// An object, with warnings for its reader.
pub fn object(code: u16, value: &Value, warnings: &[String]) -> Response<Body> {
    let mut response = typed(code, "application/json", value.to_string());
    for warning in warnings {
        let text: String = warning.chars().filter(|letter| !letter.is_control()).collect();
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        // RFC 7234, section 5.5: code, agent, quoted text.
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// A refusal.
pub fn refusal(status: &Status) -> Response<Body> {
    let mut response = object(status.code, &status.to_value(), &[]);
    if status.code == 401 {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Text or JSON of a media type.
pub fn typed(code: u16, media: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// A body that grows.
pub fn stream(
    media: &'static str,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let frames = pieces.map(|bytes| Ok(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

//! Answers: JSON, refusals, streams.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, SizeHint};
use serde_json::Value;

use super::pieces::{FRAME, Part, Pieces};
use crate::status::Status;

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body that is all there, and goes piece by piece.
struct Whole(Bytes);

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let length = self.0.len().min(FRAME);
        let piece = self.0.split_to(length);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// A whole body.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Whole(bytes.into()).boxed_unsync()
}

/// Something short, with warnings for its reader.
pub fn short(code: u16, value: &Value, warnings: &[String]) -> Response<Body> {
    warned(typed(code, "application/json", value.to_string()), warnings)
}

/// An object, with warnings for its reader.
pub fn object(code: u16, object: Arc<Value>, warnings: &[String]) -> Response<Body> {
    let parts = stream::iter([Part::whole(object)]);
    warned(coded(code, "application/json", Pieces::new(parts).boxed_unsync()), warnings)
}

/// A list: all but its `field`, and the items of that.
pub fn list(
    mut rest: Value,
    field: &str,
    items: impl Iterator<Item = Part> + Send + 'static,
    warnings: &[String],
) -> Response<Body> {
    rest.as_object_mut().map(|fields| fields.remove(field));
    let mut head = rest.to_string();
    // It goes on where it would end.
    head.truncate(head.len() - 1);
    let head = Part::text(format!("{head},\"{field}\":["));
    let items = items.enumerate().map(|(index, mut part)| {
        if index > 0 {
            part.before.insert(0, ',');
        }
        part
    });
    let parts = std::iter::once(head).chain(items).chain([Part::text("]}".into())]);
    let body = Pieces::new(stream::iter(parts)).boxed_unsync();
    warned(coded(200, "application/json", body), warnings)
}

fn warned(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
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
    let mut response = short(status.code, &status.to_value(), &[]);
    if status.code == 401 {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Text or JSON of a media type.
pub fn typed(code: u16, media: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    coded(code, media, whole(body))
}

fn coded(code: u16, media: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// Bytes that come as they come.
pub fn stream(
    media: &'static str,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let frames = pieces.map(|bytes| Ok(Frame::data(bytes)));
    coded(200, media, StreamBody::new(frames).boxed_unsync())
}

/// Objects that come as they come.
pub fn events(parts: impl Stream<Item = Part> + Send + 'static) -> Response<Body> {
    coded(200, "application/json", Pieces::new(parts).boxed_unsync())
}

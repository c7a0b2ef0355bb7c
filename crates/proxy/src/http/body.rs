//! The body of a message as it comes, whichever version of HTTP carries it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http::{
    error::Error, http2::incoming_body::ReceivedBody, metered_stream::Meter,
    stall_timer::StallTimer,
};

/// The body of a message as it comes.
#[derive(Debug, Default)]
pub struct Incoming(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    /// Held in memory.
    Full(Bytes),
    Http1(Http1),
    Http2(ReceivedBody),
}

/// The body of a message of HTTP/1.
#[derive(Debug)]
struct Http1 {
    incoming: hyper::body::Incoming,
    stall: StallTimer,
    /// How long the peer may send nothing of what it owes.
    limit: Option<Duration>,
    /// Counts what the server sends while nothing of the body comes of it.
    meter: Option<Arc<Meter>>,
}

impl Incoming {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is held in memory.
    #[cfg_attr(not(test), expect(dead_code, reason = "for bodies of the proxy's own requests"))]
    pub fn full(bytes: Bytes) -> Self {
        match bytes.is_empty() {
            true => Self::empty(),
            false => Self(Kind::Full(bytes)),
        }
    }

    /// A request's body: its client owes all of it, and may pause for `limit`.
    pub fn request(incoming: hyper::body::Incoming, limit: Duration) -> Self {
        Self::http1(incoming, Some(limit), None)
    }

    /// An answer's body: its server owes what was announced, and may pause for `limit`. One
    /// without a length may be silent for hours, as a stream of events is. `meter` counts what
    /// is read from the server.
    pub fn response(incoming: hyper::body::Incoming, limit: Duration, meter: &Arc<Meter>) -> Self {
        let announced = incoming.size_hint().exact().is_some();
        Self::http1(incoming, announced.then_some(limit), Some(meter))
    }

    fn http1(
        incoming: hyper::body::Incoming,
        limit: Option<Duration>,
        meter: Option<&Arc<Meter>>,
    ) -> Self {
        match incoming.is_end_stream() {
            true => Self::empty(),
            false => {
                let (stall, meter) = (StallTimer::default(), meter.cloned());
                Self(Kind::Http1(Http1 { incoming, stall, limit, meter }))
            }
        }
    }

    /// The answer to the request with this body has begun.
    pub fn answer_begins(&mut self) {
        if let Kind::Http2(body) = &mut self.0 {
            body.answer_begins();
        }
    }

    /// Bytes that have come and were not taken, as far as they are counted.
    pub fn waiting(&self) -> usize {
        match &self.0 {
            Kind::Http2(body) => body.waiting(),
            Kind::Empty | Kind::Full(_) | Kind::Http1(_) => 0,
        }
    }

    /// A body that comes on an HTTP/2 stream.
    pub fn http2(body: ReceivedBody) -> Self {
        Self(Kind::Http2(body))
    }
}

impl Http1 {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            self.stall.moved();
            if let Some(meter) = &self.meter {
                meter.message_moved();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::Http1)));
        }
        match self.limit.map(|limit| self.stall.poll(context, limit)) {
            Some(Poll::Ready(())) => Poll::Ready(Some(Err(Error::Stalled))),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Http1(body) => body.poll(context),
            Kind::Http2(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Http1(body) => body.incoming.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Http1(body) => body.incoming.size_hint(),
            Kind::Http2(body) => body.size_hint(),
        }
    }
}

//! Which requests of a connection of HTTP/1 are being answered.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http::response_body::{Payload, PayloadError};

/// The exchanges of one connection. Only its own thread uses the count: it is an atomic so that
/// the stream may be sent to another.
#[derive(Clone, Debug, Default)]
pub struct Exchanges(Arc<AtomicUsize>);

/// One exchange, from its request to the end of its answer's body.
#[derive(Debug)]
pub struct Exchange(Exchanges);

/// The body of an answer, with its exchange.
pub struct Answer {
    payload: Payload,
    _exchange: Exchange,
}

impl Exchanges {
    /// A request is there.
    pub fn begin(&self) -> Exchange {
        self.0.fetch_add(1, Relaxed);
        Exchange(self.clone())
    }

    /// Whether the codec has not taken the whole answer to a request.
    pub fn are_under_way(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl Exchange {
    /// It lasts as long as the body of its answer.
    pub fn with(self, payload: Payload) -> Answer {
        Answer { payload, _exchange: self }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = PayloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PayloadError>>> {
        Pin::new(&mut self.payload).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.payload.size_hint()
    }
}

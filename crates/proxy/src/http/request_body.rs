//! The body of a request on its way, kept while the request may be sent again.
//!
//! Bytes stream through as they come. What has passed is remembered up to a
//! bound; beyond it the request can no longer be repeated.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::http::grpc::Messages;

/// What is remembered of a body at most.
const MOST_KEPT: usize = 64 * 1024;

/// Where the bytes of a request's body come from.
#[derive(Debug)]
pub struct Source {
    incoming: RefCell<Incoming>,
    kept: RefCell<Vec<Bytes>>,
    kept_bytes: Cell<usize>,
    repeatable: Cell<bool>,
    ended: Cell<bool>,
    received: Cell<u64>,
    /// Counts the messages of gRPC, if that is spoken.
    messages: Cell<Option<Messages>>,
}

impl Source {
    /// The source of `incoming`; none for a body that is empty.
    pub fn of(incoming: Incoming) -> Option<Rc<Self>> {
        (!incoming.is_end_stream()).then(|| {
            Rc::new(Self {
                incoming: RefCell::new(incoming),
                kept: RefCell::default(),
                kept_bytes: Cell::new(0),
                repeatable: Cell::new(true),
                ended: Cell::new(false),
                received: Cell::new(0),
                messages: Cell::default(),
            })
        })
    }

    /// Whether the request can be sent once more from the start.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable.get()
    }

    /// Whether all of it was read.
    pub fn has_ended(&self) -> bool {
        self.ended.get() || self.incoming.borrow().is_end_stream()
    }

    /// Bytes read so far.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Counts messages of gRPC from now on.
    pub fn count_messages(&self) {
        self.messages.set(Some(Messages::default()));
    }

    /// Messages of gRPC so far.
    pub fn messages(&self) -> u64 {
        self.messages.get().map_or(0, |messages| messages.count())
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut incoming = self.incoming.borrow_mut();
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(context));
        match &frame {
            None => self.ended.set(true),
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => self.keep(data),
                None => self.forget(),
            },
            Some(Err(_)) => self.forget(),
        }
        Poll::Ready(frame)
    }

    fn keep(&self, data: &Bytes) {
        self.received.set(self.received.get() + data.len() as u64);
        if let Some(mut messages) = self.messages.get() {
            messages.see(data);
            self.messages.set(Some(messages));
        }
        if !self.repeatable.get() {
            return;
        }
        self.kept_bytes.set(self.kept_bytes.get() + data.len());
        match self.kept_bytes.get() <= MOST_KEPT {
            true => self.kept.borrow_mut().push(data.clone()),
            false => self.forget(),
        }
    }

    fn forget(&self) {
        self.repeatable.set(false);
        self.kept.borrow_mut().clear();
    }
}

/// The body of one try.
#[derive(Debug, Default)]
pub struct RequestBody {
    source: Option<Rc<Source>>,
    /// How many of the frames that are kept this try has sent.
    sent: usize,
}

impl RequestBody {
    /// The body of one try, from the start.
    pub fn of(source: Option<&Rc<Source>>) -> Self {
        Self { source: source.cloned(), sent: 0 }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(source) = self.source.clone() else { return Poll::Ready(None) };
        let kept = source.kept.borrow().get(self.sent).cloned();
        if let Some(data) = kept {
            self.sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let frame = ready!(source.poll(context));
        self.sent += 1;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source
            .as_ref()
            .is_none_or(|source| source.has_ended() && self.sent >= source.kept.borrow().len())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.source else { return SizeHint::with_exact(0) };
        let kept: u64 =
            source.kept.borrow().iter().skip(self.sent).map(|data| data.len() as u64).sum();
        let rest = source.incoming.borrow().size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}

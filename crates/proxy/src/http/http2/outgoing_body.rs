//! A body on its way out on an HTTP/2 stream.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};

use crate::{
    http::{error::Error, headers, stall_timer::StallTimer},
    io::tally::Tally,
};

/// A body that may have a deadline of its own.
pub trait Outgoing: Body<Data = Bytes> + Unpin {
    /// Ready once the body must not go on, also while the peer takes nothing.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Bytes that have come for it and were not taken, where they wait for this peer alone.
    fn waiting(&self) -> usize {
        0
    }
}

/// What waits for one peer, in all bodies on their way out on its connection.
#[derive(Debug)]
pub struct Share {
    waiting: Cell<usize>,
    most: usize,
}

impl Share {
    /// So much may wait while the peer takes nothing of it.
    pub fn of(most: usize) -> Rc<Self> {
        Rc::new(Self { waiting: Cell::new(0), most })
    }

    fn change(&self, before: usize, now: usize) {
        self.waiting.set(self.waiting.get() + now - before);
    }

    fn is_exceeded(&self) -> bool {
        self.waiting.get() > self.most
    }
}

/// A body on its way out.
pub struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    stall: StallTimer,
    /// How long the peer may take nothing.
    limit: Duration,
    begun: bool,
    /// Bytes that were sent when there may have been no room, and are counted in `tally`.
    waiting: usize,
    tally: Rc<Tally>,
    /// What waits for the peer, of which this body has `shared` bytes.
    share: Rc<Share>,
    shared: usize,
    /// Since the peer takes nothing, as far as that matters while memory is short.
    short: StallTimer,
    /// How often that was for [`WHILE_SHORT`], one after the other.
    times: u32,
}

/// How long a peer may take nothing while the process has far more bytes waiting than it may, or
/// while more than its share waits for the peer.
const WHILE_SHORT: Duration = Duration::from_secs(5);
/// How many times as long while it has as many as it may.
const WHILE_FULL: u32 = 6;

/// Shorter pieces are copied: many may wait, and each would keep the whole buffer that it came in.
const SMALL: usize = 1024;

/// Why a body was not sent whole.
#[derive(Debug)]
pub enum Unsent<E> {
    /// The stream or its connection failed, or the peer stalled.
    Peer(Error),
    /// The body failed.
    Body(E),
    /// The body's deadline has passed.
    Expired,
}

impl<B> Drop for Sending<B> {
    fn drop(&mut self) {
        self.tally.remove(self.waiting);
        self.share.change(self.shared, 0);
    }
}

impl<B: Outgoing> Sending<B> {
    /// Sends `body` on `stream`, whose peer may take nothing for `limit`, or until there are far
    /// too many bytes that wait, in the process or of `share`; those of this body are counted in
    /// `tally`, too.
    pub fn new(
        stream: SendStream<Bytes>,
        body: B,
        limit: Duration,
        tally: &Rc<Tally>,
        share: &Rc<Share>,
    ) -> Self {
        Self {
            stream,
            body,
            stall: StallTimer::default(),
            limit,
            begun: false,
            waiting: 0,
            tally: Rc::clone(tally),
            share: Rc::clone(share),
            shared: 0,
            short: StallTimer::default(),
            times: 0,
        }
    }

    /// Sends what can be sent; ready at the end, or when that cannot be reached.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Unsent<B::Error>>> {
        loop {
            if ready!(self.poll_room(context))? {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                // A reset wakes this task as well.
                return match ready!(self.stream.poll_reset(context)) {
                    Ok(Reason::NO_ERROR) => Poll::Ready(Ok(())),
                    Ok(reason) => Poll::Ready(Err(Unsent::Peer(Error::Http2(reason.into())))),
                    Err(error) => Poll::Ready(Err(Unsent::Peer(Error::Http2(error)))),
                };
            };
            let sent = match frame {
                None => self.send(Bytes::new(), true),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let end = self.body.is_end_stream();
                        // Empty frames without an end say nothing, and count against us.
                        if data.is_empty() && !end { Ok(false) } else { self.send(data, end) }
                    }
                    Err(frame) => self.send_trailers(frame),
                },
                Some(Err(error)) => return Poll::Ready(Err(Unsent::Body(error))),
            };
            match sent {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(Unsent::Peer(Error::Http2(error)))),
            }
        }
    }

    /// Whether the stream has been reset, by either side.
    pub fn is_reset(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        matches!(self.stream.poll_reset(&mut context), Poll::Ready(Ok(_)))
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Waits for room, so that a frame at most is buffered beyond what the peer takes.
    /// True when the peer does not want the rest (RFC 9113, section 8.1).
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Unsent<B::Error>>> {
        if !self.begun {
            // The first frame needs no room of its own.
            return Poll::Ready(Ok(false));
        }
        self.stream.reserve_capacity(1);
        loop {
            if self.stream.capacity() > 0 {
                self.stall.moved();
                self.short.moved();
                self.times = 0;
                self.tally.remove(std::mem::take(&mut self.waiting));
                self.share.change(std::mem::take(&mut self.shared), 0);
                return Poll::Ready(Ok(false));
            }
            match self.stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(Unsent::Peer(Error::Http2(error))));
                }
                Poll::Ready(None) => {
                    return match self.stream.poll_reset(context) {
                        Poll::Ready(Ok(Reason::NO_ERROR)) => Poll::Ready(Ok(true)),
                        Poll::Ready(Ok(reason)) => {
                            Poll::Ready(Err(Unsent::Peer(Error::Http2(reason.into()))))
                        }
                        Poll::Ready(Err(error)) => {
                            Poll::Ready(Err(Unsent::Peer(Error::Http2(error))))
                        }
                        Poll::Pending => Poll::Ready(Ok(true)),
                    };
                }
                Poll::Pending => break,
            }
        }
        if self.body.poll_expired(context).is_ready() {
            return Poll::Ready(Err(Unsent::Expired));
        }
        while self.short.poll(context, WHILE_SHORT).is_ready() {
            self.times += 1;
            let all = self.waiting + self.body.waiting();
            self.share.change(std::mem::replace(&mut self.shared, all), all);
            let is_long = self.times >= WHILE_FULL;
            if self.tally.is_overfull()
                || self.share.is_exceeded()
                || (is_long && self.tally.is_full())
            {
                return Poll::Ready(Err(Unsent::Peer(Error::Stalled)));
            }
            self.short.moved();
        }
        ready!(self.stall.poll(context, self.limit));
        Poll::Ready(Err(Unsent::Peer(Error::Stalled)))
    }

    fn send(&mut self, data: Bytes, end: bool) -> Result<bool, h2::Error> {
        self.begun = true;
        self.waiting += data.len();
        self.tally.add(data.len());
        let data = match !end && data.len() < SMALL {
            true => Bytes::copy_from_slice(&data),
            false => data,
        };
        self.stream.send_data(data, end)?;
        Ok(end)
    }

    fn send_trailers(&mut self, frame: Frame<Bytes>) -> Result<bool, h2::Error> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                // The codec refuses them, and the stream would never end.
                headers::without_http1(&mut trailers);
                self.stream.send_trailers(trailers).map(|()| true)
            }
            Err(_) => Ok(false),
        }
    }
}

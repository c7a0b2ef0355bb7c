//! The body of a message that comes on an HTTP/2 stream.
//!
//! What the stream has is taken from it at once, so that the codec holds nothing for a
//! reader that is slow; small frames are joined. The stream's window opens as the reader
//! takes bytes, so a body never buffers more than that window.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use weft_decide::arrive::fields::MOST_FIELDS;

use super::windows;
use crate::{
    http::{
        error::Error,
        metered_stream::{Meter, TURN},
        stall_timer::StallTimer,
    },
    io::tally::Tally,
};

/// Frames shorter than this are joined while they wait for the reader.
const SMALL: usize = 4096;

/// The bodies that come on the streams of one connection.
#[derive(Debug, Default)]
pub struct Bodies {
    tally: Rc<Tally>,
    /// Bytes of them that wait.
    unread: Rc<Cell<usize>>,
    /// Bytes of them that have come so far.
    came: Rc<Cell<u64>>,
    list: RefCell<Vec<Weak<RefCell<Received>>>>,
    /// Bytes that the connection had read when the bodies were last taken from the codec.
    absorbed: Cell<u64>,
    /// Set once a reader has taken more than a small window of a body; it stays set.
    large: Rc<Cell<bool>>,
}

impl Bodies {
    /// None yet; what waits of them is counted in `tally`.
    pub fn counted_in(tally: &Rc<Tally>) -> Self {
        Self { tally: Rc::clone(tally), ..Self::default() }
    }

    /// What counts bytes that wait.
    pub fn tally(&self) -> &Rc<Tally> {
        &self.tally
    }

    /// Bytes that have come and were not read.
    pub fn unread(&self) -> usize {
        self.unread.get()
    }

    /// Bytes that have come so far.
    pub fn came(&self) -> u64 {
        self.came.get()
    }

    /// Whether the reader of one took more than a small window.
    pub fn are_large(&self) -> bool {
        self.large.get()
    }

    /// Takes from the codec what has come, if that may be much.
    pub fn after_turn(&self, meter: &Meter) {
        if meter.read() - self.absorbed.get() < TURN as u64 / 2 {
            return;
        }
        self.absorbed.set(meter.read());
        self.list.borrow_mut().retain(|body| match body.upgrade() {
            Some(body) => {
                body.borrow_mut().absorb_for_reader();
                true
            }
            None => false,
        });
    }

    fn watch(&self, body: Weak<RefCell<Received>>) {
        let mut list = self.list.borrow_mut();
        if list.len() == list.capacity() {
            list.retain(|body| body.strong_count() > 0);
        }
        list.push(body);
    }
}

/// What has come on a stream, and what the reader has not taken yet.
#[derive(Debug)]
struct Received {
    stream: RecvStream,
    tally: Rc<Tally>,
    /// Bytes that wait on all streams of the connection.
    unread: Rc<Cell<usize>>,
    /// Bytes that have come on all of them.
    came: Rc<Cell<u64>>,
    /// The first chunk in line; most bodies never have a second one.
    front: Option<Bytes>,
    queue: VecDeque<Bytes>,
    /// Small frames that were joined; last in line.
    joined: BytesMut,
    /// Bytes in line.
    held: usize,
    /// Bytes that the reader took.
    taken: u64,
    /// Whether that was much, here or on another stream of the connection.
    large: Rc<Cell<bool>>,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), Error>>,
    reader: Option<Waker>,
}

/// What the peer owes of a body, and may not be late with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// As many bytes, which the head announces.
    Bytes(u64),
    /// A request's end, until its answer begins: it may be what the server waits for.
    End,
    /// Nothing. Answers may be silent for hours, as streams of events are, and so may calls
    /// of gRPC, whichever side is to speak next.
    Nothing,
}

impl Owed {
    /// The same for a body of which the head announces `length` bytes, if it does.
    pub fn or_bytes(self, length: Option<u64>) -> Self {
        length.map_or(self, Self::Bytes)
    }
}

/// The body of a message that comes on an HTTP/2 stream.
#[derive(Debug)]
pub struct ReceivedBody {
    received: Rc<RefCell<Received>>,
    owed: Owed,
    stall: StallTimer,
    /// How long the peer may send nothing while it owes bytes.
    limit: Duration,
}

impl ReceivedBody {
    /// The body on `stream`, one of `bodies`. The peer may send nothing of what is `owed` for
    /// `limit`.
    pub fn new(stream: RecvStream, owed: Owed, bodies: &Bodies, limit: Duration) -> Self {
        let received = Rc::new(RefCell::new(Received {
            stream,
            tally: Rc::clone(&bodies.tally),
            unread: Rc::clone(&bodies.unread),
            came: Rc::clone(&bodies.came),
            front: None,
            queue: VecDeque::new(),
            joined: BytesMut::new(),
            held: 0,
            taken: 0,
            large: Rc::clone(&bodies.large),
            trailers: None,
            end: None,
            reader: None,
        }));
        bodies.watch(Rc::downgrade(&received));
        Self { received, owed, stall: StallTimer::default(), limit }
    }

    /// Bytes that have come and were not taken.
    pub fn waiting(&self) -> usize {
        self.received.borrow().held
    }

    /// The answer to the request with this body has begun.
    pub fn answer_begins(&mut self) {
        if self.owed == Owed::End {
            self.owed = Owed::Nothing;
        }
    }
}

impl Received {
    /// Takes what the stream has, on behalf of the reader.
    fn absorb_for_reader(&mut self) {
        let waker = self.reader.take();
        let before = (self.held, self.end.is_some());
        self.absorb(&mut Context::from_waker(waker.as_ref().unwrap_or(Waker::noop())));
        // It waits, and a small one would keep the whole buffer of the codec that it came in.
        if let Some(front) = self.front.as_mut().filter(|front| front.len() < SMALL) {
            *front = Bytes::copy_from_slice(front);
        }
        if let Some(waker) = waker {
            if before != (self.held, self.end.is_some()) {
                waker.wake_by_ref();
            }
            self.reader = Some(waker);
        }
    }

    fn absorb(&mut self, context: &mut Context<'_>) {
        while self.end.is_none() {
            match self.stream.poll_data(context) {
                Poll::Ready(Some(Ok(data))) => self.push(data),
                Poll::Ready(Some(Err(error))) => self.end = Some(Err(error.into())),
                Poll::Ready(None) => match self.stream.poll_trailers(context) {
                    Poll::Ready(Ok(Some(trailers))) if trailers.len() > MOST_FIELDS => {
                        self.end = Some(Err(Error::TooManyFields));
                    }
                    Poll::Ready(Ok(trailers)) => {
                        self.trailers = trailers;
                        self.end = Some(Ok(()));
                    }
                    Poll::Ready(Err(error)) => self.end = Some(Err(error.into())),
                    Poll::Pending => return,
                },
                Poll::Pending => return,
            }
        }
    }

    fn push(&mut self, data: Bytes) {
        self.held += data.len();
        self.tally.add(data.len());
        self.unread.set(self.unread.get() + data.len());
        self.came.set(self.came.get() + data.len() as u64);
        if self.held == data.len() {
            self.front = Some(data);
        } else if data.len() < SMALL {
            self.joined.extend_from_slice(&data);
        } else {
            if !self.joined.is_empty() {
                self.queue.push_back(self.joined.split().freeze());
            }
            self.queue.push_back(data);
        }
    }

    /// The next bytes, for which the window opens again.
    fn pop(&mut self) -> Option<Bytes> {
        let next = self.front.take().or_else(|| self.queue.pop_front());
        let next = next.or_else(|| {
            // The memory goes with the bytes: the stream may be idle for long.
            (!self.joined.is_empty()).then(|| std::mem::take(&mut self.joined).freeze())
        })?;
        self.held -= next.len();
        self.are_read(next.len());
        self.taken += next.len() as u64;
        if self.taken > windows::SMALL.into() {
            self.large.set(true);
        }
        self.release(next.len());
        Some(next)
    }

    /// So many bytes wait no more.
    fn are_read(&self, bytes: usize) {
        self.tally.remove(bytes);
        self.unread.set(self.unread.get().saturating_sub(bytes));
    }

    fn release(&mut self, bytes: usize) {
        // It fails only for more than was received.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }

    fn is_at_end(&self) -> bool {
        self.held == 0
            && self.trailers.is_none()
            && match &self.end {
                Some(end) => end.is_ok(),
                None => self.stream.is_end_stream(),
            }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if self.held > 0 {
            self.are_read(self.held);
            self.release(self.held);
        }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let mut received = this.received.borrow_mut();
        received.absorb(context);
        if let Some(data) = received.pop() {
            this.stall.moved();
            if let Owed::Bytes(owed) = &mut this.owed {
                *owed = owed.saturating_sub(data.len() as u64);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = received.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if let Some(end) = &mut received.end {
            let end = std::mem::replace(end, Ok(()));
            return Poll::Ready(end.err().map(Err));
        }
        let waker = context.waker();
        if received.reader.as_ref().is_none_or(|reader| !reader.will_wake(waker)) {
            received.reader = Some(waker.clone());
        }
        drop(received);
        if this.owed != Owed::Nothing && this.stall.poll(context, this.limit).is_ready() {
            return Poll::Ready(Some(Err(Error::Stalled)));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.received.borrow().is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        match (self.owed, self.is_end_stream()) {
            (_, true) => SizeHint::with_exact(0),
            (Owed::Bytes(announced), false) => SizeHint::with_exact(announced),
            (Owed::End | Owed::Nothing, false) => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_piece_that_waits_for_its_reader_keeps_no_buffer() {
        tokio::task::LocalSet::new().run_until(one_byte_waits()).await;
    }

    async fn one_byte_waits() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let client = async {
            let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
            tokio::task::spawn_local(connection);
            let (response, mut stream) =
                sender.send_request(http::Request::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"x"), false).unwrap();
            (sender, response, stream)
        };
        let server = async {
            let mut connection = h2::server::handshake(far).await.unwrap();
            let (request, respond) = connection.accept().await.unwrap().unwrap();
            tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} });
            (request.into_body(), respond)
        };
        let (_client, (stream, _respond)) = tokio::join!(client, server);
        let bodies = Bodies::default();
        let body = ReceivedBody::new(stream, Owed::Nothing, &bodies, Duration::from_secs(5));
        while body.waiting() == 0 {
            tokio::task::yield_now().await;
            body.received.borrow_mut().absorb_for_reader();
        }
        assert!(body.received.borrow().front.as_ref().is_some_and(Bytes::is_unique));
    }
}

//! The body of a request on its way, kept while the request may be sent again.
//!
//! Bytes stream through as they come. Each reader has a position of its own: the tries of
//! one request, and whatever else looks at its body. What has been read is kept up to a
//! bound, while a retry or a slower reader may need it, and while all requests of the
//! process together keep no more than they may.

mod kept;

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;
use tokio::time::Instant;
use weft_decide::{Direction, arrive::fields::strip_trailers};

use crate::{
    http::{
        body::Incoming,
        error::{Cause, Error},
        grpc::Messages,
        http2::outgoing_body::Outgoing,
    },
    io::buffer_limit::Buffers,
};
use kept::Kept;

/// What is remembered of a body at most.
const MOST_KEPT: usize = 64 * 1024;
/// The same, for readers that follow: they begin later, on connections that are still to be made.
const MOST_FOLLOWED: usize = 1024 * 1024;
/// Tasks that wait for the end of a body at most.
const MOST_WATCHERS: usize = 16;

/// Where the bytes of a request's body come from.
#[derive(Debug)]
pub struct Source {
    incoming: RefCell<Incoming>,
    kept: RefCell<Kept>,
    readers: RefCell<SmallVec<[Reader; 1]>>,
    next_reader: Cell<u32>,
    /// Whether what was read is kept for another try.
    keeping: Cell<bool>,
    /// Whether the first byte is still there.
    repeatable: Cell<bool>,
    ended: Cell<Option<Instant>>,
    failed: Cell<Option<Cause>>,
    /// Whether the exchange is over, so that nobody reads the rest.
    over: Cell<bool>,
    /// What came after the bytes, for readers that follow.
    trailers: RefCell<Option<HeaderMap>>,
    /// Woken when the body has ended.
    watchers: RefCell<SmallVec<[Waker; 1]>>,
    received: Cell<u64>,
    /// Which way the body goes, for what its trailers may not say.
    direction: Cell<Option<Direction>>,
    /// Counts the messages of gRPC, if that is spoken.
    messages: Cell<Option<Messages>>,
}

#[derive(Debug)]
struct Reader {
    id: u32,
    /// Bytes of the body that it has read.
    next: u64,
    role: Role,
    /// Whether it missed something.
    lost: bool,
    /// Whether it has what came after the bytes.
    has_trailers: bool,
    waker: Option<Waker>,
}

/// What a reader is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A try of the request: it misses nothing.
    Try,
    /// It may miss the rest when it is slow.
    Beside,
    /// The same; and it asks for nothing, but gets what the tries have read.
    Following,
}

impl Source {
    /// The source of `incoming`; none for a body that is empty. What is kept is counted in
    /// `buffers`.
    pub fn of(incoming: Incoming, buffers: &Arc<Buffers>) -> Option<Rc<Self>> {
        (!incoming.is_end_stream()).then(|| {
            Rc::new(Self {
                incoming: RefCell::new(incoming),
                kept: RefCell::new(Kept::new(buffers)),
                readers: RefCell::default(),
                next_reader: Cell::new(0),
                keeping: Cell::new(true),
                repeatable: Cell::new(true),
                ended: Cell::new(None),
                failed: Cell::new(None),
                over: Cell::new(false),
                trailers: RefCell::default(),
                watchers: RefCell::default(),
                received: Cell::new(0),
                direction: Cell::new(None),
                messages: Cell::default(),
            })
        })
    }

    /// Whether the request can be sent once more from the start.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable.get()
    }

    /// Whether the request may be sent again after some of it was; otherwise nothing is kept.
    pub fn may_be_sent_again(&self, may: bool) {
        match may {
            true => self.keeping.set(self.repeatable.get()),
            false => self.let_go(),
        }
    }

    /// The request will not be sent again: nothing is kept for that.
    fn let_go(&self) {
        self.keeping.set(false);
        self.trim();
    }

    /// The client is about to get an answer: the request will not be sent again.
    pub fn answer_begins(&self) {
        self.incoming.borrow_mut().answer_begins();
        self.let_go();
    }

    /// Whether all of it was read.
    pub fn has_ended(&self) -> bool {
        self.ended.get().is_some() || self.incoming.borrow().is_end_stream()
    }

    /// When all of it was read. Otherwise the task of `context` is woken at the end.
    pub fn poll_ended(&self, context: &Context<'_>) -> Poll<Instant> {
        if let Some(ended) = self.ended.get() {
            return Poll::Ready(ended);
        }
        if self.incoming.borrow().is_end_stream() {
            return Poll::Ready(self.end());
        }
        let mut watchers = self.watchers.borrow_mut();
        if !watchers.iter().any(|watcher| watcher.will_wake(context.waker())) {
            if watchers.len() >= MOST_WATCHERS {
                // Those that still wait ask again.
                watchers.drain(..).for_each(Waker::wake);
            }
            watchers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// The exchange is over: nobody reads what has not come yet.
    pub fn exchange_ends(&self) {
        self.over.set(true);
        let mut readers = self.readers.borrow_mut();
        readers.iter_mut().filter_map(|reader| reader.waker.take()).for_each(Waker::wake);
    }

    fn reader(self: &Rc<Self>, role: Role) -> (Rc<Self>, u32) {
        let id = self.next_reader.get();
        self.next_reader.set(id.wrapping_add(1));
        let reader = Reader { id, next: 0, role, lost: false, has_trailers: false, waker: None };
        self.readers.borrow_mut().push(reader);
        (Rc::clone(self), id)
    }

    /// Why the body broke off, if it did.
    pub fn failure(&self) -> Option<Cause> {
        self.failed.get()
    }

    /// The body goes this way: its trailers say no more than a head that does may.
    pub fn goes(&self, direction: Direction) {
        self.direction.set(Some(direction));
    }

    fn without_unwanted(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match (frame.into_trailers(), self.direction.get()) {
            (Ok(mut trailers), Some(direction)) => {
                strip_trailers(&mut trailers, direction);
                Frame::trailers(trailers)
            }
            (Ok(trailers), None) => Frame::trailers(trailers),
            (Err(frame), _) => frame,
        }
    }

    /// Whether a reader that follows is still to get some of what was read.
    pub fn is_followed(&self) -> bool {
        let end = self.kept.borrow().end();
        let is_behind = |one: &Reader| one.role == Role::Following && one.next < end;
        self.readers.borrow().iter().any(is_behind)
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

    /// The next frame for the reader called `id`.
    fn poll(
        &self,
        id: u32,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let (next, lost) = self.position(id);
        if lost {
            return Poll::Ready(Some(Err(Error::Overflow)));
        }
        let kept = self.kept.borrow().get(next);
        if let Some(bytes) = kept {
            self.advance(id, bytes.len());
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.follows(id) {
            return self.poll_following(id, context);
        }
        if self.waits_for_others(next) {
            self.park(id, context.waker());
            return Poll::Pending;
        }
        let polled = Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(context);
        let Poll::Ready(frame) = polled.map_ok(|frame| self.without_unwanted(frame)) else {
            // The body wakes only the reader that polled it last; that reader wakes the others.
            self.park(id, context.waker());
            return Poll::Pending;
        };
        match &frame {
            None => _ = self.end(),
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => {
                    self.keep(data, next);
                    self.advance(id, data.len());
                    // Nobody polls again for the end of a body that is known to have ended.
                    if self.incoming.borrow().is_end_stream() {
                        self.end();
                    }
                }
                None => {
                    if self.readers.borrow().len() > 1 {
                        self.trailers.replace(frame.trailers_ref().cloned());
                    }
                    self.forget();
                    self.end();
                }
            },
            Some(Err(error)) => {
                self.failed.set(Some(error.cause()));
                self.forget();
            }
        }
        self.wake_others(id);
        Poll::Ready(frame)
    }

    fn follows(&self, id: u32) -> bool {
        let readers = self.readers.borrow();
        readers.iter().any(|reader| reader.id == id && reader.role == Role::Following)
    }

    /// What a reader gets that follows, once it has read all that the tries have.
    fn poll_following(
        &self,
        id: u32,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.failed.get().is_none() && self.has_ended() {
            let trailers = self.trailers.borrow();
            let mut readers = self.readers.borrow_mut();
            let own = readers.iter_mut().find(|one| one.id == id && !one.has_trailers);
            return Poll::Ready(own.zip(trailers.as_ref()).map(|(reader, trailers)| {
                reader.has_trailers = true;
                Ok(Frame::trailers(trailers.clone()))
            }));
        }
        if self.failed.get().is_some() || self.over.get() {
            return Poll::Ready(Some(Err(Error::Abandoned)));
        }
        self.park(id, context.waker());
        Poll::Pending
    }

    /// A reader that is ahead waits when one behind it, which must not miss anything, has
    /// enough to do.
    fn waits_for_others(&self, next: u64) -> bool {
        self.kept.borrow().held.bytes() >= MOST_KEPT
            && self
                .readers
                .borrow()
                .iter()
                .any(|reader| reader.role == Role::Try && reader.next < next)
    }

    fn keep(&self, data: &Bytes, next: u64) {
        self.received.set(self.received.get() + data.len() as u64);
        if let Some(mut messages) = self.messages.get() {
            messages.see(data);
            self.messages.set(Some(messages));
        }
        let mut kept = self.kept.borrow_mut();
        let mut readers = self.readers.borrow_mut();
        let bytes = kept.held.bytes() + data.len();
        let is_too_long = bytes > MOST_KEPT || !kept.held.has_room();
        let is_beyond = bytes > MOST_FOLLOWED || !kept.held.has_much_room();
        self.keeping.set(self.keeping.get() && !is_too_long);
        for reader in readers.iter_mut().filter(|reader| reader.next < next) {
            reader.lost |= match reader.role {
                Role::Try => false,
                Role::Beside => is_too_long,
                Role::Following => is_beyond,
            };
        }
        match self.keeping.get() || readers.len() > 1 {
            true => kept.push(data),
            false => kept.skip(next + data.len() as u64),
        }
        self.repeatable.set(self.repeatable.get() && self.keeping.get());
    }

    fn forget(&self) {
        self.repeatable.set(false);
        self.let_go();
    }

    fn end(&self) -> Instant {
        let ended = self.ended.get().unwrap_or_else(Instant::now);
        self.ended.set(Some(ended));
        self.watchers.take().into_iter().for_each(Waker::wake);
        ended
    }

    /// Whether a reader is still to get what came after the bytes.
    fn owes_trailers(&self, id: u32) -> bool {
        let owed = |one: &Reader| one.id == id && one.role == Role::Following && !one.has_trailers;
        self.trailers.borrow().is_some() && self.readers.borrow().iter().any(owed)
    }

    /// Where a reader is, and whether it missed something.
    fn position(&self, id: u32) -> (u64, bool) {
        let readers = self.readers.borrow();
        let reader = readers.iter().find(|reader| reader.id == id);
        let first = self.kept.borrow().first;
        reader.map_or((0, true), |reader| (reader.next, reader.lost || reader.next < first))
    }

    fn advance(&self, id: u32, bytes: usize) {
        if let Some(reader) = self.readers.borrow_mut().iter_mut().find(|one| one.id == id) {
            reader.next += bytes as u64;
        }
        if !self.keeping.get() {
            self.trim();
        }
    }

    fn park(&self, id: u32, waker: &Waker) {
        let mut readers = self.readers.borrow_mut();
        if let Some(reader) = readers.iter_mut().find(|reader| reader.id == id)
            && reader.waker.as_ref().is_none_or(|known| !known.will_wake(waker))
        {
            reader.waker = Some(waker.clone());
        }
    }

    fn wake_others(&self, id: u32) {
        let mut readers = self.readers.borrow_mut();
        let others = readers.iter_mut().filter(|reader| reader.id != id);
        others.filter_map(|reader| reader.waker.take()).for_each(Waker::wake);
    }

    /// Drops what no reader needs any more.
    fn trim(&self) {
        if self.keeping.get() {
            return;
        }
        let readers = self.readers.borrow();
        let mut kept = self.kept.borrow_mut();
        let served = readers.iter().filter(|reader| !reader.lost);
        let needed = served.map(|reader| reader.next).min();
        let end = kept.end();
        let before = kept.held.bytes();
        kept.drop_before(needed.unwrap_or(end));
        self.repeatable.set(self.repeatable.get() && kept.first == 0);
        let room = before >= MOST_KEPT && kept.held.bytes() < MOST_KEPT;
        drop((kept, readers));
        if room {
            let mut readers = self.readers.borrow_mut();
            readers.iter_mut().filter_map(|one| one.waker.take()).for_each(Waker::wake);
        }
    }
}

/// One reader of a request's body, from the start.
#[derive(Debug, Default)]
pub struct RequestBody {
    source: Option<(Rc<Source>, u32)>,
}

impl RequestBody {
    /// The body of one try. It must be made while the source is repeatable.
    pub fn of(source: Option<&Rc<Source>>) -> Self {
        Self { source: source.map(|source| source.reader(Role::Try)) }
    }

    /// A reader beside the tries. It fails when it falls behind by more than is kept, and
    /// does not read ahead by more.
    #[cfg_attr(not(test), expect(dead_code, reason = "for authorization checks"))]
    pub fn beside(source: Option<&Rc<Source>>) -> Self {
        Self { source: source.map(|source| source.reader(Role::Beside)) }
    }

    /// A reader of what the tries read, which never has anything asked for. It fails when it
    /// falls behind by more than is kept, and when the rest is not read.
    pub fn following(source: Option<&Rc<Source>>) -> Self {
        Self { source: source.map(|source| source.reader(Role::Following)) }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some((source, id)) = self.source.take() {
            source.readers.borrow_mut().retain(|reader| reader.id != id);
            // The body may wake the one that is gone: the others ask again.
            source.wake_others(id);
            source.trim();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &self.source {
            Some((source, id)) => source.poll(*id, context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|(source, id)| {
            source.has_ended()
                && source.kept.borrow().end() <= source.position(*id).0
                && !source.owes_trailers(*id)
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some((source, id)) = &self.source else { return SizeHint::with_exact(0) };
        let next = source.position(*id).0;
        let kept = source.kept.borrow().end().saturating_sub(next);
        let rest = source.incoming.borrow().size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}

impl Outgoing for RequestBody {
    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;

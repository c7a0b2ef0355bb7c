//! What an HTTP connection reads and writes, as far as fairness and deadlines care.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::pause::give_way;

/// Bytes that a connection reads before other tasks run.
pub const TURN: usize = 64 * 1024;
/// Bytes of a frame's head (RFC 9113, section 4.1): three of its length, one of its type,
/// and others.
const FRAME_HEAD: u64 = 9;
/// The type of SETTINGS.
const SETTINGS: u32 = 4;

/// The counts of one connection. Only its own thread uses them: they are atomics, and never
/// read and modified in one step, so that the stream may be sent to another.
#[derive(Debug, Default)]
pub struct Meter {
    read: AtomicU64,
    /// The place after the last byte that was not CR or LF.
    text: AtomicU64,
    written: AtomicU64,
    /// Bytes read since something of a message came of them.
    idle: AtomicU64,
    /// Bytes that may be read in this turn.
    left: AtomicU64,
    exhausted: AtomicBool,
    blocked: AtomicBool,
    /// Bytes before the first frame.
    preface: u64,
    /// Length and type of the first frame.
    first: AtomicU32,
}

/// How far a peer's greeting, which begins with SETTINGS, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Some of it is missing.
    Incomplete,
    /// It has been read whole.
    Complete,
    /// Another frame came first.
    Invalid,
}

impl Meter {
    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes read up to the last one that says something: servers of HTTP/1 skip empty lines
    /// before a request (RFC 9112, section 2.2).
    pub fn read_text(&self) -> u64 {
        self.text.load(Relaxed)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// A head, or some of a body, came of what was read.
    pub fn message_moved(&self) {
        self.idle.store(0, Relaxed);
    }

    /// Whether the peer takes no bytes, and some are waiting.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// How far the peer's greeting has come (RFC 9113, section 3.4).
    pub fn greeting(&self) -> Greeting {
        let first = self.first.load(Relaxed);
        let (length, kind) = (u64::from(first >> 8), first & 0xff);
        match self.read().checked_sub(self.preface) {
            Some(4..) if kind != SETTINGS => Greeting::Invalid,
            Some(read) if read >= FRAME_HEAD + length => Greeting::Complete,
            _ => Greeting::Incomplete,
        }
    }

    /// Lets the connection read again, up to [`TURN`] bytes.
    pub fn begin_turn(&self) {
        self.left.store(TURN as u64, Relaxed);
        self.exhausted.store(false, Relaxed);
    }

    /// Whether there may be more to read than the turn allowed.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Relaxed)
    }

    fn count_read(&self, bytes: &[u8]) {
        let read = self.read();
        for (at, byte) in (read..self.preface + 4).zip(bytes) {
            if let Some(at) = at.checked_sub(self.preface) {
                let first = self.first.load(Relaxed) | u32::from(*byte) << (24 - 8 * at);
                self.first.store(first, Relaxed);
            }
        }
        self.read.store(read + bytes.len() as u64, Relaxed);
        self.idle.store(self.idle.load(Relaxed) + bytes.len() as u64, Relaxed);
        if let Some(last) = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')) {
            self.text.store(read + last as u64 + 1, Relaxed);
        }
        self.left.store(self.left.load(Relaxed).saturating_sub(bytes.len() as u64), Relaxed);
    }

    fn count_written(&self, written: &Poll<io::Result<usize>>) {
        self.blocked.store(written.is_pending(), Relaxed);
        if let Poll::Ready(Ok(count)) = written {
            self.written.store(self.written() + *count as u64, Relaxed);
        }
    }
}

/// A stream whose bytes are counted. After [`TURN`] bytes it has nothing to read until
/// the next turn begins.
#[derive(Debug)]
pub struct MeteredStream<S> {
    stream: S,
    meter: Arc<Meter>,
    /// Whether the next turn begins once others have had theirs, also where nobody begins it.
    gives_way: bool,
    /// Bytes that may be read while nothing of a message comes of them.
    most_idle: u64,
}

impl<S> MeteredStream<S> {
    /// The stream itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Counts, and reads in turns, which the connection's driver begins; the first frame comes
    /// after a preface of so many bytes.
    pub fn in_turns(stream: S, preface: u64) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter { preface, ..Meter::default() });
        let most_idle = u64::MAX;
        (Self { stream, meter: Arc::clone(&meter), gives_way: false, most_idle }, meter)
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Counts, and gives way to others after each turn.
    pub fn giving_way(stream: S) -> (Self, Arc<Meter>) {
        let (metered, meter) = Self::in_turns(stream, 0);
        meter.begin_turn();
        (Self { gives_way: true, ..metered }, meter)
    }

    /// Breaks once so many bytes were read of which nothing of a message came.
    pub fn with_most_idle(self, most_idle: u64) -> Self {
        Self { most_idle, ..self }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.meter.left.load(Relaxed) == 0 {
            // Who drives the connection begins the next turn.
            self.meter.exhausted.store(true, Relaxed);
            if self.gives_way {
                self.meter.begin_turn();
                give_way(context);
            }
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.meter.count_read(&buffer.filled()[before..]);
        if self.meter.idle.load(Relaxed) > self.most_idle {
            // In these words the codec says as well that the peer breaks the rules.
            let text = "much was sent, and nothing of a message came of it";
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, text)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.meter.count_written(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.meter.count_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use tokio::{
        io::{Join, Repeat, Sink, join, repeat, sink},
        task::yield_now,
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A peer that sends without end.
    fn endless() -> Join<Repeat, Sink> {
        join(repeat(b'x'), sink())
    }

    /// Bytes that are read before there are no more, or the error.
    fn read_all(
        stream: &mut MeteredStream<Join<Repeat, Sink>>,
        context: &mut Context<'_>,
    ) -> io::Result<usize> {
        let (mut bytes, mut total) = ([0; 8 * 1024], 0);
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => total += buffer.filled().len(),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(total),
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_sends_without_end_gives_way_after_a_turn() {
        let (mut stream, _) = MeteredStream::giving_way(endless());
        let wakes = Arc::<Wakes>::default();
        let waker = Arc::clone(&wakes).into();
        let mut context = Context::from_waker(&waker);
        for turn in 0..3 {
            assert_eq!(read_all(&mut stream, &mut context).unwrap(), TURN);
            assert_eq!(wakes.0.load(Relaxed), turn, "not before sockets have been looked at");
            yield_now().await;
            assert_eq!(wakes.0.load(Relaxed), turn + 1);
        }
    }

    #[tokio::test]
    async fn a_peer_whose_bytes_bring_nothing_is_left() {
        let (stream, meter) = MeteredStream::giving_way(endless());
        let mut stream = stream.with_most_idle(2 * TURN as u64);
        let mut context = Context::from_waker(std::task::Waker::noop());
        for _ in 0..3 {
            assert_eq!(read_all(&mut stream, &mut context).unwrap(), TURN);
            meter.message_moved();
        }
        for _ in 0..2 {
            assert_eq!(read_all(&mut stream, &mut context).unwrap(), TURN);
        }
        let error = read_all(&mut stream, &mut context).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

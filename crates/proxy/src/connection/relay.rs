//! Bytes both ways until both sides are done.
//!
//! Each direction ends on its own, so that half-closed connections work. Bytes pass
//! through one buffer per thread; a connection keeps memory of its own only for what
//! the other side does not take yet, so an idle one costs next to nothing.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::yield_now,
    time::sleep,
};

use crate::io::buffers::{Buffers, Waiting};

/// The thread's buffer: the most bytes that one read takes.
const SCRATCH: usize = 128 * 1024;
/// Bytes that a connection moves before it lets others go on: well under a millisecond.
const TURN: usize = 512 * 1024;
/// An idle limit is looked at so many times while it lasts.
const LOOKS: u32 = 8;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many bytes passed so far.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// From the client.
    pub received: Rc<Cell<u64>>,
    /// To the client.
    pub sent: Rc<Cell<u64>>,
}

/// Why a relay ended before both sides were done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The connection to the client broke.
    #[error("the connection to the client")]
    Client(#[source] io::Error),
    /// The connection to the server broke.
    #[error("the connection to the server")]
    Server(#[source] io::Error),
    /// No byte passed in either direction for this long.
    #[error("no byte passed for {0:?}")]
    Idle(Duration),
}

/// What a relay may use up.
#[derive(Clone, Copy)]
pub struct RelayLimits<'a> {
    /// How long no byte may pass.
    pub idle: Duration,
    /// Where bytes are counted that wait.
    pub buffers: &'a Arc<Buffers>,
}

/// Copies between `client` and `server` until both have ended, within `limits`.
pub async fn relay<C, S>(
    client: &mut C,
    server: &mut S,
    passed: &Passed,
    limits: RelayLimits<'_>,
) -> Result<(), RelayError>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let copying = async {
        let half = |count| Half::new(count, limits.buffers);
        let (mut up, mut down) = (half(&passed.received), half(&passed.sent));
        loop {
            let copied = poll_fn(|context| {
                let mut turn = TURN;
                let up = up.poll_copy(context, client, server, &mut turn);
                let down = down.poll_copy(context, server, client, &mut turn);
                both(up, down, turn)
            });
            match copied.await? {
                // Waking this task at once would make it run again before any socket is
                // looked at; yielding lets the others in.
                Copied::ForNow => yield_now().await,
                Copied::All => return Ok(()),
            }
        }
    };
    tokio::select! {
        biased;
        ended = copying => ended,
        () = silence(passed, limits.idle) => Err(RelayError::Idle(limits.idle)),
    }
}

/// How far copying came.
enum Copied {
    /// It goes on after others had their turn.
    ForNow,
    /// Both sides are done.
    All,
}

/// The state of both halves as one. An error of the half that reads from the client and
/// writes to the server concerns the one it was reading from or writing to.
fn both(
    up: Poll<Result<(), Broken>>,
    down: Poll<Result<(), Broken>>,
    turn: usize,
) -> Poll<Result<Copied, RelayError>> {
    let (up_done, down_done) = (up.is_ready(), down.is_ready());
    match up {
        Poll::Ready(Err(Broken::Reading(error))) => {
            return Poll::Ready(Err(RelayError::Client(error)));
        }
        Poll::Ready(Err(Broken::Writing(error))) => {
            return Poll::Ready(Err(RelayError::Server(error)));
        }
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    match down {
        Poll::Ready(Err(Broken::Reading(error))) => {
            return Poll::Ready(Err(RelayError::Server(error)));
        }
        Poll::Ready(Err(Broken::Writing(error))) => {
            return Poll::Ready(Err(RelayError::Client(error)));
        }
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    match (up_done && down_done, turn) {
        (true, _) => Poll::Ready(Ok(Copied::All)),
        (false, 0) => Poll::Ready(Ok(Copied::ForNow)),
        (false, _) => Poll::Pending,
    }
}

/// Which end of a half broke.
enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

/// One direction of a relay.
struct Half {
    /// Bytes that were passed on.
    count: Rc<Cell<u64>>,
    /// What was read and is not written yet.
    waiting: Option<Waiting>,
    buffers: Arc<Buffers>,
    needs_flush: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The source has ended, the end is not passed on yet.
    Ending,
    Ended,
}

impl Half {
    fn new(count: &Rc<Cell<u64>>, buffers: &Arc<Buffers>) -> Self {
        let (count, buffers) = (Rc::clone(count), Arc::clone(buffers));
        Self { count, waiting: None, buffers, needs_flush: false, state: State::Open }
    }

    /// Copies until the source has ended and the end was passed on, at most `turn` bytes.
    fn poll_copy<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        turn: &mut usize,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write_waiting(context, to)).map_err(Broken::Writing)?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(Broken::Writing)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Open if *turn == 0 => return Poll::Pending,
                State::Open => {}
            }
            let mut scratch = BUFFER.take();
            scratch.resize(SCRATCH, 0);
            let most = self.buffers.most(SCRATCH);
            let copied = self.poll_once(context, from, to, &mut scratch[..most]);
            BUFFER.set(scratch);
            match copied {
                Poll::Ready(Ok(0)) => self.state = State::Ending,
                Poll::Ready(Ok(length)) => *turn = turn.saturating_sub(length),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.needs_flush {
                        ready!(Pin::new(&mut *to).poll_flush(context)).map_err(Broken::Writing)?;
                        self.needs_flush = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once, and writes as much of it as `to` takes; how much was read.
    fn poll_once<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        scratch: &mut [u8],
    ) -> Poll<Result<usize, Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(context, &mut buffer)).map_err(Broken::Reading)?;
        let read = buffer.filled();
        let mut rest = read;
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Writing(write_zero()))),
                Poll::Ready(Ok(count)) => {
                    self.passed(count);
                    rest = &rest[count..];
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Writing(error))),
                Poll::Pending => {
                    self.waiting = Some(Waiting::copy(rest, &self.buffers));
                    break;
                }
            }
        }
        self.needs_flush = true;
        Poll::Ready(Ok(read.len()))
    }

    fn poll_write_waiting<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some(waiting) = &mut self.waiting {
            let count = ready!(Pin::new(&mut *to).poll_write(context, waiting.rest()))?;
            if count == 0 {
                return Poll::Ready(Err(write_zero()));
            }
            waiting.take(count);
            if waiting.rest().is_empty() {
                self.waiting = None;
            }
            self.passed(count);
        }
        Poll::Ready(Ok(()))
    }

    fn passed(&self, count: usize) {
        self.count.set(self.count.get() + count as u64);
    }
}

fn write_zero() -> io::Error {
    io::Error::from(io::ErrorKind::WriteZero)
}

/// Ends when no byte has passed for `limit`. Bytes are counted, not their times, so that
/// passing them costs no look at the clock; it may last an eighth of the limit longer.
async fn silence(passed: &Passed, limit: Duration) {
    let total = || passed.received.get().wrapping_add(passed.sent.get());
    let (mut before, mut quiet) = (total(), 0);
    while quiet < LOOKS {
        sleep(limit / LOOKS).await;
        let now = total();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

#[cfg(test)]
mod tests;

//! One direction of a relay.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    connection::relay::RelayStream,
    io::{
        buffer_limit::{Buffers, Waiting},
        pipe::Pipe,
    },
};

/// The thread's buffer: the most bytes that one read takes.
const SCRATCH: usize = 128 * 1024;
/// A read of so much makes the next one go through the kernel alone.
const BULK: usize = 32 * 1024;
/// A move of less than this makes the next one a copy again.
const TRICKLE: usize = 8 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Which end of a half broke.
pub(super) enum Broken {
    /// The one that is read from.
    Reading(io::Error),
    /// The one that is written to.
    Writing(io::Error),
}

/// One direction of a relay.
pub(super) struct Half {
    /// Bytes that were passed on.
    count: Rc<Cell<u64>>,
    /// What was read and is not written yet.
    waiting: Option<Waiting>,
    /// The same, where it stayed in the kernel.
    pipe: Option<Pipe>,
    /// Whether there was much to read of late.
    bulk: bool,
    /// Whether the last read may have left something: one that was short, or one by the kernel
    /// alone, which never goes beyond urgent data.
    may_have_more: bool,
    buffers: Arc<Buffers>,
    needs_flush: bool,
    /// Whether the end is passed on.
    ends: bool,
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
    /// Nothing read yet; what is passed on is added to `count`.
    pub(super) fn new(count: &Rc<Cell<u64>>, buffers: &Arc<Buffers>) -> Self {
        Self {
            count: Rc::clone(count),
            waiting: None,
            pipe: None,
            bulk: false,
            may_have_more: false,
            buffers: Arc::clone(buffers),
            needs_flush: false,
            ends: true,
            state: State::Open,
        }
    }

    /// The source has broken: that all has been read is no end in order, and must not look so
    /// to the other side.
    pub(super) fn keep_end(&mut self) {
        self.ends = false;
    }

    /// Copies until the source has ended and the end was passed on, if it is, at most `turn` bytes.
    pub(super) fn poll_copy<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        turn: &mut usize,
    ) -> Poll<Result<(), Broken>>
    where
        R: RelayStream,
        W: RelayStream,
    {
        loop {
            ready!(self.poll_write_waiting(context, to)).map_err(Broken::Writing)?;
            ready!(self.poll_drain_pipe(context, to)).map_err(Broken::Writing)?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending if !self.ends => {
                    let flushed = Pin::new(&mut *to).poll_flush(context);
                    return flushed.map_err(Broken::Writing);
                }
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(Broken::Writing)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Open if *turn == 0 => return Poll::Pending,
                State::Open => {}
            }
            let moved = match self.through_kernel(from, to) {
                Some(pipe) => match self.poll_splice(context, from, pipe) {
                    Poll::Pending => {
                        self.may_have_more = true;
                        self.poll_scratch(context, from, to)
                    }
                    moved => moved,
                },
                None => self.poll_scratch(context, from, to),
            };
            match moved {
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

    /// An empty pipe, where bytes go from one socket to another and there are many of them.
    fn through_kernel(&self, from: &impl RelayStream, to: &impl RelayStream) -> Option<Pipe> {
        let sockets = from.socket().is_some() && to.socket().is_some();
        (self.bulk && self.buffers.have_room() && sockets)
            .then(|| Pipe::open(&self.buffers))
            .flatten()
    }

    /// Reads once into `pipe`, which is kept until it is empty; how much was read.
    fn poll_splice(
        &mut self,
        context: &mut Context<'_>,
        from: &impl RelayStream,
        mut pipe: Pipe,
    ) -> Poll<Result<usize, Broken>> {
        let Some(socket) = from.socket() else { return Poll::Pending };
        let count = ready!(pipe.poll_fill(context, socket));
        let count = count.map_err(Broken::Reading)?;
        self.bulk = count >= TRICKLE;
        self.pipe = Some(pipe).filter(|pipe| !pipe.is_empty());
        Poll::Ready(Ok(count))
    }

    fn poll_drain_pipe(
        &mut self,
        context: &mut Context<'_>,
        to: &impl RelayStream,
    ) -> Poll<io::Result<()>> {
        while let (Some(pipe), Some(socket)) = (&mut self.pipe, to.socket()) {
            let count = ready!(pipe.poll_drain(context, socket))?;
            if count == 0 {
                return Poll::Ready(Err(write_zero()));
            }
            if pipe.is_empty() {
                self.pipe = None;
            }
            self.passed(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once into the thread's buffer, and writes of it what `to` takes; how much was
    /// read.
    fn poll_scratch<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<Result<usize, Broken>>
    where
        R: RelayStream,
        W: RelayStream,
    {
        let mut scratch = BUFFER.take();
        scratch.resize(SCRATCH, 0);
        let most = self.buffers.most(SCRATCH);
        let copied = self.poll_once(context, from, to, &mut scratch[..most]);
        BUFFER.set(scratch);
        if let Poll::Ready(Ok(count)) = copied {
            self.bulk = count >= BULK;
        }
        copied
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
        R: RelayStream,
        W: AsyncWrite + Unpin,
    {
        let wanted = scratch.len();
        let mut buffer = ReadBuf::new(scratch);
        let read = match Pin::new(&mut *from).poll_read(context, &mut buffer) {
            Poll::Pending if std::mem::take(&mut self.may_have_more) => from.read_now(&mut buffer),
            read => read,
        };
        ready!(read).map_err(Broken::Reading)?;
        let read = buffer.filled();
        self.may_have_more = (1..wanted).contains(&read.len());
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

    #[cfg(test)]
    pub(super) fn holds_pipe(&self) -> bool {
        self.pipe.is_some()
    }

    fn passed(&self, count: usize) {
        self.count.set(self.count.get() + count as u64);
    }
}

/// Reads what comes `from` a source and drops it, at most `turn` bytes; whether more may come.
pub(super) fn drop_read(
    context: &mut Context<'_>,
    from: &mut (impl AsyncRead + Unpin),
    turn: &mut usize,
) -> bool {
    let mut scratch = BUFFER.take();
    scratch.resize(SCRATCH, 0);
    let mut may_come = true;
    while may_come && *turn > 0 {
        let mut buffer = ReadBuf::new(&mut scratch);
        let Poll::Ready(read) = Pin::new(&mut *from).poll_read(context, &mut buffer) else { break };
        let count = buffer.filled().len();
        may_come = read.is_ok() && count > 0;
        *turn = turn.saturating_sub(count);
    }
    BUFFER.set(scratch);
    may_come
}

fn write_zero() -> io::Error {
    io::Error::from(io::ErrorKind::WriteZero)
}

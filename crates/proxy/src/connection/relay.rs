//! Bytes both ways until both sides are done.
//!
//! Each direction ends on its own, so that half-closed connections work. Bytes pass
//! through one buffer per thread, or through the kernel alone where both ends are sockets
//! and there is much to move; a connection keeps memory of its own only for what the other
//! side does not take yet, so an idle one costs next to nothing.

mod half;

use std::{cell::Cell, future::poll_fn, io, rc::Rc, sync::Arc, task::Poll, time::Duration};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::yield_now,
    time::sleep,
};

use crate::io::{
    buffer_limit::Buffers, peeked::PeekedStream, shared_tcp::SharedTcp, stream::Stream,
};
use half::{Broken, Half};

/// Bytes that a connection moves before it lets others go on: well under a millisecond.
const TURN: usize = 512 * 1024;
/// How long no byte may pass once the client has reset its connection.
const AFTER_RESET: Duration = Duration::from_secs(5);
/// An idle limit is looked at so many times while it lasts.
const LOOKS: u32 = 8;

/// One side of a relay.
pub trait RelayStream: AsyncRead + AsyncWrite + Unpin {
    /// The socket that all further bytes come from and go to, if it is one.
    fn socket(&self) -> Option<&TcpStream>;

    /// Reads what the socket has by now, if it is one, whether or not it is known to have any. A
    /// read ends before urgent data (RFC 9293, section 3.8.5) with more behind it; the urgent byte
    /// itself is skipped.
    fn read_now(&self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = self.socket() else { return Poll::Pending };
        match recv(socket, buffer.initialize_unfilled(), RecvFlags::DONTWAIT) {
            Ok((_, count)) => {
                buffer.advance(count.min(buffer.remaining()));
                Poll::Ready(Ok(()))
            }
            Err(Errno::AGAIN | Errno::INTR) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// The connection, if it has an end that is seen before all bytes have been read.
    fn connection(&self) -> Option<&SharedTcp> {
        None
    }
}

impl RelayStream for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl RelayStream for Stream {
    fn socket(&self) -> Option<&TcpStream> {
        self.socket().map(|socket| &**socket)
    }

    fn connection(&self) -> Option<&SharedTcp> {
        self.socket()
    }
}

impl RelayStream for PeekedStream {
    fn socket(&self) -> Option<&TcpStream> {
        RelayStream::socket(self.stream()).filter(|_| self.seen().is_empty())
    }

    fn connection(&self) -> Option<&SharedTcp> {
        self.stream().socket()
    }
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
    C: RelayStream,
    S: RelayStream,
{
    let gone = gone(client.connection().cloned(), passed, limits.idle);
    let half = |count| Half::new(count, limits.buffers);
    let (mut up, mut down) = (half(&passed.received), half(&passed.sent));
    let copying = async {
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
                Copied::All => return Ok(None),
                Copied::Unheard(error) => return Ok(Some(error)),
            }
        }
    };
    let unheard = tokio::select! {
        biased;
        ended = copying => ended?,
        () = gone => return Err(RelayError::Client(io::ErrorKind::ConnectionReset.into())),
        () = silence(passed, limits.idle) => return Err(RelayError::Idle(limits.idle)),
    };
    let Some(error) = unheard else { return Ok(()) };
    drop(down);
    if client.connection().is_some() {
        tokio::select! {
            () = pass_on_rest(client, server, &mut up) => {}
            () = silence(passed, limits.idle.min(AFTER_RESET)) => {}
        }
    }
    Err(RelayError::Client(error))
}

/// Passes on what `client` sent before its connection broke. What `server` says is read, since
/// it may read no more before it has said it, and dropped.
async fn pass_on_rest<C, S>(client: &mut C, server: &mut S, up: &mut Half)
where
    C: RelayStream,
    S: RelayStream,
{
    up.keep_end();
    let mut is_saying = true;
    loop {
        let passing = poll_fn(|context| {
            let mut turn = TURN;
            let up = up.poll_copy(context, client, server, &mut turn);
            is_saying = is_saying && half::drop_read(context, server, &mut turn);
            match (up, turn) {
                (Poll::Ready(_), _) => Poll::Ready(Copied::All),
                (Poll::Pending, 0) => Poll::Ready(Copied::ForNow),
                (Poll::Pending, _) => Poll::Pending,
            }
        });
        match passing.await {
            Copied::ForNow => yield_now().await,
            Copied::All | Copied::Unheard(_) => return,
        }
    }
}

/// Ends once the connection to the client has broken and no byte has passed for a while: what
/// the client sent before is passed on, and while the server takes nothing of that, the client
/// is not read from.
async fn gone(client: Option<SharedTcp>, passed: &Passed, limit: Duration) {
    match client {
        Some(client) => client.broken().await,
        None => std::future::pending().await,
    }
    silence(passed, limit.min(AFTER_RESET)).await;
}

/// How far copying came.
enum Copied {
    /// It goes on after others had their turn.
    ForNow,
    /// Both sides are done.
    All,
    /// Nothing reaches the client any more, which may have sent more than was passed on.
    Unheard(io::Error),
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
            return Poll::Ready(Ok(Copied::Unheard(error)));
        }
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    match (up_done && down_done, turn) {
        (true, _) => Poll::Ready(Ok(Copied::All)),
        (false, 0) => Poll::Ready(Ok(Copied::ForNow)),
        (false, _) => Poll::Pending,
    }
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

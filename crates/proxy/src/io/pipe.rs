//! Bytes that the kernel moves from one socket to another without copying them.
//!
//! A pipe holds references to the pages that a socket received (splice(2)), so what passes
//! through costs less than half of a copy to memory and back. That pays for bulk only: a
//! pipe is two descriptors, and each move a system call of its own.

use std::{
    cell::Cell,
    io,
    os::fd::OwnedFd,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

use crate::io::buffer_limit::{Buffers, Held};

/// The most that a pipe holds.
const CAPACITY: usize = 256 * 1024;
/// Pipes that hold bytes at a time, on one thread. The next connection copies.
const PIPES: usize = 32;

thread_local! {
    /// An empty pipe for the next connection that needs one.
    static SPARE: Cell<Option<Ends>> = const { Cell::new(None) };
    /// Pipes in use.
    static IN_USE: Cell<usize> = const { Cell::new(0) };
}

/// The ends of an empty pipe.
#[derive(Debug)]
struct Ends {
    reading: OwnedFd,
    writing: OwnedFd,
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user who has many pipes gets smaller ones; they work as well.
        let _ = fcntl_setpipe_size(&writing, CAPACITY);
        Ok(Self { reading, writing })
    }
}

/// Bytes on their way between two sockets, in the kernel.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    held: Held,
}

impl Pipe {
    /// An empty pipe; `None` when there can be no more of them. What it holds counts in
    /// `buffers`.
    pub fn open(buffers: &Arc<Buffers>) -> Option<Self> {
        if IN_USE.get() >= PIPES {
            return None;
        }
        let ends = match SPARE.take() {
            Some(ends) => ends,
            None => Ends::open().ok()?,
        };
        IN_USE.set(IN_USE.get() + 1);
        Some(Self { ends: Some(ends), held: Held::new(buffers) })
    }

    /// Moves what `socket` has received into the pipe, which must be empty: how many bytes,
    /// 0 at the end of the stream.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        socket: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty());
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(socket.poll_read_ready(context))?;
            let moved = socket.try_io(Interest::READABLE, || {
                Ok(splice(socket, None, &ends.writing, None, CAPACITY, SpliceFlags::NONBLOCK)?)
            });
            match moved {
                Err(error) if is_again(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    self.held.set(count);
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    /// Moves what the pipe holds to `socket`: how many bytes it took.
    pub fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        socket: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(socket.poll_write_ready(context))?;
            let all = self.held.bytes();
            let moved = socket.try_io(Interest::WRITABLE, || {
                Ok(splice(&ends.reading, None, socket, None, all, SpliceFlags::NONBLOCK)?)
            });
            match moved {
                Err(error) if is_again(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    self.held.set(self.held.bytes().saturating_sub(count));
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    /// Whether all of it was taken.
    pub fn is_empty(&self) -> bool {
        self.held.bytes() == 0
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        IN_USE.set(IN_USE.get() - 1);
        // What is left belongs to a connection that has ended.
        if self.is_empty() {
            let ends = self.ends.take();
            // Without it, at the thread's end, the pipe is closed.
            let _ = SPARE.try_with(|spare| spare.set(ends));
        }
    }
}

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

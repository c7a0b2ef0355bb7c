//! Threads of their own: for work in other namespaces, and for what must happen
//! however busy the runtime is.
//!
//! A thread that has entered a namespace is never used for anything else.

use std::{io, os::fd::OwnedFd, thread};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::sync::oneshot;

/// Runs `work` in a new thread, which may change its namespaces.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("apart".into()).spawn(move || {
        // Nobody waits for the result of what was cancelled.
        let _ = sender.send(work());
    })?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

/// Calls `then` once the other end of `socket` is closed. Neither a runtime nor what has
/// been sent and not been read holds it up.
pub(crate) fn when_closed(socket: OwnedFd, then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let watch = move || {
        // Without a wish for data: only the end wakes this.
        let mut sockets = [PollFd::new(&socket, PollFlags::RDHUP)];
        while poll(&mut sockets, None) == Err(Errno::INTR) {}
        then();
    };
    thread::Builder::new().name("terminal".into()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::channel;

    #[test]
    fn the_end_of_the_terminal_is_seen_without_a_runtime_and_behind_unread_messages() {
        let (ours, theirs) = channel::pair().unwrap();
        let (sender, receiver) = mpsc::channel();
        when_closed(ours, move || sender.send(()).unwrap()).unwrap();
        weft_process::sockets::send(&theirs, b"unread", &[]).unwrap();
        assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(theirs);
        assert_eq!(receiver.recv(), Ok(()));
    }
}

//! Work in other namespaces: a thread of its own that enters them, works, and
//! ends.
//!
//! A thread that has entered a namespace is never used for anything else.

use std::{io, thread};

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

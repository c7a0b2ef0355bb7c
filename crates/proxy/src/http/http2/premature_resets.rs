//! Streams that a client throws away soon after it opened them.
//!
//! Work that is begun and thrown away costs the servers behind more than the client, so a
//! client that does little else opens no more streams. Those that are open go on: the
//! connection may be shared by clients that have no part in it.

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::Instant;

/// A stream that the client resets within this time, before its answer is complete, is reset early.
const EARLY: Duration = Duration::from_secs(1);
/// After so many streams, those of before count half.
const RECENT: u32 = 1024;
/// Streams that are refused before the connection ends at once: a client that obeys opens
/// none once it has read that it should not.
const MOST_REFUSED: u32 = 1024;

/// Counts streams, and those that were reset early.
#[derive(Default)]
pub struct Resets {
    allowed: u32,
    open: Cell<u32>,
    streams: Cell<u32>,
    early: Cell<u32>,
    refused: Cell<u32>,
    waker: Cell<Option<Waker>>,
}

impl Resets {
    /// None yet; so many may be early.
    pub fn new(allowed: u32) -> Rc<Self> {
        Rc::new(Self { allowed, ..Self::default() })
    }

    /// Whether a stream is open.
    pub fn is_in_use(&self) -> bool {
        self.open.get() > 0
    }

    /// Whether the client resets more than it lets finish.
    pub fn are_too_many(&self) -> bool {
        self.early.get() > self.allowed && self.early.get() > self.streams.get() / 2
    }

    /// Has the connection's task woken once there are too many.
    pub fn wake_on_excess(&self, context: &Context<'_>) {
        let known = self.waker.take();
        let same = known.filter(|waker| waker.will_wake(context.waker()));
        self.waker.set(Some(same.unwrap_or_else(|| context.waker().clone())));
    }

    /// A stream was refused. True if the client goes on as if it had not been told.
    pub fn refuse(&self) -> bool {
        self.refused.set(self.refused.get() + 1);
        self.refused.get() >= MOST_REFUSED
    }
}

/// A stream that is open.
pub struct Open {
    resets: Rc<Resets>,
    began: Instant,
}

impl Open {
    /// A stream that begins now.
    pub fn new(resets: &Rc<Resets>) -> Self {
        resets.open.set(resets.open.get() + 1);
        resets.streams.set(resets.streams.get() + 1);
        if resets.streams.get() >= RECENT {
            resets.streams.set(resets.streams.get() / 2);
            resets.early.set(resets.early.get() / 2);
        }
        Self { resets: Rc::clone(resets), began: Instant::now() }
    }

    /// The stream was reset before its answer was complete.
    pub fn was_reset(&self) {
        if self.began.elapsed() > EARLY {
            return;
        }
        let resets = &self.resets;
        resets.early.set(resets.early.get() + 1);
        if resets.are_too_many()
            && let Some(waker) = resets.waker.take()
        {
            waker.wake();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.resets.open.set(self.resets.open.get().saturating_sub(1));
    }
}

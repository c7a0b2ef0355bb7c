//! How fast a stream may ask.

use std::time::Duration;

use tokio::time::Instant;

/// Interests a second that a stream may have in the long run.
const PACE: u32 = 1000;
/// Interests that it may have at once.
const BURST: u32 = 4096;

/// Lets interests through at [`PACE`], with bursts of [`BURST`].
pub(super) struct Pace {
    /// When everything spent so far has been earned.
    earned: Instant,
}

impl Pace {
    /// Nothing is spent yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { earned: now }
    }

    /// So many interests are let through.
    pub(super) fn spend(&mut self, interests: usize, now: Instant) {
        let cost = u32::try_from(interests).unwrap_or(u32::MAX).max(1);
        self.earned = self.earned.max(now) + Duration::from_secs(1) / PACE * cost;
    }

    /// When the next request may be read.
    pub(super) fn ready(&self) -> Instant {
        self.earned.checked_sub(Duration::from_secs(1) / PACE * BURST).unwrap_or(self.earned)
    }
}

//! How many bytes all connections of the process together have waiting.
//!
//! Beyond the limit relays go on with small reads, so that each of them adds little, and
//! requests keep nothing of their bodies for another try. Streams of HTTP/2 get small windows,
//! and beyond half as much again those whose peers take nothing are reset.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::{Buf, Bytes};
use weft_config::ProcessLimits;

/// The most that one read takes beyond the limit.
const LITTLE: usize = 2 * 1024;

/// One client outside may have this part of the limit waiting.
const PART_OF_CLIENT: u64 = 32;

/// Bytes that wait in all connections of the process.
#[derive(Debug)]
pub struct Buffers {
    waiting: AtomicU64,
    /// Bytes that clients of HTTP/2 may send at any time, beyond what each of them may.
    granted: AtomicU64,
    limit: AtomicU64,
}

impl Default for Buffers {
    fn default() -> Self {
        let limit = AtomicU64::new(ProcessLimits::new().buffers);
        Self { waiting: AtomicU64::new(0), granted: AtomicU64::new(0), limit }
    }
}

impl Buffers {
    /// Goes by this limit from now on.
    pub fn limit(&self, limits: &ProcessLimits) {
        self.limit.store(limits.buffers, Ordering::Relaxed);
    }

    /// How much of `wanted` bytes may be read at once.
    pub fn most(&self, wanted: usize) -> usize {
        match self.have_room() {
            true => wanted,
            false => wanted.min(LITTLE),
        }
    }

    /// Whether more may be kept that need not be.
    pub fn have_room(&self) -> bool {
        self.waiting() < self.limit.load(Ordering::Relaxed)
    }

    /// Whether less than half of what may wait does.
    pub fn is_half_empty(&self) -> bool {
        self.waiting() < self.limit.load(Ordering::Relaxed) / 2
    }

    /// Whether less than a quarter of what may wait does, so that there is room for what nobody
    /// waits for.
    pub fn are_mostly_empty(&self) -> bool {
        self.waiting() < self.limit.load(Ordering::Relaxed) / 4
    }

    /// Whether half as much again waits as may.
    pub fn is_overfull(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.waiting() >= limit.saturating_add(limit / 2)
    }

    /// As many bytes as may wait in each direction of one connection of a client outside.
    pub fn most_of_client(&self) -> usize {
        let part = self.limit.load(Ordering::Relaxed) / PART_OF_CLIENT;
        usize::try_from(part).unwrap_or(usize::MAX)
    }

    /// Lets a client send so many bytes more, unless as many wait as may, or all clients together
    /// could send more than may wait.
    pub fn grant(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |granted: u64| Some(granted + bytes).filter(|granted| *granted <= limit);
        let update = || self.granted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        self.have_room() && update().is_ok()
    }

    /// So many bytes that were [granted](Self::grant) cannot come any more.
    pub fn give_back(&self, bytes: u64) {
        self.granted.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// One owner has `now` bytes waiting, and had `before`.
    pub fn change(&self, before: usize, now: usize) {
        match now.checked_sub(before) {
            Some(more) => self.waiting.fetch_add(more as u64, Ordering::Relaxed),
            None => self.waiting.fetch_sub((before - now) as u64, Ordering::Relaxed),
        };
    }

    /// Bytes that wait now.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Bytes that wait until the other side takes them.
#[derive(Debug)]
pub struct Waiting {
    bytes: Bytes,
    _held: Held,
}

impl Waiting {
    /// A copy of `bytes`, counted in `buffers` until all of it is taken or this is dropped.
    pub fn copy(bytes: &[u8], buffers: &Arc<Buffers>) -> Self {
        let mut held = Held::new(buffers);
        held.set(bytes.len());
        Self { bytes: Bytes::copy_from_slice(bytes), _held: held }
    }

    /// What is left.
    pub fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// The first `count` bytes of it were taken.
    pub fn take(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
    }
}

/// A number of bytes that one owner keeps, counted in the buffers of the process.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    buffers: Arc<Buffers>,
}

impl Held {
    /// Nothing yet.
    pub fn new(buffers: &Arc<Buffers>) -> Self {
        Self { bytes: 0, buffers: Arc::clone(buffers) }
    }

    /// How many bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the process has room for more.
    pub fn has_room(&self) -> bool {
        self.buffers.have_room()
    }

    /// Whether the process has room for what nobody waits for.
    pub fn has_much_room(&self) -> bool {
        self.buffers.are_mostly_empty()
    }

    /// Keeps so many from now on.
    pub fn set(&mut self, bytes: usize) {
        self.buffers.change(self.bytes, bytes);
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_reads_are_small_until_bytes_are_taken() {
        let buffers = Arc::new(Buffers::default());
        buffers.limit(&ProcessLimits { buffers: 100, ..ProcessLimits::new() });
        assert_eq!(buffers.most(100_000), 100_000);
        let one = Waiting::copy(&[7; 60], &buffers);
        let mut other = Waiting::copy(&[7; 60], &buffers);
        assert_eq!((buffers.most(100_000), buffers.most(10)), (LITTLE, 10));
        other.take(50);
        assert_eq!((other.rest().len(), buffers.waiting()), (10, 120));
        drop(one);
        assert_eq!(buffers.most(100_000), 100_000);
        drop(other);
        assert_eq!(buffers.waiting(), 0);
    }
}

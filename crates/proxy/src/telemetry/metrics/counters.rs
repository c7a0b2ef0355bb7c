//! Numbers that one thread counts and another reads.
//!
//! Each cell has one writer, so adding is a load and a store, and a reader never
//! stops it. A reader may see a request in one number and not yet in the next.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::BOUNDS;

/// Buckets of a histogram, with the one above all bounds.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts by size.
#[derive(Debug, Default)]
pub struct Sizes {
    counts: [Cell; BUCKETS],
    sum: Cell,
}

/// What [`Sizes`] counted at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizesTotal {
    /// How many fell into each bucket.
    pub counts: [u64; BUCKETS],
    /// The sum of what was observed, in the unit in which it was.
    pub sum: u64,
}

impl Sizes {
    /// `value` in the unit of the bounds; `exact` is what is summed.
    fn observe(&self, value: f64, exact: u64) {
        self.counts[BOUNDS.partition_point(|bound| *bound < value)].add(1);
        self.sum.add(exact);
    }

    fn read(&self) -> SizesTotal {
        SizesTotal { counts: self.counts.each_ref().map(Cell::read), sum: self.sum.read() }
    }
}

/// Numbers that are kept by one thread, and what they add up to over several.
pub trait Numbers: Default {
    /// The same numbers at some moment.
    type Total: Default + std::fmt::Debug;
    /// Adds them to `total`.
    fn add_to(&self, total: &mut Self::Total);
    /// Grows with each use.
    fn uses(&self) -> u64;
    /// Whether nothing is under way that will be counted later.
    fn is_settled(&self) -> bool;
}

/// What one thread counted of one series of requests.
#[derive(Debug, Default)]
pub struct Requests {
    count: Cell,
    durations: Sizes,
    received: Sizes,
    sent: Sizes,
    messages: [Cell; 2],
}

/// What all threads counted of one series of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestsTotal {
    /// How many.
    pub count: u64,
    /// How long they took; summed in microseconds.
    pub durations: SizesTotal,
    /// Bytes of their bodies.
    pub received: SizesTotal,
    /// Bytes of their answers' bodies.
    pub sent: SizesTotal,
    /// Messages of gRPC in requests and in answers.
    pub messages: [u64; 2],
}

impl Requests {
    /// Counts one.
    pub fn observe(&self, took: Duration, (received, sent): (u64, u64), messages: (u64, u64)) {
        self.count.add(1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.durations.observe(took.as_secs_f64() * 1000.0, micros);
        self.received.observe(received as f64, received);
        self.sent.observe(sent as f64, sent);
        self.messages[0].add(messages.0);
        self.messages[1].add(messages.1);
    }
}

impl Numbers for Requests {
    type Total = RequestsTotal;

    fn add_to(&self, total: &mut RequestsTotal) {
        total.count += self.count.read();
        total.durations.add(&self.durations.read());
        total.received.add(&self.received.read());
        total.sent.add(&self.sent.read());
        for (total, cell) in total.messages.iter_mut().zip(&self.messages) {
            *total += cell.read();
        }
    }

    fn uses(&self) -> u64 {
        self.count.read()
    }

    fn is_settled(&self) -> bool {
        true
    }
}

impl SizesTotal {
    fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }
}

/// What one thread counted of one series of connections.
#[derive(Debug, Default)]
pub struct Connections([Cell; 4]);

/// What all threads counted of one series of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionsTotal {
    /// How many began.
    pub opened: u64,
    /// How many ended.
    pub closed: u64,
    /// Bytes from clients, of those that ended.
    pub received: u64,
    /// Bytes to clients, of those that ended.
    pub sent: u64,
}

impl Connections {
    /// One begins.
    pub fn opened(&self) {
        self.0[0].add(1);
    }

    /// One ends.
    pub fn closed(&self, (received, sent): (u64, u64)) {
        self.0[1].add(1);
        self.0[2].add(received);
        self.0[3].add(sent);
    }
}

impl Numbers for Connections {
    type Total = ConnectionsTotal;

    fn add_to(&self, total: &mut ConnectionsTotal) {
        let [opened, closed, received, sent] = self.0.each_ref().map(Cell::read);
        total.opened += opened;
        total.closed += closed;
        total.received += received;
        total.sent += sent;
    }

    fn uses(&self) -> u64 {
        self.0[0].read() + self.0[1].read()
    }

    fn is_settled(&self) -> bool {
        self.0[0].read() == self.0[1].read()
    }
}

//! Istio's standard metrics, counted by each worker for itself.
//!
//! A series is a small key of interned numbers; words are made when somebody
//! asks. What would be too many series counts for a peer called `overflow`.

mod exposition;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use weft_config::Workload;
use weft_decide::Flags;

pub use exposition::exposition;

/// Upper ends of the buckets of all histograms, as Istio's.
const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// Peers of one worker; more are `overflow`.
const MOST_PEERS: usize = 2048;
/// Series of one worker; more are counted for the peer `overflow`, without flags.
const MOST_SERIES: usize = 8192;

/// Who is at the other end, in the words of the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The service's full name.
    pub service: String,
    /// The service's name, or the backend's where there is no service.
    pub service_name: String,
    /// The service's namespace.
    pub service_namespace: String,
    /// The workload; empty where it is not known.
    pub workload: Workload,
}

/// An interned [`Peer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerId(u32);

impl PeerId {
    /// Nobody knows who.
    pub const UNKNOWN: Self = Self(0);
    const OVERFLOW: Self = Self(1);
}

/// From which end it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reporter {
    /// The client's.
    Source,
    /// The server's.
    Destination,
}

/// What distinguishes one series of requests from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    peer: PeerId,
    reporter: Reporter,
    status: u16,
    flags: u32,
    grpc: Grpc,
}

/// Whether gRPC was spoken, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grpc {
    /// Plain HTTP.
    #[default]
    Plain,
    /// gRPC with this status; none if there was no status.
    Status(Option<u16>),
}

/// One request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who it was exchanged with.
    pub peer: PeerId,
    /// From which end it is told.
    pub reporter: Reporter,
    /// The status; 0 when there was none.
    pub status: u16,
    /// Flags of the access log.
    pub flags: Flags,
    /// Whether gRPC was spoken.
    pub grpc: Grpc,
    /// How long it took.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// Messages of gRPC in the request and in the response.
    pub messages: (u64, u64),
}

/// Counts by size.
#[derive(Clone, Debug, Default)]
struct Sizes {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

/// The numbers of one series of requests.
#[derive(Clone, Debug, Default)]
struct Requests {
    flags: Flags,
    count: u64,
    durations: Sizes,
    received: Sizes,
    sent: Sizes,
    messages: (u64, u64),
}

/// The numbers of one series of connections.
#[derive(Clone, Debug, Default)]
struct Connections {
    opened: u64,
    closed: u64,
    received: u64,
    sent: u64,
}

/// What one worker counts.
#[derive(Clone, Debug)]
pub struct Registry {
    peers: Vec<Arc<Peer>>,
    known: HashMap<Arc<Peer>, PeerId>,
    requests: HashMap<Series, Box<Requests>>,
    connections: HashMap<(PeerId, Reporter), Connections>,
}

impl Default for Registry {
    fn default() -> Self {
        let overflow = Peer {
            service: "overflow".to_owned(),
            service_name: "overflow".to_owned(),
            ..Peer::default()
        };
        Self {
            peers: vec![Arc::default(), Arc::new(overflow)],
            known: HashMap::from([(Arc::default(), PeerId::UNKNOWN)]),
            requests: HashMap::new(),
            connections: HashMap::new(),
        }
    }
}

impl Registry {
    /// The number of `peer`.
    pub fn peer(&mut self, peer: Peer) -> PeerId {
        if let Some(id) = self.known.get(&peer) {
            return *id;
        }
        if self.peers.len() >= MOST_PEERS {
            return PeerId::OVERFLOW;
        }
        let id = PeerId(u32::try_from(self.peers.len()).unwrap_or(PeerId::OVERFLOW.0));
        let peer = Arc::new(peer);
        self.peers.push(Arc::clone(&peer));
        self.known.insert(peer, id);
        id
    }

    /// Counts a request.
    pub fn request(&mut self, request: &Request) {
        let mut series = Series {
            peer: request.peer,
            reporter: request.reporter,
            status: request.status,
            flags: packed(request.flags),
            grpc: request.grpc,
        };
        let mut flags = request.flags;
        if self.requests.len() >= MOST_SERIES && !self.requests.contains_key(&series) {
            // At most one series for each class of statuses and reporter.
            (series.peer, series.status) = (PeerId::OVERFLOW, request.status / 100 * 100);
            (series.flags, series.grpc, flags) = (0, Grpc::Plain, Flags::default());
        }
        let numbers = self.requests.entry(series).or_default();
        numbers.flags = flags;
        numbers.count += 1;
        numbers.durations.observe(request.duration.as_secs_f64() * 1000.0);
        numbers.received.observe(request.received as f64);
        numbers.sent.observe(request.sent as f64);
        numbers.messages.0 += request.messages.0;
        numbers.messages.1 += request.messages.1;
    }

    /// Counts a connection that begins.
    pub fn opened(&mut self, peer: PeerId, reporter: Reporter) {
        self.connections.entry((peer, reporter)).or_default().opened += 1;
    }

    /// Counts a connection that ends after `received` and `sent` bytes.
    pub fn closed(&mut self, peer: PeerId, reporter: Reporter, (received, sent): (u64, u64)) {
        let numbers = self.connections.entry((peer, reporter)).or_default();
        numbers.closed += 1;
        numbers.received += received;
        numbers.sent += sent;
    }
}

impl Sizes {
    fn observe(&mut self, value: f64) {
        let at = BOUNDS.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }

    fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }
}

fn packed(flags: Flags) -> u32 {
    flags.iter().fold(0, |packed, flag| packed << 8 | (flag as u32 + 1))
}

//! Istio's standard metrics, counted by each worker for itself.
//!
//! Texts are made when they are asked for, without the workers. What would be too
//! many series counts for a peer called `overflow`.

mod registry;
mod counters;
mod status_label;
mod exposition;
#[cfg(test)]
mod tests;

use std::time::Duration;

use weft_config::Workload;
use weft_decide::Flags;

pub use exposition::{Output, Turns, expose};
pub use registry::{Metrics, PeerId, Registry};

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
/// Who is at the other end, in the words of the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// The name of the peer that stands for all beyond the budget.
const OVERFLOW: &str = "overflow";

impl Peer {
    fn overflow() -> Self {
        let (service, service_name) = (OVERFLOW.to_owned(), OVERFLOW.to_owned());
        Self { service, service_name, ..Self::default() }
    }

    fn is_overflow(&self) -> bool {
        self.service == OVERFLOW
    }
}

/// From which end it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reporter {
    /// The client's.
    Source,
    /// The server's.
    Destination,
}

/// Whether gRPC was spoken, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grpc {
    /// Plain HTTP.
    #[default]
    Plain,
    /// gRPC with this status; none if there was no status.
    Status(Option<u16>),
}

impl Grpc {
    /// The same with a status that gRPC defines: others count as `UNKNOWN`, as gRPC's
    /// list of status codes demands.
    fn standard(self) -> Self {
        match self {
            Self::Status(Some(17..)) => Self::Status(Some(2)),
            other => other,
        }
    }
}

/// One request that is over.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who it was exchanged with; none where that is not known.
    pub peer: Option<PeerId>,
    /// From which end it is reported.
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

//! Limits on what the peers of a proxy may use up, and on how long they may take.
//!
//! [`Limits`] are data of a listener, [`ProcessLimits`] of the whole proxy. [`rows`]
//! is the same data for people: `docs/limits.md` has to agree with it.

mod rows;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use rows::{Row, process_rows, rows};

/// What a listener's clients may use up, and how long they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// From the first byte of a head until all of it has arrived: a request's head, a PROXY
    /// header, a TLS hello, the preface and first SETTINGS of HTTP/2.
    #[serde(with = "crate::seconds")]
    pub head: Duration,
    /// How long an HTTP connection may have no request under way, also before its first one.
    #[serde(with = "crate::seconds")]
    pub idle: Duration,
    /// How long an HTTP/2 connection may be silent before it is asked for a sign of life (PING).
    #[serde(with = "crate::seconds")]
    pub keep_alive: Duration,
    /// How long the answer to such a PING may take.
    #[serde(with = "crate::seconds")]
    pub keep_alive_answer: Duration,
    /// How long no byte of a body may pass while the peer owes some: a client or server that does
    /// not read what there is for it, or does not send what it has announced.
    #[serde(with = "crate::seconds")]
    pub stalled: Duration,
    /// How long no byte may pass in either direction of a relayed or upgraded connection.
    #[serde(with = "crate::seconds")]
    pub relay_idle: Duration,
    /// Requests under way on one HTTP/2 connection.
    pub streams: u32,
    /// Requests on one HTTP/2 connection that its client resets within a second, before the end of
    /// the answer; beyond it no more are taken if they are more than half of the latest thousand.
    /// Those that are under way go on: a gateway's connection to a sidecar is shared by its clients.
    pub premature_resets: u32,
    /// Bytes of a request's head.
    pub head_bytes: u32,
    /// Bytes that an HTTP/1 connection may have waiting in each direction.
    pub buffer: u32,
    /// Bytes that one HTTP/2 stream may have under way in each direction.
    pub stream_window: u32,
    /// Connections of the listener.
    pub connections: u32,
}

impl Limits {
    /// The defaults where clients come from outside the mesh.
    pub const fn edge() -> Self {
        Self {
            head: Duration::from_secs(10),
            // Longer than the 600 s for which load balancers in front keep connections.
            idle: Duration::from_secs(15 * 60),
            keep_alive: Duration::from_secs(60),
            keep_alive_answer: Duration::from_secs(20),
            stalled: Duration::from_secs(5 * 60),
            relay_idle: Duration::from_secs(60 * 60),
            streams: 100,
            premature_resets: 100,
            head_bytes: 60 * 1024,
            buffer: 64 * 1024,
            stream_window: 256 * 1024,
            connections: 40_000,
        }
    }

    /// The defaults where clients are of the mesh: slow ones are applications, not attackers.
    pub const fn sidecar() -> Self {
        Self {
            head: Duration::from_secs(60),
            idle: Duration::from_secs(60 * 60),
            keep_alive: Duration::from_secs(60),
            keep_alive_answer: Duration::from_secs(20),
            stalled: Duration::from_secs(5 * 60),
            relay_idle: Duration::from_secs(24 * 60 * 60),
            streams: 256,
            // Nearly all of the latest thousand: a gateway answers for many clients.
            premature_resets: 1000,
            head_bytes: 60 * 1024,
            buffer: 64 * 1024,
            stream_window: 256 * 1024,
            connections: 20_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::sidecar()
    }
}

/// What a proxy as a whole may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProcessLimits {
    /// Connections of all listeners together; fewer where descriptors do not suffice.
    pub connections: u32,
    /// Bytes that all relays together may have waiting, and all requests together may keep of
    /// their bodies for another try. Beyond it relays go on with small reads, and requests are
    /// sent once.
    pub buffers: u64,
    /// Descriptors that connections of clients leave for the proxy's own ports, its files and
    /// the configuration stream.
    pub reserved_descriptors: u32,
    /// How long a connection may be silent before the kernel probes it.
    #[serde(with = "crate::seconds")]
    pub tcp_keep_alive: Duration,
    /// How long sent bytes may stay without acknowledgement, and bytes unsent because the peer
    /// does not read, before the kernel ends a connection.
    #[serde(with = "crate::seconds")]
    pub tcp_user_timeout: Duration,
}

impl ProcessLimits {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            connections: 50_000,
            buffers: 256 * 1024 * 1024,
            reserved_descriptors: 256,
            tcp_keep_alive: Duration::from_secs(60),
            tcp_user_timeout: Duration::from_secs(5 * 60),
        }
    }
}

impl Default for ProcessLimits {
    fn default() -> Self {
        Self::new()
    }
}

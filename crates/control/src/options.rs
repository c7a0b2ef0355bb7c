//! What the control plane is started with.

use std::{fmt, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use weft_process::peers;
use weft_translate::Installation;
use weft_wire::server::Limits;

use crate::Authenticate;

/// What the control plane is started with.
pub struct Options {
    /// Where proxies connect.
    pub xds: TcpListener,
    /// How it is secured; [`tls::serving`](crate::tls::serving) makes one.
    pub tls: Arc<ServerConfig>,
    /// Where proxies connect in plain text; none unless asked for.
    pub xds_plain: Option<TcpListener>,
    /// Where metrics, readiness and debug pages are served.
    pub monitoring: TcpListener,
    /// Checks tokens.
    pub authenticate: Arc<dyn Authenticate>,
    /// How the mesh is installed. Accounts of its namespace may see debug pages.
    pub installation: Installation,
    /// What clients may cost.
    pub limits: Limits,
    /// How many connections there may be, of all ports for proxies together.
    pub peers: peers::Limits,
    /// Bytes that the answers about hosts and addresses may have, of all proxies together; parts
    /// that several answers have count once. Beyond it the namespace that has most of them gets no
    /// more.
    pub answer_bytes: usize,
    /// Bytes that all streams may have of large responses which their clients have not taken, and
    /// as many of the names of what clients say they hold. A namespace may have as much of each as
    /// it leaves free.
    pub stream_bytes: usize,
    /// How often some of the remembered values are computed again and compared.
    pub check_every: Duration,
    /// How long a proxy may be here before its pod is.
    pub pod_patience: Duration,
}

/// Connections of proxies. Each pod has one, or two for a while; behind a gateway of another
/// network, or on the network of a node, many share an address.
const PEERS: peers::Limits = peers::Limits {
    connections: 20_000,
    of_peer: 1_000,
    of_machine: 20_000,
    waiting: 4_096,
    waiting_of_peer: 256,
    // Streams have bounds of their own: what is asked for on them is no body.
    turns: 0,
    turns_of_peer: 0,
    bodies: peers::Bodies { longest: 0, small: 0, shared: 0, large_of_peer: 0, small_of_peer: 0 },
};

/// Bytes of the answers of all proxies. With what they are made from they need up to three times as
/// much, about 1 GiB.
const ANSWER_BYTES: usize = 320 << 20;

/// Bytes of large responses that wait for their clients.
const STREAM_BYTES: usize = 256 << 20;

impl Options {
    /// The usual limits, TLS only.
    pub fn new(
        xds: TcpListener,
        tls: Arc<ServerConfig>,
        monitoring: TcpListener,
        authenticate: Arc<dyn Authenticate>,
    ) -> Self {
        Self {
            xds,
            tls,
            xds_plain: None,
            monitoring,
            authenticate,
            installation: Installation::default(),
            limits: Limits::default(),
            peers: PEERS,
            answer_bytes: ANSWER_BYTES,
            stream_bytes: STREAM_BYTES,
            check_every: Duration::from_secs(1),
            pod_patience: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("xds", &self.xds)
            .field("xds_plain", &self.xds_plain)
            .field("monitoring", &self.monitoring)
            .finish_non_exhaustive()
    }
}

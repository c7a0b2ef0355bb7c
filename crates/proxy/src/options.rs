//! Options of a proxy, fixed when it starts.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use weft_config::File;

use crate::upstream::reach::Reach;

/// Options of a proxy, fixed when it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many threads serve connections; at least one.
    pub workers: usize,
    /// Where the configuration comes from.
    pub source: Source,
    /// Where people and tools ask about this proxy; none to leave it out.
    pub ports: Ports,
    /// How listening sockets are made.
    pub sockets: Sockets,
    /// The mark of every outgoing socket.
    pub mark: Option<u32>,
    /// Which addresses it dials for others.
    pub reach: Reach,
    /// How long connections may go on after the end was asked for.
    pub drain: Duration,
    /// The application behind this proxy, as far as probes and metrics go.
    pub application: Application,
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// All of it is here.
    File(Box<File>),
    /// A control plane has it.
    Stream(Stream),
}

/// A control plane.
#[derive(Clone, Debug)]
pub struct Stream {
    /// `HOST:PORT`.
    pub address: String,
    /// The name that its certificate has; the host of `address` when absent.
    pub name: Option<String>,
    /// Whom to trust; without it, the stream is plain text.
    pub ca_pem: Option<PathBuf>,
    /// Who this proxy is; read again for each connection.
    pub token: Option<PathBuf>,
    /// What the proxy calls itself, for the control plane's logs.
    pub node: String,
    /// Where what is known is kept across restarts; a file system in memory.
    pub state: Option<PathBuf>,
}

/// Where people and tools ask about this proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Everything; for this machine only.
    pub admin: Option<SocketAddr>,
    /// Metrics of the proxy.
    pub metrics: Option<SocketAddr>,
    /// Metrics of proxy and application, probes, and the end.
    pub merged: Option<SocketAddr>,
    /// Whether the proxy is ready.
    pub readiness: Option<SocketAddr>,
}

/// How listening sockets are made.
#[derive(Clone, Debug, Default)]
pub enum Sockets {
    /// By this process.
    #[default]
    Bind,
    /// By this process, and beside those by another one that lends some.
    Node {
        /// The Unix socket of the process that lends them.
        lender: PathBuf,
        /// The address that clients of lent sockets are taken to dial: this machine's own.
        address: Option<IpAddr>,
    },
}

/// The application behind this proxy.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Where its metrics are, as in `http://127.0.0.1:9090/metrics`.
    pub metrics: Option<String>,
    /// Its probes, as JSON by path (`ISTIO_KUBE_APP_PROBERS`).
    pub probes: Option<String>,
    /// The address at which probes reach it; loopback when absent.
    pub address: Option<IpAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            source: Source::File(Box::default()),
            ports: Ports::default(),
            sockets: Sockets::Bind,
            mark: None,
            reach: Reach::default(),
            drain: Duration::from_secs(5),
            application: Application::default(),
        }
    }
}

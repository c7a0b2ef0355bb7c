//! A connection, as the proxy meets it that it leads to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::question::PodName;

/// Stands for an address that the mesh does not know, where a name has none
/// (RFC 5737, for documentation). It is never told.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A connection on its way to a proxy.
pub(super) struct ProxiedConnection {
    pub(super) pod: PodName,
    pub(super) direction: Direction,
    pub(super) dialled: Dialled,
}

/// What a client dials.
#[derive(Clone, Debug)]
pub(super) struct Dialled {
    pub(super) address: SocketAddr,
    /// The host and port of which no address is known; `address` is then some that
    /// the mesh does not know.
    pub(super) name: Option<String>,
}

impl Dialled {
    /// An address for a host that has none in the mesh.
    pub(super) fn unknown(host: &str, port: u16) -> Self {
        Self { address: (OUTSIDE, port).into(), name: Some(format!("{host}:{port}")) }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address, if there is one to go on to.
    pub(super) fn known(&self) -> Option<SocketAddr> {
        self.name.is_none().then_some(self.address)
    }
}

impl From<SocketAddr> for Dialled {
    fn from(address: SocketAddr) -> Self {
        Self { address, name: None }
    }
}

impl fmt::Display for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.address.fmt(f),
        }
    }
}

/// Where a connection comes from, as the pod's proxy sees it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Direction {
    /// From the application beside the proxy.
    Outbound,
    /// From the network.
    Inbound,
}

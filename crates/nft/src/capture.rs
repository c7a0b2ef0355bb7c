//! The rules that lead a pod's traffic through its proxy.
//!
//! The flags, their defaults and the order of the rules are those of Istio's
//! `istio-iptables`, so that what an injected pod asks for is what it gets; the
//! rules themselves are nftables, in a table of their own.

mod arguments;
mod rules;

use ipnet::IpNet;

use crate::ruleset::Table;

/// What to capture, and for which proxy.
///
/// Invariant: interception is by redirection; other modes do not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Where captured outgoing connections go (`-p`).
    pub outbound_port: u16,
    /// Where captured incoming connections go (`-z`).
    pub inbound_port: u16,
    /// The port of tunnelled traffic, which is never captured (`-e`).
    pub tunnel_port: u16,
    /// Whose own connections are left alone.
    pub proxy: Exclusion,
    /// Which incoming ports are captured (`-b`).
    pub inbound: Ports,
    /// Incoming ports that are not captured when all are (`-d`).
    pub excluded_inbound: Vec<u16>,
    /// Which outgoing addresses are captured (`-i`).
    pub outbound: Ranges,
    /// Outgoing addresses that are not captured (`-x`).
    pub excluded_outbound: Vec<IpNet>,
    /// Outgoing ports that are captured whatever the address (`-q`).
    pub included_outbound_ports: Vec<u16>,
    /// Outgoing ports that are not captured (`-o`).
    pub excluded_outbound_ports: Vec<u16>,
    /// Interfaces whose traffic is not captured (`-c`).
    pub excluded_interfaces: Vec<String>,
    /// Where DNS questions go (`--redirect-dns`).
    pub dns_port: Option<u16>,
    /// Whether the pod has IPv6 addresses too (`--dual-stack`).
    pub families: Families,
}

/// Which address families the pod has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    #[default]
    Ip,
    /// IPv4 and IPv6.
    Both,
}

/// How the proxy's own connections are told from the application's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// By the user and group that the proxy runs as (`-u`, `-g`).
    Owner {
        /// User ids.
        users: Vec<u32>,
        /// Group ids.
        groups: Vec<u32>,
    },
    /// By the mark that the proxy sets on its sockets: where only one user id
    /// exists, the owner says nothing.
    Mark(u32),
}

/// A choice of incoming ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every port but the excluded ones.
    All,
    /// These ports only.
    Only(Vec<u16>),
}

/// A choice of outgoing addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// Every address but the excluded ones.
    All,
    /// These ranges only.
    Only(Vec<IpNet>),
}

/// Why the flags of the capture step are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A flag that does not exist.
    #[error("{0} is not a flag of istio-iptables that is served here")]
    UnknownFlag(String),
    /// A flag at the end without what it needs.
    #[error("{0} needs a value")]
    MissingValue(String),
    /// A value that does not parse.
    #[error("{flag} {value:?} is not {wanted}")]
    Value {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
        /// What would be accepted.
        wanted: &'static str,
    },
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            inbound_port: 15006,
            tunnel_port: 15008,
            proxy: Exclusion::Owner { users: vec![1337], groups: vec![1337] },
            inbound: Ports::Only(Vec::new()),
            excluded_inbound: Vec::new(),
            outbound: Ranges::Only(Vec::new()),
            excluded_outbound: Vec::new(),
            included_outbound_ports: Vec::new(),
            excluded_outbound_ports: Vec::new(),
            excluded_interfaces: Vec::new(),
            dns_port: None,
            families: Families::Ip,
        }
    }
}

impl Capture {
    /// Reads the flags of `istio-iptables`, without the program's name.
    pub fn from_arguments(arguments: &[String]) -> Result<Self, CaptureError> {
        arguments::parse(arguments)
    }

    /// The same capture for a proxy that marks its sockets.
    #[must_use]
    pub fn excluding_mark(mut self, mark: u32) -> Self {
        self.proxy = Exclusion::Mark(mark);
        self
    }

    /// The rules, one table for each address family.
    pub fn tables(&self) -> Vec<Table> {
        rules::tables(self)
    }
}

#[cfg(test)]
mod tests;

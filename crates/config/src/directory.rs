//! What exists, as far as a class of clients may see it.

use std::{collections::BTreeSet, net::SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Fingerprint, Fingerprints};

/// What a client of a class may use, small enough to hold all of it.
///
/// What is not in it is outside of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Directory {
    /// Every spelling of every host with each of its ports; wildcards as `*.suffix`.
    pub hosts: Fingerprints,
    /// Addresses and ports on which the address decides.
    pub addresses: Fingerprints,
    /// Ports on which the Host of an HTTP request decides, whatever the address.
    pub http_ports: BTreeSet<u16>,
    /// Addresses that are the mesh's own.
    pub ranges: Vec<IpNet>,
}

/// What decides where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decides {
    /// The address that the client dialled.
    Address,
    /// The Host of each request; what is not HTTP is outside.
    Host,
    /// Nothing in the mesh: it goes outside.
    Outside,
}

impl Directory {
    /// What decides about a connection to `address`.
    pub fn decides(&self, address: SocketAddr) -> Decides {
        if self.addresses.contains(Fingerprint::of_address(address)) {
            return Decides::Address;
        }
        match self.http_ports.contains(&address.port()) {
            true => Decides::Host,
            false => Decides::Outside,
        }
    }

    /// Whether `host`, in lower case and without a port, may be used on `port`,
    /// by its own name or under a wildcard.
    pub fn knows_host(&self, host: &str, port: u16) -> bool {
        self.hosts.contains(Fingerprint::of_host(host, port))
            || wildcards(host)
                .any(|suffix| self.hosts.contains(Fingerprint::of_wildcard(suffix, port)))
    }
}

/// The suffixes of `host` that a wildcard may name: `.b.c` and `.c` for `a.b.c`,
/// and the empty one.
fn wildcards(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').map(move |(at, _)| &host[at..]).chain(std::iter::once(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let host = |name: &str| Fingerprint::of_host(name, 80);
        Directory {
            hosts: [host("world"), host("*.example.com")].into_iter().collect(),
            addresses: [Fingerprint::of_address("10.96.0.9:80".parse().unwrap())]
                .into_iter()
                .collect(),
            http_ports: [80].into(),
            ranges: Vec::new(),
        }
    }

    #[test]
    fn an_address_of_its_own_comes_before_its_port() {
        for (address, expected) in [
            ("10.96.0.9:80", Decides::Address),
            ("10.96.0.8:80", Decides::Host),
            ("10.96.0.9:81", Decides::Outside),
        ] {
            assert_eq!(directory().decides(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn hosts_are_known_by_name_or_wildcard_on_their_ports() {
        for (host, port, expected) in [
            ("world", 80, true),
            ("world", 81, false),
            ("a.example.com", 80, true),
            ("a.b.example.com", 80, true),
            ("example.com", 80, false),
            ("other", 80, false),
        ] {
            assert_eq!(directory().knows_host(host, port), expected, "{host}:{port}");
        }
    }
}

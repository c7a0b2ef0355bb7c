//! Which hosts and addresses exist, as far as a client may use them.
//!
//! The directory travels in chunks, so that a change of one service resends one
//! small resource. A proxy joins all chunks that it holds into one [`Directory`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{Fingerprint, Fingerprints, fingerprint::ANY_PORT, name::suffixes};

/// A part of the directory: what some services add to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DirectoryChunk {
    /// Unique among chunks: `shared/3f`.
    pub name: String,
    /// Every spelling of every host with each of its ports, or with [`ANY_PORT`];
    /// wildcards as `*.suffix`.
    #[serde(skip_serializing_if = "Fingerprints::is_empty")]
    pub hosts: Fingerprints,
    /// Addresses and ports on which the address decides.
    #[serde(skip_serializing_if = "Fingerprints::is_empty")]
    pub addresses: Fingerprints,
    /// Ports on which the Host of an HTTP request decides, whatever the address.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub http_ports: BTreeSet<u16>,
}

/// Everything that a client may use: the union of its chunks, small enough to
/// hold all of it. A host or address that is not in it is outside of the mesh.
///
/// Invariant: the indexes and `http_ports` are those of `chunks`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    chunks: BTreeMap<String, Arc<DirectoryChunk>>,
    hosts: Index,
    addresses: Index,
    http_ports: BTreeSet<u16>,
}

/// The upper halves of the fingerprints of all chunks, sorted: most lookups of
/// absent names end here, at half of the memory that a second copy would take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index(Vec<u32>);

impl Index {
    fn of<'c>(sets: impl Iterator<Item = &'c Fingerprints> + Clone) -> Self {
        // As large as needed and sorted in place: a proxy makes one for each change,
        // and what is only needed meanwhile stays with its allocator.
        let mut halves = Vec::with_capacity(sets.clone().map(Fingerprints::len).sum());
        halves.extend(sets.flat_map(Fingerprints::upper_halves));
        halves.sort_unstable();
        halves.dedup();
        halves.shrink_to_fit();
        Self(halves)
    }

    fn may_contain(&self, fingerprint: Fingerprint) -> bool {
        self.0.binary_search(&fingerprint.upper_half()).is_ok()
    }
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
    /// This directory with some chunks replaced, or removed where there is none.
    #[must_use]
    pub fn with(
        &self,
        changes: impl IntoIterator<Item = (String, Option<Arc<DirectoryChunk>>)>,
    ) -> Self {
        let mut chunks = self.chunks.clone();
        for (name, chunk) in changes {
            match chunk {
                Some(chunk) => chunks.insert(name, chunk),
                None => chunks.remove(&name),
            };
        }
        Self {
            hosts: Index::of(chunks.values().map(|chunk| &chunk.hosts)),
            addresses: Index::of(chunks.values().map(|chunk| &chunk.addresses)),
            http_ports: chunks.values().flat_map(|chunk| &chunk.http_ports).copied().collect(),
            chunks,
        }
    }

    /// The chunk called `name`.
    pub fn chunk(&self, name: &str) -> Option<&Arc<DirectoryChunk>> {
        self.chunks.get(name)
    }

    /// How many different hosts with a port there are.
    pub fn hosts(&self) -> usize {
        self.hosts.0.len()
    }

    /// How many different addresses with a port there are.
    pub fn addresses(&self) -> usize {
        self.addresses.0.len()
    }

    /// Ports on which the Host of an HTTP request decides, whatever the address.
    pub fn http_ports(&self) -> &BTreeSet<u16> {
        &self.http_ports
    }

    /// What decides about a connection to `address`.
    pub fn decides(&self, address: SocketAddr) -> Decides {
        let fingerprint = Fingerprint::of_address(address);
        if self.addresses.may_contain(fingerprint)
            && self.chunks.values().any(|chunk| chunk.addresses.contains(fingerprint))
        {
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
        self.most_specific(host, port).is_some()
    }

    /// What `host`, in lower case and without a port, is known as on `port`: its
    /// own name if the directory has it, else the longest wildcard.
    pub fn most_specific<'h>(&self, host: &'h str, port: u16) -> Option<Known<'h>> {
        let mut ports = [port, ANY_PORT].into_iter();
        if ports.any(|port| self.has_host(Fingerprint::of_host(host, port))) {
            return Some(Known::Exactly);
        }
        let mut under = suffixes(host);
        let suffix = under.find(|suffix| {
            let mut ports = [port, ANY_PORT].into_iter();
            ports.any(|port| self.has_host(Fingerprint::of_wildcard(suffix, port)))
        })?;
        Some(Known::Under(suffix))
    }

    fn has_host(&self, fingerprint: Fingerprint) -> bool {
        self.hosts.may_contain(fingerprint)
            && self.chunks.values().any(|chunk| chunk.hosts.contains(fingerprint))
    }
}

/// How a directory knows a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'h> {
    /// By its own name.
    Exactly,
    /// By the wildcard that is `*` followed by this.
    Under(&'h str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(
        name: &str,
        hosts: &[&str],
        addresses: &[&str],
    ) -> (String, Option<Arc<DirectoryChunk>>) {
        let hosts = hosts.iter().map(|name| Fingerprint::of_host(name, 80));
        let addresses =
            addresses.iter().map(|address| Fingerprint::of_address(address.parse().unwrap()));
        let chunk = DirectoryChunk {
            name: name.to_owned(),
            hosts: hosts.collect(),
            addresses: addresses.collect(),
            http_ports: [80].into(),
        };
        (name.to_owned(), Some(Arc::new(chunk)))
    }

    fn directory() -> Directory {
        Directory::default().with([
            chunk("one", &["world", "*.example.com"], &["10.96.0.9:80"]),
            chunk("two", &["a.example.com"], &["10.96.0.7:80"]),
        ])
    }

    #[test]
    fn an_address_of_its_own_comes_before_its_port() {
        for (address, expected) in [
            ("10.96.0.9:80", Decides::Address),
            ("10.96.0.7:80", Decides::Address),
            ("10.96.0.8:80", Decides::Host),
            ("10.96.0.9:81", Decides::Outside),
        ] {
            assert_eq!(directory().decides(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn hosts_are_known_by_name_or_wildcard_on_their_ports() {
        for (host, port, expected) in [
            ("world", 80, Some(Known::Exactly)),
            ("world", 81, None),
            ("a.example.com", 80, Some(Known::Exactly)),
            ("b.example.com", 80, Some(Known::Under(".example.com"))),
            ("a.b.example.com", 80, Some(Known::Under(".example.com"))),
            ("example.com", 80, None),
            (".example.com", 80, None),
            ("other", 80, None),
        ] {
            assert_eq!(directory().most_specific(host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn a_host_on_any_port_is_known_on_each() {
        let chunk = DirectoryChunk {
            hosts: [
                Fingerprint::of_host("world", ANY_PORT),
                Fingerprint::of_wildcard(".example.com", ANY_PORT),
            ]
            .into_iter()
            .collect(),
            ..DirectoryChunk::default()
        };
        let directory = Directory::default().with([("one".to_owned(), Some(Arc::new(chunk)))]);
        for port in [1, 80, u16::MAX] {
            assert!(directory.knows_host("world", port), "{port}");
            let known = directory.most_specific("a.example.com", port);
            assert_eq!(known, Some(Known::Under(".example.com")), "{port}");
            assert!(!directory.knows_host("other", port), "{port}");
        }
    }

    #[test]
    fn what_a_removed_chunk_named_is_gone_and_the_rest_stays() {
        let less = directory().with([("two".to_owned(), None)]);
        assert_eq!(less.decides("10.96.0.7:80".parse().unwrap()), Decides::Host);
        assert!(less.knows_host("world", 80));
        assert_eq!((less.hosts(), less.addresses()), (2, 1));
        let none = less.with([("one".to_owned(), None)]);
        assert_eq!(none, Directory::default());
    }
}

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
    /// Addresses and ports on which the address decides; with [`ANY_PORT`], on all but those
    /// on which the Host does.
    #[serde(skip_serializing_if = "Fingerprints::is_empty")]
    pub addresses: Fingerprints,
    /// Ports on which the Host of an HTTP request decides, whatever the address.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub http_ports: BTreeSet<u16>,
    /// Ports on which the server name of TLS decides, where the address does not.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tls_ports: BTreeSet<u16>,
    /// How many bits the addresses have in common of ranges that are among `addresses`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub range_sizes: BTreeSet<u8>,
}

/// Everything that a client may use: the union of its chunks, small enough to
/// hold all of it. A host or address that is not in it is outside of the mesh.
///
/// Invariants: `chunks` is sorted by name. The filters, `http_ports`, `tls_ports` and `range_sizes`
/// are those of `chunks`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    chunks: Vec<Arc<DirectoryChunk>>,
    hosts: Filter,
    addresses: Filter,
    http_ports: BTreeSet<u16>,
    tls_ports: BTreeSet<u16>,
    range_sizes: BTreeSet<u8>,
}

/// A Bloom filter over the fingerprints of all chunks, 8 to 16 bits for each: all but a
/// few of the lookups of absent names end here, at a fraction of the memory that a second
/// copy would take. One is made for each change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    /// Of them there is a power of two.
    words: Box<[u64]>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { words: [0].into() }
    }
}

impl Filter {
    /// Bits that each fingerprint sets: with 8 bits for each, 2.4 % of those that are
    /// absent look as if they were there.
    const SET: u64 = 4;

    fn of<'c>(sets: impl Iterator<Item = &'c Fingerprints> + Clone) -> Self {
        let count: usize = sets.clone().map(Fingerprints::len).sum();
        let words = (count * 8).next_power_of_two().div_ceil(64);
        let mut filter = Self { words: vec![0; words].into() };
        for number in sets.flat_map(Fingerprints::numbers) {
            for bit in 0..Self::SET {
                let (word, mask) = filter.place(number, bit);
                filter.words[word] |= mask;
            }
        }
        filter
    }

    fn may_contain(&self, fingerprint: Fingerprint) -> bool {
        (0..Self::SET).all(|bit| {
            let (word, mask) = self.place(fingerprint.number(), bit);
            self.words[word] & mask != 0
        })
    }

    /// Where the bit is that says `bit` of `number`: a fingerprint is two hashes.
    fn place(&self, number: u64, bit: u64) -> (usize, u64) {
        let (first, second) = (number & 0xffff_ffff, number >> 32 | 1);
        let at = first.wrapping_add(second.wrapping_mul(bit));
        let word = (at >> 6) as usize & (self.words.len() - 1);
        (word, 1 << (at & 63))
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
    /// This directory with some chunks replaced; `None` removes a chunk.
    #[must_use]
    pub fn with(
        &self,
        changes: impl IntoIterator<Item = (String, Option<Arc<DirectoryChunk>>)>,
    ) -> Self {
        // What is said last of a chunk counts.
        let mut changes: BTreeMap<String, Option<Arc<DirectoryChunk>>> =
            changes.into_iter().collect();
        let mut chunks = Vec::with_capacity(self.chunks.len() + changes.len());
        chunks.extend(self.chunks.iter().filter_map(|chunk| match changes.remove(&chunk.name) {
            Some(changed) => changed,
            None => Some(Arc::clone(chunk)),
        }));
        chunks.extend(changes.into_values().flatten());
        chunks.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            hosts: Filter::of(chunks.iter().map(|chunk| &chunk.hosts)),
            addresses: Filter::of(chunks.iter().map(|chunk| &chunk.addresses)),
            http_ports: chunks.iter().flat_map(|chunk| &chunk.http_ports).copied().collect(),
            tls_ports: chunks.iter().flat_map(|chunk| &chunk.tls_ports).copied().collect(),
            range_sizes: chunks.iter().flat_map(|chunk| &chunk.range_sizes).copied().collect(),
            chunks,
        }
    }

    /// The chunk called `name`.
    pub fn chunk(&self, name: &str) -> Option<&Arc<DirectoryChunk>> {
        let found = self.chunks.binary_search_by(|chunk| chunk.name.as_str().cmp(name));
        found.ok().map(|at| &self.chunks[at])
    }

    /// How many hosts with a port there are, those that two objects name twice.
    pub fn hosts(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.hosts.len()).sum()
    }

    /// How many addresses with a port there are, those that two objects name twice.
    pub fn addresses(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.addresses.len()).sum()
    }

    /// Ports on which the Host of an HTTP request decides, whatever the address.
    pub fn http_ports(&self) -> &BTreeSet<u16> {
        &self.http_ports
    }

    /// Whether the server name of TLS decides about connections to `port`, where the address
    /// does not.
    pub fn reads_server_names(&self, port: u16) -> bool {
        self.tls_ports.contains(&port)
    }

    /// What decides about a connection to `address`, if that is not the server name of TLS.
    pub fn decides(&self, address: SocketAddr) -> Decides {
        let has = |fingerprint: Fingerprint| {
            self.addresses.may_contain(fingerprint)
                && self.chunks.iter().any(|chunk| chunk.addresses.contains(fingerprint))
        };
        let on_any_port = SocketAddr::new(address.ip(), ANY_PORT);
        let in_range = || {
            self.range_sizes.iter().any(|bits| {
                [address.port(), ANY_PORT]
                    .into_iter()
                    .any(|port| has(Fingerprint::of_range(address.ip(), *bits, port)))
            })
        };
        if has(Fingerprint::of_address(address)) {
            Decides::Address
        } else if self.http_ports.contains(&address.port()) {
            Decides::Host
        } else if has(Fingerprint::of_address(on_any_port)) || in_range() {
            Decides::Address
        } else {
            Decides::Outside
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
        let has = |name: &str, of: fn(&str, u16) -> Fingerprint| {
            [port, ANY_PORT].into_iter().any(|port| self.has_host(of(name, port)))
        };
        if has(host, Fingerprint::of_host) {
            return Some(Known::Exactly);
        }
        let suffix = suffixes(host).find(|suffix| has(suffix, Fingerprint::of_wildcard))?;
        Some(Known::Under(suffix))
    }

    fn has_host(&self, fingerprint: Fingerprint) -> bool {
        self.hosts.may_contain(fingerprint)
            && self.chunks.iter().any(|chunk| chunk.hosts.contains(fingerprint))
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
            tls_ports: [443].into(),
            ..DirectoryChunk::default()
        };
        (name.to_owned(), Some(Arc::new(chunk)))
    }

    #[test]
    fn an_address_on_any_port_decides_where_the_host_does_not() {
        let known = Directory::default().with([chunk("one", &[], &["10.0.0.1:0"])]);
        let decides = |address: &str| known.decides(address.parse().unwrap());
        assert_eq!(decides("10.0.0.1:3306"), Decides::Address);
        assert_eq!(decides("10.0.0.1:80"), Decides::Host);
        assert_eq!(decides("10.0.0.2:3306"), Decides::Outside);
    }

    #[test]
    fn a_range_decides_about_the_addresses_in_it_where_the_host_does_not() {
        let range = |ip: &str, bits, port| Fingerprint::of_range(ip.parse().unwrap(), bits, port);
        let chunk = DirectoryChunk {
            addresses: [
                range("10.1.0.0", 16, 5432),
                range("2001:db8::", 32, 5432),
                range("10.2.0.0", 15, ANY_PORT),
            ]
            .into_iter()
            .collect(),
            range_sizes: [15, 16, 32].into(),
            http_ports: [80].into(),
            ..DirectoryChunk::default()
        };
        let known = Directory::default().with([("one".to_owned(), Some(Arc::new(chunk)))]);
        for (address, expected) in [
            ("10.1.2.3:5432", Decides::Address),
            ("10.1.2.3:5433", Decides::Outside),
            ("10.3.255.255:99", Decides::Address),
            ("10.3.255.255:80", Decides::Host),
            ("10.4.0.0:5432", Decides::Outside),
            ("[2001:db8:1::1]:5432", Decides::Address),
            ("[2001:db9::1]:5432", Decides::Outside),
        ] {
            assert_eq!(known.decides(address.parse().unwrap()), expected, "{address}");
        }
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
    fn many_small_changes_end_where_one_large_one_does() {
        let chunk = |number: u16, hosts: u16| {
            let name = format!("chunk-{}", number % 7);
            // Neighbours share some hosts.
            let hosts =
                (0..hosts).map(|at| Fingerprint::of_host("world", number % 7 * 10 + at + 1));
            let chunk = DirectoryChunk {
                name: name.clone(),
                hosts: hosts.collect(),
                addresses: [Fingerprint::of_address(([10, 0, 0, 1], number % 3).into())]
                    .into_iter()
                    .collect(),
                http_ports: [number % 5].into(),
                tls_ports: [number % 3].into(),
                range_sizes: [(number % 3) as u8].into(),
            };
            (name, (!number.is_multiple_of(4)).then(|| Arc::new(chunk)))
        };
        let changes: Vec<_> = (0..200).map(|number| chunk(number, number * 31 % 23)).collect();
        let mut small = Directory::default();
        for change in changes.chunks(3) {
            small = small.with(change.iter().cloned());
            let all = small.chunks.iter().map(|chunk| (chunk.name.clone(), Some(chunk.clone())));
            assert_eq!(small, Directory::default().with(all));
        }
        assert_eq!(small, Directory::default().with(changes));
        for port in 1..200 {
            let fingerprint = Fingerprint::of_host("world", port);
            let is_there = small.chunks.iter().any(|chunk| chunk.hosts.contains(fingerprint));
            assert_eq!(small.knows_host("world", port), is_there, "{port}");
        }
    }

    #[test]
    fn the_filter_lets_few_absent_names_pass() {
        for count in [1, 100, 5_000, 70_000] {
            let hosts = (0..count).map(|number| Fingerprint::of_host(&format!("h{number}"), 80));
            let set: Fingerprints = hosts.collect();
            let filter = Filter::of([&set].into_iter());
            assert!(filter.words.len() * 64 <= (16 * count).max(64), "{count}");
            let passes = |name: &str| filter.may_contain(Fingerprint::of_host(name, 80));
            assert!((0..count).all(|number| passes(&format!("h{number}"))), "{count}");
            let false_ones = (0..10_000).filter(|number| passes(&format!("x{number}"))).count();
            assert!(false_ones < 400, "{false_ones} of 10,000 with {count}");
        }
    }

    #[test]
    fn what_a_removed_chunk_named_is_gone_and_the_rest_stays() {
        let less = directory().with([("two".to_owned(), None)]);
        assert_eq!(less.decides("10.96.0.7:80".parse().unwrap()), Decides::Host);
        assert!(less.knows_host("world", 80));
        assert_eq!((less.hosts(), less.addresses()), (2, 1));
        assert!(less.reads_server_names(443) && !less.reads_server_names(80));
        let none = less.with([("one".to_owned(), None)]);
        assert_eq!(none, Directory::default());
    }
}

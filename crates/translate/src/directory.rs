//! Which hosts, addresses and ports exist, for the clients that may use them.
//!
//! Who sees what is said by namespace, and narrowed by Sidecars, whose workloads have a
//! directory of their own. What everybody sees is one directory for
//! the whole mesh; what only one namespace sees, short names among it, is that
//! namespace's own. Both are cut by a hash of the object, so that a change of one
//! object changes one chunk. The addresses behind a headless service are chunks
//! of their own, ready or not, so that readiness changes none of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use twox_hash::XxHash64;
use weft_api::{Key, Kind, virtual_service::VirtualService};
use weft_config::{DirectoryChunk, Fingerprint, Interest, Resource, fingerprint::ANY_PORT};

use crate::{
    Group, Resolved,
    closure::{Closure, Piece},
    clusters::endpoints,
    graph::{objects::Bucket, view::View},
    model::{
        mesh_config::Mesh,
        registry::{Definition, Port},
        sidecar,
        sight::{self, FirstAt, Sight},
        visibility::Exports,
    },
    routes::virtual_services,
};

/// Chunks of what everybody sees: with 5,000 services each holds about 20.
const SHARED: u8 = u8::MAX;
/// Chunks of what one namespace sees besides; a power of two, less one.
const OWN: u8 = 63;
/// Hosts times ports of one object beyond which proxies ask for its hosts on any port.
const PAIRS: usize = 4096;
/// Addresses in one chunk, on average.
const ADDRESSES: usize = 128;

/// Who sees a part of the directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reach {
    /// Every client.
    Mesh,
    /// The clients of a namespace, besides what every client sees.
    Namespace(String),
    /// The clients of a namespace that have this Sidecar.
    Sidecar(String, Arc<Key>),
}

/// What one object adds to the directories of those who see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DirectoryEntry {
    exports: Exports,
    everyone: Vec<Fingerprint>,
    neighbours: Vec<Fingerprint>,
    addresses: Vec<Fingerprint>,
    /// Ports on which it serves HTTP.
    pub(crate) http_ports: BTreeSet<u16>,
    /// Ports on which it is found by the server name of TLS.
    tls_ports: BTreeSet<u16>,
    /// Sizes of the ranges among its addresses, in bits.
    range_sizes: BTreeSet<u8>,
    /// Whether the addresses of its endpoints decide, too.
    headless: bool,
}

/// What the objects of one slot add to a directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot {
    piece: Option<Piece>,
    headless: Vec<Arc<Key>>,
}

/// The slot of an object; slots of a namespace's own directory are wider.
pub(crate) fn slot(key: &Key) -> u8 {
    let mut hasher = XxHash64::with_seed(0);
    for part in [key.kind.name(), &key.namespace, &key.name] {
        hasher.write(part.as_bytes());
        hasher.write(&[0]);
    }
    (hasher.finish() >> 56) as u8
}

/// The slot of an object in a namespace's own directory.
pub(crate) fn own_slot(key: &Key) -> u8 {
    slot(key) & OWN
}

/// What `key`, which defines a host or is a virtual service, adds.
pub(crate) fn entry(key: &Key, view: &View<'_>) -> DirectoryEntry {
    let mesh = view.mesh();
    match key.kind {
        Kind::VirtualService => {
            view.virtual_service(key).map(|service| of_virtual_service(service, &mesh, view))
        }
        _ => of_definitions(&view.definitions_of(key), view),
    }
    .unwrap_or_default()
}

/// Ports of a host, by what decides about connections to them.
#[derive(Default)]
struct Numbers {
    http: BTreeSet<u16>,
    /// The server name of TLS.
    tls: BTreeSet<u16>,
    /// The address, if there is one.
    other: BTreeSet<u16>,
}

impl Numbers {
    /// Those of the ports of `defined` that are `seen`.
    fn of(defined: &Definition, seen: impl Fn(u16) -> bool) -> Self {
        let ports = || defined.ports.iter().filter(|port| seen(port.number));
        let (http, other): (Vec<&Port>, Vec<&Port>) =
            ports().partition(|port| port.spoken.is_http());
        let tls = defined.ports_by_server_name().map(|port| port.number);
        Self {
            http: http.iter().map(|port| port.number).collect(),
            tls: tls.filter(|number| seen(*number)).collect(),
            other: other.iter().map(|port| port.number).collect(),
        }
    }

    /// Those on which its names lead to it.
    fn named(&self) -> BTreeSet<u16> {
        self.http.union(&self.tls).copied().collect()
    }

    /// The sizes of the ranges of `defined`, in bits, where they lead to it.
    fn range_sizes<'d>(&self, defined: &'d Definition) -> impl Iterator<Item = u8> + use<'d> {
        let is_there = !self.other.is_empty();
        let ranges = defined.addresses.iter().filter(|range| range.single().is_none());
        ranges.map(|range| range.bits).filter(move |_| is_there)
    }

    /// Whether the addresses of its endpoints decide, too.
    fn is_headless(&self, defined: &Definition) -> bool {
        defined.is_service() && defined.is_headless() && !self.other.is_empty()
    }
}

/// What the hosts of one object add, which have the same ports and addresses.
fn of_definitions(definitions: &[Arc<Definition>], view: &View<'_>) -> Option<DirectoryEntry> {
    let first = definitions.first()?;
    let numbers = Numbers::of(first, |_| true);
    let named = numbers.named();
    let names = |of: fn(&Definition) -> &Vec<String>| {
        let names = definitions.iter().flat_map(|definition| of(definition));
        on_ports(&names.collect::<Vec<_>>(), &named)
    };
    Some(DirectoryEntry {
        exports: first.exports(&view.mesh()).clone(),
        everyone: names(|definition| &definition.everyone),
        neighbours: names(|definition| &definition.neighbours),
        addresses: of_addresses(first, &numbers.other, view, |ip| view.first_at(ip)),
        range_sizes: numbers.range_sizes(first).collect(),
        headless: numbers.is_headless(first),
        http_ports: numbers.http,
        tls_ports: numbers.tls,
    })
}

/// Each address of `defined` on each of `ports`, where no object that comes before it has the
/// address; on any port when these would be too many pairs. `first_at` says whose an address is.
fn of_addresses(
    defined: &Definition,
    ports: &BTreeSet<u16>,
    view: &View<'_>,
    mut first_at: impl FnMut(IpAddr) -> Arc<FirstAt>,
) -> Vec<Fingerprint> {
    if ports.is_empty() {
        return Vec::new();
    }
    let pairs = ports_of_pairs(defined.addresses.len(), ports);
    let mut found = Vec::new();
    for range in defined.addresses.iter() {
        let Some(ip) = range.single() else {
            let ranges = pairs.iter().map(|port| (range.first, range.bits, *port));
            found
                .extend(ranges.map(|(first, bits, port)| Fingerprint::of_range(first, bits, port)));
            continue;
        };
        if !defined.is_service() && sight::is_of_services(ip, view) {
            continue;
        }
        let first = (!defined.is_service()).then(|| first_at(ip));
        let is_own = |port: u16| {
            let first = first.as_ref().and_then(|first| first.get(&port));
            first.is_none_or(|first| first.order() >= defined.order())
        };
        let own = pairs.iter().filter(|port| is_own(**port));
        found.extend(own.map(|port| Fingerprint::of_address(SocketAddr::new(ip, *port))));
    }
    found
}

/// The ports with which each of `count` names or addresses is paired.
fn ports_of_pairs(count: usize, ports: &BTreeSet<u16>) -> BTreeSet<u16> {
    match count.saturating_mul(ports.len()) > PAIRS {
        true => BTreeSet::from([ANY_PORT]),
        false => ports.clone(),
    }
}

/// Hosts that name no service are served where their virtual service says.
fn of_virtual_service(service: &VirtualService, mesh: &Mesh, view: &View<'_>) -> DirectoryEntry {
    let hosts = virtual_services::hosts_without_service(service, view);
    let ports = match hosts.is_empty() {
        true => BTreeSet::new(),
        false => virtual_services::ports_without_service(service, view),
    };
    DirectoryEntry {
        exports: Exports::new(
            &service.spec.export_to,
            &mesh.config.default_virtual_service_export_to,
        ),
        everyone: on_ports(&hosts.iter().collect::<Vec<_>>(), &ports),
        http_ports: ports,
        ..DirectoryEntry::default()
    }
}

/// Each of `hosts` on each of `ports`; on any port when these would be too many pairs.
fn on_ports(hosts: &[&String], ports: &BTreeSet<u16>) -> Vec<Fingerprint> {
    let ports = &ports_of_pairs(hosts.len(), ports);
    let pairs = hosts.iter().flat_map(|host| ports.iter().map(move |port| (host, *port)));
    pairs.map(|(host, port)| Fingerprint::of_host(host, port)).collect()
}

/// What the objects of `slot` add to the directory of `reach`.
pub(crate) fn of_slot(reach: &Reach, slot: u8, view: &View<'_>) -> Slot {
    let (name, keys) = match reach {
        Reach::Sidecar(namespace, sidecar) => return imported(namespace, sidecar, slot, view),
        Reach::Mesh => (format!("shared/{slot:02x}"), view.keys(Bucket::Slot(slot))),
        Reach::Namespace(namespace) => {
            (format!("own/{slot:02x}"), candidates(namespace, slot, view))
        }
    };
    let (mut hosts, mut addresses) = (Vec::new(), Vec::new());
    let (mut http_ports, mut tls_ports) = (BTreeSet::new(), BTreeSet::new());
    let mut range_sizes = BTreeSet::new();
    let mut headless = Vec::new();
    for key in keys {
        let entry = view.directory_entry(&key);
        let whole = match reach {
            Reach::Mesh | Reach::Sidecar(..) => entry.exports.is_public(),
            Reach::Namespace(namespace) => {
                let seen = entry.exports.is_visible(&key.namespace, namespace);
                if seen && key.namespace == *namespace {
                    hosts.extend_from_slice(&entry.neighbours);
                }
                seen && !entry.exports.is_public()
            }
        };
        if !whole {
            continue;
        }
        hosts.extend_from_slice(&entry.everyone);
        addresses.extend_from_slice(&entry.addresses);
        http_ports.extend(&entry.http_ports);
        tls_ports.extend(&entry.tls_ports);
        range_sizes.extend(&entry.range_sizes);
        headless.extend(Some(key).filter(|_| entry.headless));
    }
    let is_empty = hosts.is_empty() && addresses.is_empty();
    let chunk = DirectoryChunk {
        name,
        hosts: hosts.into_iter().collect(),
        addresses: addresses.into_iter().collect(),
        http_ports,
        tls_ports,
        range_sizes,
    };
    let piece = (!is_empty).then(|| view.pool().piece(Resource::Directory(chunk)));
    Slot { piece, headless }
}

/// What the objects of `slot` add to the directory of clients of `namespace` that have `sidecar`.
fn imported(namespace: &str, sidecar: &Arc<Key>, slot: u8, view: &View<'_>) -> Slot {
    let (own, selectors) = (namespace.to_owned(), BTreeSet::new());
    let sidecar = Some(Arc::clone(sidecar));
    let group = Group { namespace: own, selectors, labels: None, sidecar };
    let mesh = view.mesh();
    let mut chunk = DirectoryChunk { name: format!("own/{slot:02x}"), ..DirectoryChunk::default() };
    let (mut hosts, mut addresses, mut headless) = (Vec::new(), Vec::new(), Vec::new());
    let mut known: BTreeMap<IpAddr, Arc<FirstAt>> = BTreeMap::new();
    let mut first_at = |ip: IpAddr| {
        let first = known.entry(ip);
        let first = first.or_insert_with(|| Arc::new(sight::first_at(ip, Sight::of(&group), view)));
        Arc::clone(first)
    };
    let wide = (0..=SHARED).filter(|wide| wide & OWN == slot);
    for key in wide.flat_map(|wide| view.keys(Bucket::Slot(wide))) {
        if let Some(service) = view.virtual_service(&key) {
            let entry = view.directory_entry(&key);
            if entry.exports.is_visible(&key.namespace, namespace)
                && sidecar::heeds(&group, service, view)
            {
                hosts.extend_from_slice(&entry.everyone);
                chunk.http_ports.extend(&entry.http_ports);
            }
            continue;
        }
        for (at, defined) in view.definitions_of(&key).iter().enumerate() {
            if !defined.is_seen_from(namespace, &mesh) {
                continue;
            }
            let numbers = Numbers::of(defined, |port| sidecar::sees(&group, defined, port, view));
            let names = defined.names_in(namespace);
            hosts.extend(on_ports(&names.iter().collect::<Vec<_>>(), &numbers.named()));
            chunk.http_ports.extend(&numbers.http);
            chunk.tls_ports.extend(&numbers.tls);
            // Its other hosts have the same addresses.
            if at == 0 {
                addresses.extend(of_addresses(defined, &numbers.other, view, &mut first_at));
                chunk.range_sizes.extend(numbers.range_sizes(defined));
                headless.extend(numbers.is_headless(defined).then(|| key.clone()));
            }
        }
    }
    let is_empty = hosts.is_empty() && addresses.is_empty();
    chunk.hosts = hosts.into_iter().collect();
    chunk.addresses = addresses.into_iter().collect();
    let piece = (!is_empty).then(|| view.pool().piece(Resource::Directory(chunk)));
    Slot { piece, headless }
}

/// The objects of a slot that clients of `namespace` may see.
fn candidates(namespace: &str, slot: u8, view: &View<'_>) -> Vec<Arc<Key>> {
    let mut keys = view.keys(Bucket::SlotOf(namespace.to_owned(), slot));
    let mesh = view.mesh();
    let defaults =
        [&mesh.config.default_service_export_to, &mesh.config.default_virtual_service_export_to];
    // Objects that say nothing are exported as the mesh's settings say, by name even.
    if defaults.into_iter().flatten().any(|name| name == namespace) {
        let all = (0..=SHARED).filter(|wide| wide & OWN == slot);
        keys.extend(all.flat_map(|wide| view.keys(Bucket::Slot(wide))));
        keys.sort();
        keys.dedup();
    }
    keys
}

/// The chunks with the addresses of the endpoints of the headless host that `owner`
/// defines.
pub(crate) fn of_endpoints(owner: &Key, view: &View<'_>) -> Vec<Piece> {
    let Some(found) = view.definition(owner) else { return Vec::new() };
    let all = view.addresses(owner);
    let count = all.len().div_ceil(ADDRESSES).next_power_of_two();
    let mut chunks = vec![Vec::new(); count];
    for address in all.iter() {
        chunks[endpoints::hash(*address) as usize & (count - 1)].push(*address);
    }
    let host = &found.host;
    let chunks = chunks.into_iter().enumerate().filter(|(_, chunk)| !chunk.is_empty());
    chunks
        .map(|(at, chunk)| {
            view.pool().piece(Resource::Directory(DirectoryChunk {
                name: format!("addresses/{host}/{at}"),
                addresses: chunk.into_iter().map(Fingerprint::of_address).collect(),
                ..DirectoryChunk::default()
            }))
        })
        .collect()
}

/// The directory of `reach`, as the answer to `interest`.
pub(crate) fn answer(reach: &Reach, interest: &Interest, view: &View<'_>) -> Resolved {
    let last = match reach {
        Reach::Mesh => SHARED,
        Reach::Namespace(_) | Reach::Sidecar(..) => OWN,
    };
    let mut closure = Closure::default();
    for slot in 0..=last {
        let found = view.directory_slot(reach, slot);
        found.piece.iter().for_each(|piece| closure.add(piece.clone()));
        for key in &found.headless {
            view.directory_addresses(key).iter().for_each(|piece| closure.add(piece.clone()));
        }
    }
    closure.directory(interest)
}

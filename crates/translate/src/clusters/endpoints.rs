//! What is behind a host, cut into chunks of at most 64.
//!
//! Chunks are cut by a hash of the address, so that a pod that comes or goes
//! changes one chunk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hasher,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use twox_hash::XxHash64;
use weft_api::{
    Key, Kind,
    kubernetes::{EndpointSlice, Pod, SliceEndpoint, SlicePort},
};
use weft_config::{ChunkList, Endpoint, Endpoints, Resource, fingerprint::ANY_PORT};

use crate::{
    closure::Piece,
    clusters::{
        members::{self, Member},
        shares,
    },
    graph::view::View,
    model::{
        hosts,
        registry::{self, Definition, Port, Resolution},
        workload,
    },
};

/// The largest chunk.
const CHUNK: usize = 64;
/// Pairs of a port and an endpoint that one host may have: so many, and [`TIMES`] times what
/// its ports and endpoints are without being paired.
pub(crate) const PAIRS: usize = 16_384;
/// See [`PAIRS`].
pub(crate) const TIMES: usize = 4;
/// Bytes of labels and of the zone of an endpoint that make it count as one more.
const TEXT: usize = 512;
/// What a label costs besides its name and value, in bytes, about.
const LABEL: usize = 64;
/// Such pairs beyond which proxies ask for the addresses of a headless host on any port.
const DIALLED: usize = 4096;

/// The endpoints of a host in chunks, by the host's port.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chunks {
    /// Every TCP port.
    pub(crate) by_port: BTreeMap<u16, Listed>,
}

/// The chunks of one port, and the list of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    /// The list's own name.
    pub(crate) name: String,
    pub(crate) list: Piece,
    /// At least one.
    pub(crate) chunks: Vec<Piece>,
}

impl Chunks {
    /// The endpoints of `port`.
    pub(crate) fn endpoints(&self, port: u16) -> impl Iterator<Item = &Endpoint> {
        let pieces = self.by_port.get(&port).into_iter().flat_map(|listed| &listed.chunks);
        pieces.flat_map(|piece| match &*piece.resource {
            Resource::Endpoints(chunk) => chunk.endpoints.as_slice(),
            _ => &[],
        })
    }
}

/// The endpoints of `host`, which `owner` defines.
pub(crate) fn chunks(owner: &Key, host: &str, view: &View<'_>) -> Chunks {
    let defined = view.definition_of(owner, host);
    let Some(found) = defined.filter(|found| !matches!(found.resolution, Resolution::Names(_)))
    else {
        return Chunks::default();
    };
    let behind = Behind::new(&found, view);
    let (slices, members) = (&behind.slices, &behind.members);
    let listed = ListedPorts::new(slices);
    let described = Described::new(&found.host, &behind, view);
    let served = described.served_ports(&found, &listed);
    let mut by_port = BTreeMap::new();
    for (at, port) in found.ports.iter().enumerate() {
        let mut endpoints = BTreeMap::new();
        for one in listed.of(port).iter().filter(|_| at < served) {
            let labels = &described.labels[one.slice];
            collect(slices[one.slice], one.port, labels, view, &mut endpoints);
        }
        for (member, labels) in members.iter().zip(&described.of_members).filter(|_| at < served) {
            let ip = member.ip().filter(|ip| !is_local(*ip));
            let (Some(ip), Some(target)) = (ip, member.target(port)) else { continue };
            let address = SocketAddr::new(ip, target);
            endpoints.entry(address).or_insert_with(|| Endpoint {
                address,
                labels: labels.clone(),
                workload: member.workload(view),
                locality: member.locality.to_owned(),
                weight: member.weight,
            });
        }
        let name = format!("{}:{}", found.host, port.number);
        let chunks = cut(&name, endpoints.into_values().collect());
        let names = chunks.iter().map(|chunk| chunk.name.clone()).collect();
        let list = Resource::ChunkList(ChunkList { name: name.clone(), chunks: names });
        let list = view.pool().piece(list);
        let chunks =
            chunks.into_iter().map(|chunk| view.pool().piece(Resource::Endpoints(chunk))).collect();
        by_port.insert(port.number, Listed { name, list, chunks });
    }
    Chunks { by_port }
}

/// What is behind a host.
struct Behind<'g> {
    slices: Vec<&'g EndpointSlice>,
    /// Besides what is in the slices.
    members: Vec<Member<'g>>,
}

impl<'g> Behind<'g> {
    fn new(found: &Arc<Definition>, view: &View<'g>) -> Self {
        let slices = match found.is_service() {
            true => registry::slices_of(&found.owner, view),
            false => Vec::new(),
        };
        Self { slices, members: members::members(found, view) }
    }
}

/// The ports that slices list, by the name that they have there.
struct ListedPorts<'g> {
    by_name: HashMap<&'g str, Vec<ListedPort>>,
}

/// A port of a slice.
struct ListedPort {
    /// The slice's index.
    slice: usize,
    /// The endpoints' port.
    port: u16,
}

impl<'g> ListedPorts<'g> {
    fn new(slices: &[&'g EndpointSlice]) -> Self {
        let mut by_name: HashMap<&str, Vec<ListedPort>> = HashMap::new();
        for (slice, written) in slices.iter().enumerate() {
            let same =
                |port: &&SlicePort| port.port != 0 && matches!(port.protocol.as_str(), "" | "TCP");
            for port in written.ports.iter().filter(same) {
                let all = by_name.entry(port.name.as_str()).or_default();
                // The first of a name counts.
                if all.last().is_none_or(|last| last.slice != slice) {
                    all.push(ListedPort { slice, port: port.port });
                }
            }
        }
        Self { by_name }
    }

    /// What stands for `port` of the host, once for each slice that lists it.
    fn of(&self, port: &Port) -> &[ListedPort] {
        self.by_name.get(port.name.as_str()).map_or(&[], Vec::as_slice)
    }

    /// The endpoints of `port`.
    fn pairs(&self, port: &Port, slices: &[&EndpointSlice]) -> usize {
        self.of(port).iter().map(|one| slices[one.slice].endpoints.len()).sum()
    }
}

/// How many of the host's ports, the first ones, have endpoints: each repeats all of them.
pub(crate) fn served_ports(found: &Arc<Definition>, view: &View<'_>) -> usize {
    let behind = Behind::new(found, view);
    let listed = ListedPorts::new(&behind.slices);
    Described::new(&found.host, &behind, view).served_ports(found, &listed)
}

/// Labels of a pod that subsets name.
type Labels = Vec<(String, String)>;

/// What the endpoints of some slices say besides their addresses, which each port repeats.
struct Described {
    /// The labels of each endpoint, by slice.
    labels: Vec<Vec<Rc<Labels>>>,
    /// The labels of each member.
    of_members: Vec<Labels>,
    /// As how many endpoints all members count.
    members: usize,
    /// As how many endpoints those of each slice count.
    counts: Vec<usize>,
    /// As how many all count when the labels of each pod are there once.
    once: usize,
}

impl Described {
    fn new(host: &str, behind: &Behind<'_>, view: &View<'_>) -> Self {
        let names = SubsetLabels::of(host, view);
        let slices = &behind.slices;
        let none = (Rc::new(Labels::new()), 0);
        // Many endpoints may name one pod.
        let mut pods: HashMap<(&str, &str), (Rc<Labels>, usize)> = HashMap::new();
        let mut found = Self::of_members(&behind.members, &names);
        for slice in slices {
            let (mut labels, mut count) = (Vec::new(), 0);
            for endpoint in &slice.endpoints {
                let pod = (!names.is_empty()).then(|| pod(slice, endpoint, view)).flatten();
                let (own, bytes) = match pod {
                    None => none.clone(),
                    Some(pod) => {
                        let name = (&*pod.metadata.namespace, &*pod.metadata.name);
                        let own = pods.entry(name).or_insert_with(|| {
                            let own = restricted(pod, &names);
                            let bytes = own.iter().map(|(name, value)| name.len() + value.len());
                            let bytes = bytes.map(|bytes| bytes + LABEL).sum();
                            found.once += bytes / TEXT;
                            (Rc::new(own), bytes)
                        });
                        own.clone()
                    }
                };
                let zone = endpoint.zone.as_ref().map_or(0, String::len);
                found.once += 1 + zone / TEXT;
                count += 1 + (bytes + zone) / TEXT;
                labels.push(own);
            }
            found.labels.push(labels);
            found.counts.push(count);
        }
        found
    }

    fn of_members(members: &[Member<'_>], names: &SubsetLabels) -> Self {
        let of_members: Vec<Labels> =
            members.iter().map(|member| chosen(member.labels, names)).collect();
        let texts = members.iter().zip(&of_members).map(|(member, labels)| {
            let labels = labels.iter().map(|(name, value)| name.len() + value.len() + LABEL);
            1 + (labels.sum::<usize>() + member.locality.len()) / TEXT
        });
        let count = texts.sum();
        let (labels, counts) = (Vec::new(), Vec::new());
        Self { labels, of_members, members: count, counts, once: count }
    }

    /// See [`served_ports`]. All hosts of an object repeat its endpoints.
    fn served_ports(&self, found: &Definition, listed: &ListedPorts<'_>) -> usize {
        let mut left = PAIRS + TIMES * (self.once + found.ports.len());
        let fits = |port: &&Port| {
            let pairs: usize = listed.of(port).iter().map(|one| self.counts[one.slice]).sum();
            let pairs = (pairs + self.members).saturating_mul(found.siblings);
            match left.checked_sub(pairs) {
                Some(rest) => {
                    left = rest;
                    true
                }
                None => false,
            }
        };
        found.ports.iter().take_while(fits).count()
    }
}

/// The addresses that clients of a headless host dial on ports that do not speak HTTP, ready
/// or not; with [`ANY_PORT`] where those would be too many pairs.
pub(crate) type Addresses = BTreeSet<SocketAddr>;

/// The addresses behind the host that `owner` defines.
pub(crate) fn addresses(owner: &Key, view: &View<'_>) -> Addresses {
    let found = view.definition(owner).filter(|found| found.is_service());
    let Some(found) = found else { return Addresses::default() };
    let slices = registry::slices_of(owner, view);
    let listed = ListedPorts::new(&slices);
    let ports: Vec<&Port> = found.ports.iter().filter(|port| !port.spoken.is_http()).collect();
    let all: usize = ports.iter().map(|port| listed.pairs(port, &slices)).sum();
    let mut targets = vec![BTreeSet::new(); slices.len()];
    for one in ports.iter().flat_map(|port| listed.of(port)) {
        targets[one.slice].insert(if all > DIALLED { ANY_PORT } else { one.port });
    }
    let mut found = Addresses::new();
    for (slice, targets) in slices.iter().zip(&targets) {
        for ip in slice.endpoints.iter().filter_map(address) {
            found.extend(targets.iter().map(|port| SocketAddr::new(ip, *port)));
        }
    }
    found
}

/// The first port of a host that `address` is behind, ready or not, of those that do not speak
/// HTTP; `slices` are those of the host that name the address.
pub(crate) fn behind<'d>(
    address: SocketAddr,
    found: &'d Definition,
    slices: &[&EndpointSlice],
) -> Option<&'d Port> {
    let listed = ListedPorts::new(slices);
    let has = |slice: &&EndpointSlice| {
        slice.endpoints.iter().filter_map(self::address).any(|ip| ip == address.ip())
    };
    let has: Vec<bool> = slices.iter().map(has).collect();
    let mut ports = found.ports.iter().filter(|port| !port.spoken.is_http());
    ports
        .find(|port| listed.of(port).iter().any(|one| one.port == address.port() && has[one.slice]))
}

/// The address of an endpoint. All of its addresses are fungible, and Kubernetes
/// writes one.
fn address(endpoint: &SliceEndpoint) -> Option<IpAddr> {
    endpoint.addresses.first()?.parse().ok().filter(|ip| !is_local(*ip))
}

/// Whether `ip` means another machine to each that dials it: loopback, the link's, and what
/// is no machine's. The API server refuses such endpoints of others than itself, too.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.octets()[0] == 0
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
        }
    }
}

/// The names of the labels by which subsets tell the endpoints of a host apart: a set for each
/// name that rules may have for it. A pattern's set is shared by all hosts that it covers.
struct SubsetLabels(Vec<Arc<BTreeSet<String>>>);

impl SubsetLabels {
    fn of(host: &str, view: &View<'_>) -> Self {
        let names = std::iter::once(host.to_owned()).chain(hosts::patterns(host));
        let of_mesh = view
            .mesh()
            .config
            .locality_lb_setting
            .as_ref()
            .map(|said| Arc::new(shares::labels(said).collect::<BTreeSet<_>>()));
        Self(names.map(|name| view.labels_in_subsets(name)).chain(of_mesh).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|names| names.is_empty())
    }

    fn has(&self, name: &String) -> bool {
        self.0.iter().any(|names| names.contains(name))
    }
}

fn collect(
    slice: &EndpointSlice,
    target: u16,
    labels: &[Rc<Labels>],
    view: &View<'_>,
    endpoints: &mut BTreeMap<SocketAddr, Endpoint>,
) {
    for (endpoint, labels) in slice.endpoints.iter().zip(labels) {
        if endpoint.conditions.ready == Some(false) {
            continue;
        }
        let Some(ip) = address(endpoint) else { continue };
        let address = SocketAddr::new(ip, target);
        let pod = pod(slice, endpoint, view);
        endpoints.entry(address).or_insert_with(|| Endpoint {
            address,
            labels: labels.to_vec(),
            workload: pod.map(|pod| workload::of_pod_in(view.installation(), pod)),
            locality: pod
                .and_then(|pod| shares::place(&pod.metadata.labels))
                .or_else(|| endpoint.zone.as_ref().map(|zone| format!("/{zone}")))
                .unwrap_or_default(),
            weight: None,
        });
    }
}

/// The pod behind `endpoint`.
fn pod<'g>(slice: &EndpointSlice, endpoint: &SliceEndpoint, view: &View<'g>) -> Option<&'g Pod> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod")?;
    let namespace = match target.namespace.as_str() {
        "" => &slice.metadata.namespace,
        namespace => namespace,
    };
    view.pod(&Key::new(Kind::Pod, namespace, target.name.as_str()))
}

fn restricted(pod: &Pod, labels: &SubsetLabels) -> Labels {
    chosen(&pod.metadata.labels, labels)
}

/// Those of `all` that are among `labels`.
fn chosen(all: &BTreeMap<String, String>, labels: &SubsetLabels) -> Labels {
    let all = all.iter().filter(|(name, _)| labels.has(name));
    all.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Cuts `endpoints` by the bits of their hashes, lowest first, until every chunk
/// is small enough. Only a chunk that is too large is cut, so that an endpoint
/// more or less changes its neighbours only, and addresses that were chosen to
/// have similar hashes cost as many cuts as their hashes have bits.
fn cut(name: &str, endpoints: Vec<Endpoint>) -> Vec<Endpoints> {
    let mut found = Vec::new();
    let mut open = vec![(0_u32, 0_u64, endpoints)];
    while let Some((depth, bits, endpoints)) = open.pop() {
        if endpoints.len() > CHUNK && depth < u64::BITS {
            let (one, zero): (Vec<_>, Vec<_>) =
                endpoints.into_iter().partition(|one| hash(one.address) >> depth & 1 == 1);
            let halves = [(bits, zero), (bits | 1 << depth, one)];
            let halves = halves.into_iter().filter(|(_, half)| !half.is_empty());
            open.extend(halves.map(|(bits, half)| (depth + 1, bits, half)));
            continue;
        }
        let place = match depth {
            0 => "0".to_owned(),
            depth => format!("{bits:x}.{depth}"),
        };
        // More than one part only for endpoints of which the whole hash is equal.
        let parts = endpoints.len().div_ceil(CHUNK).max(1);
        for at in 0..parts {
            let name = match at {
                0 => format!("{name}/{place}"),
                at => format!("{name}/{place}.{at}"),
            };
            let part = endpoints.iter().skip(at * CHUNK).take(CHUNK).cloned().collect();
            found.push(Endpoints { name, endpoints: part });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// A hash of an address that never changes.
pub(crate) fn hash(address: SocketAddr) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    match address.ip() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(&address.port().to_be_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;

//! What is behind a service, cut into chunks of at most 64.
//!
//! Chunks are cut by a hash of the address, so that a pod that comes or goes
//! changes one chunk.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    net::{IpAddr, SocketAddr},
};

use twox_hash::XxHash64;
use weft_api::{
    Key, Kind,
    kubernetes::{EndpointSlice, Pod, Service, ServicePort, SliceEndpoint},
};
use weft_config::{Endpoint, Endpoints, Resource};

use crate::{closure::Piece, hosts, protocol::Spoken, view::View, workload};

/// The largest chunk.
const CHUNK: usize = 64;

/// The chunks of a service, by the service's port.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chunks {
    /// At least one chunk for every TCP port.
    pub(crate) by_port: BTreeMap<u16, Vec<Piece>>,
}

impl Chunks {
    /// The endpoints of `port`.
    pub(crate) fn endpoints(&self, port: u16) -> impl Iterator<Item = &Endpoint> {
        let pieces = self.by_port.get(&port).into_iter().flatten();
        pieces.flat_map(|piece| match &*piece.resource {
            Resource::Endpoints(chunk) => chunk.endpoints.as_slice(),
            _ => &[],
        })
    }
}

/// The endpoints of `service`.
pub(crate) fn chunks(service: &Key, view: &View<'_>) -> Chunks {
    let Some(found) = view.service(service) else { return Chunks::default() };
    let host = hosts::service(&service.namespace, &service.name);
    let labels = labels_in_subsets(&host, view);
    let slices = view.slices_of(service);
    let mut by_port = BTreeMap::new();
    for port in tcp_ports(found) {
        let mut endpoints = BTreeMap::new();
        for slice in &slices {
            collect(slice, port, &labels, view, &mut endpoints);
        }
        let name = format!("{host}:{}", port.port);
        let pieces = cut(&name, endpoints.into_values().collect())
            .into_iter()
            .map(|chunk| view.pool().piece(Resource::Endpoints(chunk)));
        by_port.insert(port.port, pieces.collect());
    }
    Chunks { by_port }
}

/// The ports of `service` that connections are made to.
pub(crate) fn tcp_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.spec.ports.iter().filter(|port| Spoken::of(port) != Spoken::Datagrams)
}

/// The names of the labels by which some subset of `host` tells endpoints apart.
fn labels_in_subsets(host: &str, view: &View<'_>) -> BTreeSet<String> {
    let names = std::iter::once(host.to_owned()).chain(hosts::patterns(host));
    let rules = names.flat_map(|name| view.destination_rules(&name));
    let subsets = rules.flat_map(|rule| &rule.spec.subsets);
    subsets.flat_map(|subset| subset.labels.keys().cloned()).collect()
}

fn collect(
    slice: &EndpointSlice,
    port: &ServicePort,
    labels: &BTreeSet<String>,
    view: &View<'_>,
    endpoints: &mut BTreeMap<SocketAddr, Endpoint>,
) {
    let same = |written: &str| matches!(written, "" | "TCP");
    let Some(target) =
        slice.ports.iter().find(|known| known.name == port.name && same(&known.protocol))
    else {
        return;
    };
    for endpoint in &slice.endpoints {
        if endpoint.conditions.ready == Some(false) {
            continue;
        }
        // The addresses of one endpoint are fungible; Kubernetes writes one.
        let Some(ip) = endpoint.addresses.first().and_then(|text| text.parse::<IpAddr>().ok())
        else {
            continue;
        };
        let address = SocketAddr::new(ip, target.port);
        let pod = pod(slice, endpoint, view);
        endpoints.entry(address).or_insert_with(|| Endpoint {
            address,
            labels: pod.map(|pod| restricted(pod, labels)).unwrap_or_default(),
            workload: pod.map(workload::of_pod),
            locality: endpoint.zone.as_ref().map(|zone| format!("/{zone}")).unwrap_or_default(),
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

fn restricted(pod: &Pod, labels: &BTreeSet<String>) -> Vec<(String, String)> {
    let all = pod.metadata.labels.iter().filter(|(name, _)| labels.contains(*name));
    all.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Cuts `endpoints` into the smallest power of two of chunks that are all small
/// enough.
fn cut(name: &str, endpoints: Vec<Endpoint>) -> Vec<Endpoints> {
    let mut count = 1;
    loop {
        let mut chunks = vec![Vec::new(); count];
        for endpoint in &endpoints {
            chunks[slot(endpoint.address, count)].push(endpoint);
        }
        if chunks.iter().all(|chunk| chunk.len() <= CHUNK) {
            let named = chunks.into_iter().enumerate().map(|(at, chunk)| Endpoints {
                name: format!("{name}/{at}"),
                endpoints: chunk.into_iter().cloned().collect(),
            });
            return named.collect();
        }
        count *= 2;
    }
}

fn slot(address: SocketAddr, count: usize) -> usize {
    let mut hasher = XxHash64::with_seed(0);
    match address.ip() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(&address.port().to_be_bytes());
    // `count` is a power of two, so these are the lowest bits.
    usize::try_from(hasher.finish() & (count as u64 - 1)).expect("smaller than a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u32) -> Vec<Endpoint> {
        let address = |n: u32| SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 80));
        let endpoint = |n| Endpoint {
            address: address(n),
            labels: Vec::new(),
            workload: None,
            locality: String::new(),
        };
        (0..count).map(endpoint).collect()
    }

    #[test]
    fn every_endpoint_is_in_one_chunk_and_no_chunk_is_large() {
        for count in [0, 1, 64, 65, 1000] {
            let chunks = cut("x:80", endpoints(count));
            assert!(chunks.iter().all(|chunk| chunk.endpoints.len() <= CHUNK));
            let mut all: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.endpoints).collect();
            all.sort();
            assert_eq!(all, endpoints(count));
        }
    }

    #[test]
    fn one_endpoint_less_changes_one_chunk() {
        let before = cut("x:80", endpoints(1000));
        let after = cut("x:80", endpoints(999));
        let changed = before.iter().zip(&after).filter(|(one, other)| one != other).count();
        assert_eq!((before.len(), changed), (after.len(), 1));
    }
}

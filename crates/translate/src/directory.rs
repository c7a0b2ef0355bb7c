//! What exists, for the clients of one namespace: names, addresses, ports.
//!
//! Nothing else of a class matters here: who sees what is said by namespace.

use std::{collections::BTreeSet, net::SocketAddr};

use weft_api::{Key, Kind, kubernetes::Service, virtual_service::VirtualService};
use weft_config::{Directory, Fingerprint, Resource};

use crate::{
    Group, closure::Piece, endpoints, hosts, mesh::Mesh, protocol::Spoken, spelling, view::View,
    virtual_services, visibility, visibility::visible, world::Bucket,
};

/// What one object adds to the directories of those who see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listing {
    export_to: Vec<String>,
    everyone: Vec<Fingerprint>,
    neighbours: Vec<Fingerprint>,
    addresses: Vec<Fingerprint>,
    http_ports: BTreeSet<u16>,
}

/// What `key`, a service or virtual service, adds.
pub(crate) fn listing(key: &Key, view: &View<'_>) -> Listing {
    let mesh = view.mesh();
    match key.kind {
        Kind::Service => view.service(key).map(|service| of_service(key, service, &mesh, view)),
        Kind::VirtualService => {
            view.virtual_service(key).map(|service| of_virtual_service(service, &mesh, view))
        }
        _ => None,
    }
    .unwrap_or_default()
}

fn of_service(key: &Key, service: &Service, mesh: &Mesh, view: &View<'_>) -> Listing {
    let http_ports: BTreeSet<u16> = endpoints::tcp_ports(service)
        .filter(|port| Spoken::of(port).is_http())
        .map(|port| port.port)
        .collect();
    let on_ports = |names: &[String]| -> Vec<Fingerprint> {
        let pairs = names.iter().flat_map(|name| http_ports.iter().map(move |port| (name, *port)));
        pairs.map(|(name, port)| Fingerprint::of_host(name, port)).collect()
    };
    let spellings = spelling::of(service);
    Listing {
        export_to: exported(
            visibility::of_service(service),
            &mesh.config.default_service_export_to,
        ),
        everyone: on_ports(&spellings.everyone),
        neighbours: on_ports(&spellings.neighbours),
        addresses: addresses(key, service, view).map(Fingerprint::of_address).collect(),
        http_ports,
    }
}

/// Addresses at which the address decides: those of the service, or of its
/// endpoints when it has none of its own.
fn addresses<'a>(
    key: &Key,
    service: &'a Service,
    view: &View<'_>,
) -> impl Iterator<Item = SocketAddr> + use<'a> {
    let ports = endpoints::tcp_ports(service).filter(|port| !Spoken::of(port).is_http());
    let ports: Vec<u16> = ports.map(|port| port.port).collect();
    let behind: Vec<SocketAddr> = match service.headless() && !ports.is_empty() {
        true => {
            let chunks = view.chunks(key);
            ports.iter().flat_map(|port| chunks.endpoints(*port)).map(|one| one.address).collect()
        }
        false => Vec::new(),
    };
    let own = service
        .addresses()
        .flat_map(move |ip| ports.clone().into_iter().map(move |port| SocketAddr::new(ip, port)));
    own.chain(behind)
}

/// Hosts that name no service are served where their virtual service says.
fn of_virtual_service(service: &VirtualService, mesh: &Mesh, view: &View<'_>) -> Listing {
    let hosts = virtual_services::beyond_services(service, view);
    let ports = virtual_services::ports_beyond_services(service, view);
    let pairs = hosts.iter().flat_map(|host| ports.iter().map(move |port| (host, *port)));
    let spec = &service.spec;
    Listing {
        export_to: exported(spec.export_to.clone(), &mesh.config.default_virtual_service_export_to),
        everyone: pairs.map(|(host, port)| Fingerprint::of_host(host, port)).collect(),
        http_ports: if hosts.is_empty() { BTreeSet::new() } else { ports.clone() },
        ..Listing::default()
    }
}

fn exported(own: Vec<String>, default: &[String]) -> Vec<String> {
    if own.is_empty() { default.to_vec() } else { own }
}

/// The directory of the clients in `namespace`.
pub(crate) fn of_namespace(namespace: &str, view: &View<'_>) -> Piece {
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    let mut http_ports = BTreeSet::new();
    for kind in [Kind::Service, Kind::VirtualService] {
        for key in view.keys(Bucket::Kind(kind)) {
            let listing = view.listing(&key);
            if !visible(&listing.export_to, &[], &key.namespace, namespace) {
                continue;
            }
            names.extend_from_slice(&listing.everyone);
            if key.namespace == namespace {
                names.extend_from_slice(&listing.neighbours);
            }
            addresses.extend_from_slice(&listing.addresses);
            http_ports.extend(&listing.http_ports);
        }
    }
    view.pool().piece(Resource::Directory(Directory {
        hosts: names.into_iter().collect(),
        addresses: addresses.into_iter().collect(),
        http_ports,
        ranges: view.networks(),
    }))
}

/// Names under `pattern` on `port` that a client of `group` finds elsewhere.
pub(crate) fn exceptions(
    pattern: &str,
    port: u16,
    group: &Group,
    view: &View<'_>,
) -> BTreeSet<String> {
    let mesh = view.mesh();
    let mut found = BTreeSet::new();
    for key in view.keys(Bucket::Kind(Kind::VirtualService)) {
        let Some(service) = view.virtual_service(&key) else { continue };
        if virtual_services::for_mesh(service, group, &mesh)
            && virtual_services::ports_beyond_services(service, view).contains(&port)
        {
            found.extend(virtual_services::beyond_services(service, view));
        }
    }
    for key in view.keys(Bucket::Kind(Kind::Service)) {
        let Some(service) = view.service(&key) else { continue };
        let exported = visibility::of_service(service);
        let default = &mesh.config.default_service_export_to;
        let seen = visible(&exported, default, &key.namespace, &group.namespace);
        let served = endpoints::tcp_ports(service)
            .any(|known| known.port == port && Spoken::of(known).is_http());
        if seen && served {
            found.extend(spelling::of(service).seen_from(&group.namespace, &key.namespace));
        }
    }
    found.retain(|name| name != pattern && hosts::within(name, pattern));
    found
}

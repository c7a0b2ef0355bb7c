//! ServiceEntries as hosts of the mesh.

use std::sync::Arc;

use weft_api::{
    Key, Kind, MOST_HOSTS,
    service_entry::{AddressRange, EntryPort, ServiceEntry},
};

use super::{Definition, Inbound, Port, Ports, Resolution, Spread, kubernetes::spelled_address};
use crate::{
    Client, Installation,
    graph::view::View,
    model::{age::Age, protocol::Spoken, visibility::Exports},
};

/// The hosts that `entry` defines, each once, in their order.
pub(crate) fn hosts_of_entry<'e>(
    entry: &'e ServiceEntry,
    installation: &'e Installation,
) -> impl Iterator<Item = String> + 'e {
    let hosts = entry.spec.hosts.iter().take(MOST_HOSTS).enumerate();
    hosts.filter_map(move |(at, written)| {
        let is_first = !entry.spec.hosts[..at].contains(written);
        let host = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
        (is_first && may_be_defined(&host, installation)).then_some(host)
    })
}

/// Whether objects other than Services may define `host`: patterns that cover names of Services
/// stand for these.
fn may_be_defined(host: &str, installation: &Installation) -> bool {
    match host.strip_prefix('*') {
        None => !host.is_empty(),
        Some(suffix) => {
            let domain = format!(".{}", installation.services());
            suffix.starts_with('.') && !domain.ends_with(suffix) && !suffix.ends_with(&domain)
        }
    }
}

/// The addresses of `entry`, those that cannot be read left out.
pub(crate) fn ranges_of_entry(entry: &ServiceEntry) -> impl Iterator<Item = AddressRange> + '_ {
    entry.spec.addresses.iter().filter_map(|text| AddressRange::parse(text))
}

/// The hosts that `entry` defines.
pub(super) fn definitions(
    key: &Key,
    entry: &ServiceEntry,
    view: &View<'_>,
) -> Vec<Arc<Definition>> {
    let spec = &entry.spec;
    let addresses: Arc<Vec<AddressRange>> = Arc::new(ranges_of_entry(entry).collect());
    let has_addresses = !addresses.is_empty();
    let ports = spec.ports.iter().filter_map(|written| port(written, has_addresses));
    let ports: Arc<Ports> = Arc::new(ports.collect());
    let exports =
        (!spec.export_to.is_empty()).then(|| Arc::new(Exports::new(&spec.export_to, &[])));
    let resolution = match spec.resolution.as_str() {
        "STATIC" => Resolution::Endpoints,
        // Pods and WorkloadEntries have addresses, whatever the way to find them.
        "DNS" | "DNS_ROUND_ROBIN" if spec.workload_selector.is_some() => Resolution::Endpoints,
        "DNS" => Resolution::Names(Spread::All),
        "DNS_ROUND_ROBIN" => Resolution::Names(Spread::First),
        "DYNAMIC_DNS" => Resolution::Requested,
        _ => Resolution::Dialled,
    };
    let installation = view.installation();
    let siblings = hosts_of_entry(entry, installation).count();
    let hosts = hosts_of_entry(entry, installation).enumerate();
    let defined = hosts.map(|(at, host)| {
        let mut everyone = vec![host.clone(), format!("{host}.")];
        if let Some(Key { name, namespace, .. }) = installation.service_key(&host) {
            everyone.push(format!("{name}.{namespace}.svc"));
            everyone.push(format!("{name}.{namespace}"));
        }
        // An address as the host of a request stands for the first of its hosts.
        let single = addresses.iter().filter(|_| at == 0).filter_map(|range| range.single());
        everyone.extend(single.map(spelled_address));
        Arc::new(Definition {
            owner: key.clone(),
            host,
            everyone,
            neighbours: Vec::new(),
            ports: Arc::clone(&ports),
            resolution: resolution.clone(),
            addresses: Arc::clone(&addresses),
            exports: exports.clone(),
            age: Age::of(&entry.metadata),
            siblings,
        })
    });
    defined.collect()
}

fn port(written: &EntryPort, has_addresses: bool) -> Option<Port> {
    let spoken = match Spoken::of_entry(&written.protocol) {
        // Only the host of a request can say what it is for.
        Spoken::Undeclared if !has_addresses => Spoken::Http,
        spoken => spoken,
    };
    let is_read = written.number != 0 && spoken != Spoken::Datagrams;
    is_read.then(|| Port {
        number: written.number,
        name: written.name.clone(),
        spoken,
        target: Some(written.target_port.unwrap_or(written.number)),
    })
}

/// The ports of the pod of `client` that ServiceEntries of its namespace lead to, those of older
/// ones first.
pub(super) fn inbound(client: &Client, view: &View<'_>) -> Vec<Inbound> {
    let entries = view.entries_picking(&client.namespace, &client.labels);
    let owners = entries.into_iter().map(|entry| {
        let metadata = &entry.metadata;
        Key::new(Kind::ServiceEntry, metadata.namespace.as_str(), metadata.name.as_str())
    });
    let mut found = Vec::new();
    for owner in owners {
        // All of its hosts have the same ports.
        let Some(definition) = view.definition(&owner) else { continue };
        if definition.resolution != Resolution::Endpoints {
            continue;
        }
        let ports = definition.ports.iter().filter_map(|port| Some((port.clone(), port.target?)));
        found.extend(ports.map(|(port, target)| Inbound {
            definition: Arc::clone(&definition),
            port,
            target,
        }));
    }
    found
}

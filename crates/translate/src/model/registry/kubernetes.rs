//! Kubernetes Services as hosts of the mesh.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_api::{
    Key, Kind, Metadata,
    kubernetes::{EndpointSlice, PortRef, SERVICE_NAME_LABEL, Service, ServicePort},
    service_entry::AddressRange,
};

use super::{Definition, Port, Ports, Resolution, entries};
use crate::{
    Client, Installation,
    graph::{objects::Bucket, view::View},
    listeners::target_port,
    model::{age::Age, protocol::Spoken, visibility, visibility::Exports},
};

/// The host that `service` defines.
pub(super) fn definition(key: &Key, service: &Service, view: &View<'_>) -> Definition {
    let host = host_of(&service.metadata, view.installation());
    let (name, namespace) = (&key.name, &key.namespace);
    let mut everyone = vec![
        host.clone(),
        format!("{host}."),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}"),
    ];
    let mut neighbours = vec![name.clone()];
    if service.headless() {
        let below = everyone.iter().map(|name| format!("*.{name}")).collect::<Vec<_>>();
        everyone.extend(below);
        neighbours.push(format!("*.{name}"));
    }
    let addresses: Vec<IpAddr> = service.addresses().collect();
    everyone.extend(addresses.iter().map(|address| spelled_address(*address)));
    let resolution = match (service.spec.kind.as_str(), service.headless()) {
        ("ExternalName", _) => {
            let name = service.spec.external_name.trim_end_matches('.');
            Resolution::Name(name.to_ascii_lowercase())
        }
        (_, true) => Resolution::Dialled,
        (_, false) => Resolution::Endpoints,
    };
    Definition {
        owner: key.clone(),
        host,
        everyone,
        neighbours,
        ports: Arc::new(service.spec.ports.iter().filter_map(port).collect::<Ports>()),
        resolution,
        addresses: Arc::new(addresses.into_iter().map(AddressRange::of).collect()),
        exports: Some(visibility::of_service(service))
            .filter(|list| !list.is_empty())
            .map(|list| Arc::new(Exports::new(&list, &[]))),
        age: Age::of(&service.metadata),
        siblings: 1,
    }
}

/// `address` as the host of a request.
pub(super) fn spelled_address(address: IpAddr) -> String {
    match address.is_ipv6() {
        true => format!("[{address}]"),
        false => address.to_string(),
    }
}

/// The full name of the host that the service with this metadata defines.
pub(crate) fn host_of(metadata: &Metadata, installation: &Installation) -> String {
    installation.service(&metadata.namespace, &metadata.name)
}

fn port(written: &ServicePort) -> Option<Port> {
    let spoken = Spoken::of(written);
    (spoken != Spoken::Datagrams).then(|| Port {
        number: written.port,
        name: written.name.clone(),
        spoken,
        target: match &written.target_port {
            None | Some(PortRef::Number(0)) => Some(written.port),
            Some(PortRef::Number(number)) => Some(*number),
            Some(PortRef::Name(_)) => None,
        },
    })
}

/// The full names of the hosts that `host` may spell for a client in `namespace`,
/// addresses and names below a headless service aside.
pub(crate) fn spelled(host: &str, namespace: &str, installation: &Installation) -> Option<String> {
    let whole = host.strip_suffix('.').unwrap_or(host);
    if installation.service_key(whole).is_some() {
        return Some(whole.to_owned());
    }
    let mut labels = host.split('.');
    let (name, own, svc) = (labels.next()?, labels.next(), labels.next());
    if name.is_empty()
        || own == Some("")
        || labels.next().is_some()
        || svc.is_some_and(|label| label != "svc")
    {
        return None;
    }
    Some(installation.service(own.unwrap_or(namespace), name))
}

/// The EndpointSlices of the host that `owner` defines.
pub(crate) fn slices_of<'g>(owner: &Key, view: &View<'g>) -> Vec<&'g EndpointSlice> {
    view.slices(Bucket::Slices(owner.namespace.clone(), owner.name.clone()))
}

/// The hosts that have an endpoint with `address`, each with its slices that name it; those of
/// older objects first: a newer one cannot take an older one's addresses.
pub(crate) fn with_endpoint<'g>(
    address: IpAddr,
    view: &View<'g>,
) -> Vec<(Arc<Definition>, Vec<&'g EndpointSlice>)> {
    let mut by_owner: BTreeMap<Key, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in view.slices(Bucket::EndpointAddress(address)) {
        if let Some(name) = slice.metadata.labels.get(SERVICE_NAME_LABEL) {
            let owner = Key::new(Kind::Service, slice.metadata.namespace.as_str(), name.as_str());
            by_owner.entry(owner).or_default().push(slice);
        }
    }
    let defined = view.defined_by(by_owner.keys()).into_iter();
    let found = defined.map(|definition| {
        let slices = by_owner.remove(&definition.owner).unwrap_or_default();
        (definition, slices)
    });
    found.collect()
}

/// A port of a workload that a host leads to.
pub(crate) struct Inbound {
    /// The host.
    pub(crate) definition: Arc<Definition>,
    /// Its port.
    pub(crate) port: Port,
    /// The workload's port behind it.
    pub(crate) target: u16,
}

/// The ports of the pod of `client` that hosts lead to, those of older hosts first.
pub(crate) fn inbound(client: &Client, view: &View<'_>) -> Vec<Inbound> {
    let pod = view.pod(&Key::new(Kind::Pod, client.namespace.as_str(), client.pod.as_str()));
    let mut found = Vec::new();
    for service in view.services_picking(&client.namespace, &client.labels) {
        let metadata = &service.metadata;
        let key = Key::new(Kind::Service, metadata.namespace.as_str(), metadata.name.as_str());
        let Some(definition) = view.definition(&key) else { continue };
        // A port without a number could not be read; that it is there still counts elsewhere.
        for written in service.spec.ports.iter().filter(|written| written.port != 0) {
            let (Some(port), Some(target)) = (port(written), target_port(written, pod)) else {
                continue;
            };
            found.push(Inbound { definition: Arc::clone(&definition), port, target });
        }
    }
    found.extend(entries::inbound(client, view));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_the_service_that_it_spells() {
        let check = |host: &str, expected: &str| {
            let found = spelled(host, "shop", &Installation::default());
            assert_eq!(found.unwrap_or_default(), expected, "{host}");
        };
        check("cart", "cart.shop.svc.cluster.local");
        check("cart.bank", "cart.bank.svc.cluster.local");
        check("cart.bank.svc", "cart.bank.svc.cluster.local");
        check("cart.bank.svc.cluster.local", "cart.bank.svc.cluster.local");
        check("cart.bank.svc.cluster.local.", "cart.bank.svc.cluster.local");
        check("cart.", "");
        check("cart.bank.example", "");
        check("a.cart.bank.svc.cluster.local", "");
    }
}

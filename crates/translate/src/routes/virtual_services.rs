//! Which virtual services speak for a host in the mesh.

use std::collections::BTreeSet;

use weft_api::{Key, Kind, virtual_service::VirtualService};

use crate::{
    Group,
    graph::view::View,
    model::{
        age::Age,
        hosts,
        mesh_config::Mesh,
        visibility::{Reach, reach},
    },
};

/// The name that stands for the sidecars among the gateways of a rule.
pub(crate) const MESH: &str = "mesh";

/// The port of hosts that no object defines.
const WITHOUT_SERVICE: u16 = 80;

/// Whether `service` speaks to the sidecars of `group`.
pub(crate) fn for_mesh(service: &VirtualService, group: &Group, mesh: &Mesh) -> bool {
    in_mesh(service) && seen(service, group, mesh)
}

/// Whether `service` speaks to sidecars at all.
pub(crate) fn in_mesh(service: &VirtualService) -> bool {
    let gateways = &service.spec.gateways;
    gateways.is_empty() || gateways.iter().any(|name| name == MESH)
}

/// Whether clients of `group` see `service`.
pub(crate) fn seen(service: &VirtualService, group: &Group, mesh: &Mesh) -> bool {
    reach_of(service, group, mesh).is_some()
}

fn reach_of(service: &VirtualService, group: &Group, mesh: &Mesh) -> Option<Reach> {
    let (own, client) = (service.metadata.namespace.as_str(), group.namespace.as_str());
    if service.spec.is_closed_for_everybody() {
        // It comes as early as any list of namespaces could have put it, and no earlier: what
        // another namespace keeps to itself comes before it.
        return Some(if own == client { Reach::Private } else { Reach::Exported });
    }
    let default = &mesh.config.default_virtual_service_export_to;
    reach(&service.spec.export_to, default, own, client)
}

/// The place of `service` among those for one host that `group` sees, as in Istio:
/// private ones first, then those exported to the namespace, then public ones; the
/// older before the younger.
pub(crate) fn order(service: &VirtualService, group: &Group, mesh: &Mesh) -> (Option<Reach>, Age) {
    (reach_of(service, group, mesh), Age::of(&service.metadata))
}

/// The virtual services for the service called `host`, the one to use first:
/// exact hosts before patterns, longer patterns before shorter, then by [`order`].
pub(crate) fn of_host<'g>(
    host: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'g>,
) -> Vec<&'g VirtualService> {
    let names = std::iter::once(host.to_owned()).chain(hosts::patterns(host));
    names.flat_map(|name| of_exact_host(&name, group, mesh, view)).collect()
}

/// The virtual services that name `host` itself, by [`order`].
pub(crate) fn of_exact_host<'g>(
    host: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'g>,
) -> Vec<&'g VirtualService> {
    let mut found = view.virtual_services(host);
    found.retain(|service| for_mesh(service, group, mesh));
    found.sort_by_cached_key(|service| order(service, group, mesh));
    found
}

/// The hosts of `service` that no other object defines, so that the mesh knows them
/// only from here.
pub(crate) fn hosts_without_service(service: &VirtualService, view: &View<'_>) -> Vec<String> {
    if !in_mesh(service) || service.spec.http.is_empty() {
        return Vec::new();
    }
    resolved(service, view).filter(|host| is_without_service(host, view)).collect()
}

fn resolved<'v>(
    service: &'v VirtualService,
    view: &'v View<'_>,
) -> impl Iterator<Item = String> + 'v {
    let namespace = &service.metadata.namespace;
    service.spec.hosts.iter().map(|host| view.installation().resolve(host, namespace))
}

/// Whether no object defines `host`. Patterns over the services' domain always stand
/// for services.
pub(crate) fn is_without_service(host: &str, view: &View<'_>) -> bool {
    match host.strip_prefix('*') {
        Some(suffix) => {
            let domain = format!(".{}", view.installation().services());
            // Proxies look for patterns that begin with whole labels.
            suffix.starts_with('.') && !domain.ends_with(suffix) && !suffix.ends_with(&domain)
        }
        None => view.definitions(host).is_empty(),
    }
}

/// Whether the hosts of `service` that no object defines are served on `port`.
pub(crate) fn serves_on(service: &VirtualService, port: u16, view: &View<'_>) -> bool {
    let metadata = &service.metadata;
    let key = Key::new(Kind::VirtualService, &metadata.namespace, &metadata.name);
    view.directory_entry(&key).http_ports.contains(&port)
}

/// The ports on which the hosts of `service` that no object defines are served: the
/// HTTP ports of the others that it names, 80 when there are none.
pub(crate) fn ports_without_service(service: &VirtualService, view: &View<'_>) -> BTreeSet<u16> {
    let defined =
        resolved(service, view).filter_map(|host| view.definitions(&host).into_iter().next());
    let ports: BTreeSet<u16> = defined
        .flat_map(|definition| definition.ports.clone())
        .filter(|port| port.spoken.may_be_http())
        .map(|port| port.number)
        .collect();
    if ports.is_empty() { BTreeSet::from([WITHOUT_SERVICE]) } else { ports }
}

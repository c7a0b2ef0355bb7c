//! Whose a host or an address is, for those who look.
//!
//! A Service's addresses, and those of its endpoints, are its own on all ports. Any other address
//! is, on each port, of the first object that has the port there.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_api::Key;

use crate::{
    Group,
    graph::view::View,
    model::{mesh_config::Mesh, registry, registry::Definition},
};

/// Those who look at hosts and addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight<'a> {
    /// Clients of every namespace: what only some of them see is not there.
    Everyone,
    /// Clients of a namespace that have this Sidecar.
    Clients { namespace: &'a str, sidecar: Option<&'a Key> },
}

impl<'a> Sight<'a> {
    /// That of the clients of `group`.
    pub(crate) fn of(group: &'a Group) -> Self {
        Self::Clients { namespace: &group.namespace, sidecar: group.sidecar.as_deref() }
    }

    /// That of the clients of `namespace` that have no Sidecar.
    pub(crate) fn of_namespace(namespace: &'a str) -> Self {
        Self::Clients { namespace, sidecar: None }
    }

    /// Whether `defined` is exported to them.
    pub(crate) fn is_exported(self, defined: &Definition, mesh: &Mesh) -> bool {
        match self {
            Self::Everyone => defined.is_for_everyone(mesh),
            Self::Clients { namespace, .. } => defined.is_seen_from(namespace, mesh),
        }
    }

    /// Whether they see `defined` on `port`, on any of its ports where none is given: it is
    /// exported to them, and their Sidecar imports it.
    pub(crate) fn sees(self, defined: &Definition, port: Option<u16>, view: &View<'_>) -> bool {
        self.is_exported(defined, &view.mesh()) && self.imports(defined, port, view)
    }

    /// Whether their Sidecar, if they have one, imports `defined` on `port`.
    fn imports(self, defined: &Definition, port: Option<u16>, view: &View<'_>) -> bool {
        let Self::Clients { namespace, sidecar: Some(sidecar) } = self else { return true };
        let Some(imports) = view.imports(sidecar) else { return true };
        let includes = |port: u16| imports.include(defined, port, namespace);
        match port {
            Some(port) => includes(port),
            None => defined.ports.iter().any(|port| includes(port.number)),
        }
    }
}

/// What `host` is on `port`, on any where none is given: what a Service says, else the first
/// object that those who look see there, else, for rules that send requests where a Sidecar does
/// not lead, the first that is exported to them. A port that this one has not got is that of
/// another of its namespace.
pub(crate) fn definition(
    host: &str,
    port: Option<u16>,
    sight: Sight<'_>,
    view: &View<'_>,
) -> Option<Arc<Definition>> {
    let mut found = view.definitions(host);
    if is_below_service(host, sight, view) {
        found.retain(|one| one.is_service());
    }
    let mesh = view.mesh();
    let exported: Vec<_> = found.iter().filter(|one| sight.is_exported(one, &mesh)).collect();
    match exported.first() {
        Some(first) if !first.is_service() => {
            let mut imported = exported.iter().filter(|one| sight.imports(one, port, view));
            let chosen = *imported.clone().next().unwrap_or(first);
            let has_port = |one: &Definition| port.is_none_or(|port| one.port(port).is_some());
            let sibling = |one: &&&Arc<Definition>| {
                one.owner.namespace == chosen.owner.namespace && has_port(one)
            };
            match has_port(chosen) {
                true => Some(Arc::clone(chosen)),
                false => Some(Arc::clone(imported.find(sibling).unwrap_or(&chosen))),
            }
        }
        Some(service) => Some(Arc::clone(service)),
        // That a Service is there, though these clients do not see it, is as it was before there
        // were other objects.
        None => found.iter().find(|one| one.is_service()).cloned(),
    }
}

/// Whether `host` is a pattern for the names below a Service, however that is spelled, which no
/// other object has.
fn is_below_service(host: &str, sight: Sight<'_>, view: &View<'_>) -> bool {
    let Some(suffix) = host.strip_prefix("*.") else { return false };
    let namespace = match sight {
        Sight::Everyone => "",
        Sight::Clients { namespace, .. } => namespace,
    };
    registry::spelled(suffix, namespace, view.installation())
        .is_some_and(|full| view.definitions(&full).iter().any(|one| one.is_service()))
}

/// What the object called `owner` says of the first of its hosts that is not another object's.
pub(crate) fn first_host_of(
    owner: &Key,
    port: Option<u16>,
    sight: Sight<'_>,
    view: &View<'_>,
) -> Option<Arc<Definition>> {
    let own = view.definitions_of(owner);
    let is_first = |one: &&Arc<Definition>| {
        let first = definition(&one.host, port, sight, view);
        first.is_some_and(|first| first.owner == one.owner)
    };
    own.iter().find(is_first).cloned()
}

/// Whether `address` is a Service's, or that of one of its endpoints: no other object has it, also
/// for those who do not see the Service.
pub(crate) fn is_of_services(address: IpAddr, view: &View<'_>) -> bool {
    view.definitions_at(address).first().is_some_and(|first| first.is_service())
        || !registry::with_endpoint(address, view).is_empty()
}

/// Which objects other than Services have `address` itself, by port, for those who look.
pub(crate) type FirstAt = BTreeMap<u16, Arc<Definition>>;

/// See [`FirstAt`].
pub(crate) fn first_at(address: IpAddr, sight: Sight<'_>, view: &View<'_>) -> FirstAt {
    let mut found = FirstAt::new();
    if is_of_services(address, view) {
        return found;
    }
    for one in view.definitions_at(address) {
        if !sight.sees(&one, None, view) {
            continue;
        }
        for port in one.ports.iter().map(|port| port.number) {
            if found.contains_key(&port) || !sight.sees(&one, Some(port), view) {
                continue;
            }
            if let Some(first) = first_host_of(&one.owner, Some(port), sight, view) {
                found.insert(port, first);
            }
        }
    }
    found
}

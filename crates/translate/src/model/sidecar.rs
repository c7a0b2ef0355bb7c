//! What the Sidecar of a workload lets it see, and what it serves.

use std::sync::Arc;

use weft_api::{Key, sidecar::Sidecar, virtual_service::VirtualService};
use weft_config::Outside;

use crate::{
    Group,
    graph::{objects::Bucket, view::View},
    model::{age::Age, hosts::HostIndex, registry::Definition},
};

/// What a Sidecar says of what its workloads see.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Imports {
    /// By port; the one without a port is for all others.
    entries: Vec<Entry>,
    /// What happens to traffic that leaves the mesh, if it says so.
    outside: Option<Outside>,
}

/// What is seen on a port.
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    port: Option<u16>,
    hosts: HostIndex<Vec<Namespaces>>,
    /// Those of `hosts`, to be found by patterns that cover them.
    names: Vec<(String, Namespaces)>,
    excluded: HostIndex<Vec<Namespaces>>,
}

/// Whose hosts are meant.
#[derive(Clone, Debug, PartialEq)]
enum Namespaces {
    All,
    /// The workload's own.
    Own,
    Named(String),
}

impl Namespaces {
    fn of(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::All),
            "." => Some(Self::Own),
            "" | "~" => None,
            named => Some(Self::Named(named.to_owned())),
        }
    }

    /// Whether `owner` is one of them for a workload of `client`.
    fn include(&self, owner: &str, client: &str) -> bool {
        match self {
            Self::All => true,
            Self::Own => owner == client,
            Self::Named(named) => named == owner,
        }
    }
}

/// Hosts and entries that a Sidecar may name, since each is compared with what there is in the mesh.
pub(crate) const MOST: usize = 2_000;

/// Whether `sidecar` names so much that its workloads see nothing.
pub(crate) fn names_too_much(sidecar: &Sidecar) -> bool {
    let entries = &sidecar.spec.egress;
    entries.iter().map(|entry| 1 + entry.hosts.len()).sum::<usize>() > MOST
}

/// What the Sidecar called `key` lets its workloads see.
pub(crate) fn imports(key: &Key, view: &View<'_>) -> Option<Imports> {
    let sidecar = view.sidecar(key)?;
    if names_too_much(sidecar) {
        return Some(Imports { entries: vec![Entry::default()], outside: Some(Outside::Refuse) });
    }
    let entries = sidecar.spec.egress.iter().map(|egress| {
        let port = egress.port.as_ref().map(|port| port.number);
        let mut entry = Entry { port, ..Entry::default() };
        for (namespace, host) in egress.hosts.iter().filter_map(|text| text.split_once('/')) {
            let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            let without = namespace.strip_prefix('~').filter(|rest| !rest.is_empty());
            match (without.and_then(Namespaces::of), Namespaces::of(namespace)) {
                (Some(without), _) => entry.excluded.entry(&host).push(without),
                (None, Some(named)) => {
                    entry.hosts.entry(&host).push(named.clone());
                    entry.names.push((host, named));
                }
                (None, None) => {}
            }
        }
        entry
    });
    // Where a policy is there, its first mode is what it says unless it says another, as in Istio.
    let policy = sidecar.spec.outbound_traffic_policy.as_ref();
    let outside = policy.map(|policy| match policy.mode.as_str() {
        "ALLOW_ANY" => Outside::Allow,
        _ => Outside::Refuse,
    });
    Some(Imports { entries: entries.collect(), outside })
}

impl Imports {
    /// Whether a workload of namespace `client` sees `defined` on `port`.
    pub(crate) fn include(&self, defined: &Definition, port: u16, client: &str) -> bool {
        if self.entries.is_empty() {
            return true;
        }
        let is_for = |wanted: Option<u16>| self.entries.iter().any(|one| one.port == wanted);
        let port = Some(port).filter(|port| is_for(Some(*port)));
        let mut entries = self.entries.iter().filter(|one| one.port == port);
        entries.any(|one| one.includes(&defined.host, &defined.owner.namespace, client))
    }

    /// Whether a workload of namespace `client` heeds rules for `hosts` of namespace `owner`.
    fn include_rules(&self, hosts: &[String], owner: &str, client: &str) -> bool {
        self.entries.is_empty()
            || self.entries.iter().any(|one| {
                hosts.iter().any(|host| {
                    one.includes(host, owner, client) || one.has_some_of(host, owner, client)
                })
            })
    }
}

impl Entry {
    fn includes(&self, host: &str, owner: &str, client: &str) -> bool {
        let names = |index: &HostIndex<Vec<Namespaces>>| {
            index.covering(host).flatten().any(|one| one.include(owner, client))
        };
        names(&self.hosts) && !names(&self.excluded)
    }

    /// Whether `pattern` covers one of its hosts.
    fn has_some_of(&self, pattern: &str, owner: &str, client: &str) -> bool {
        let Some(suffix) = pattern.strip_prefix('*') else { return false };
        let mut names = self.names.iter();
        names.any(|(host, named)| host.ends_with(suffix) && named.include(owner, client))
    }
}

/// The Sidecar of the workloads of `namespace` that have `labels`: the oldest of its namespace that
/// selects them, else that selects none by labels, else the oldest of the root namespace that
/// selects none.
pub(crate) fn of_workload<'l>(
    namespace: &str,
    labels: impl Iterator<Item = (&'l String, &'l String)> + Clone,
    view: &View<'_>,
) -> Option<Arc<Key>> {
    let has = |name: &String, value: &String| {
        labels.clone().any(|(own, its)| own == name && its == value)
    };
    let selects = |sidecar: &Sidecar| {
        let selector = sidecar.spec.workload_selector.iter().flat_map(|one| &one.labels);
        let mut selector = selector.peekable();
        selector.peek().is_some() && selector.all(|(name, value)| has(name, value))
    };
    let firsts = labels.clone().map(|(name, value)| Some((name.clone(), value.clone())));
    let selecting = firsts.flat_map(|first| among(namespace, first, view));
    let selecting = selecting.filter(|(sidecar, _)| selects(sidecar));
    let found = oldest(selecting.collect()).or_else(|| oldest(among(namespace, None, view)));
    let root = || oldest(among(&view.mesh().config.root_namespace, None, view));
    found.or_else(root).map(|(_, key)| key)
}

fn oldest(found: Vec<(&Sidecar, Arc<Key>)>) -> Option<(&Sidecar, Arc<Key>)> {
    found.into_iter().min_by_key(|(sidecar, _)| Age::of(&sidecar.metadata))
}

/// The Sidecars of `namespace` whose selectors begin with `label`, or that have none.
fn among<'g>(
    namespace: &str,
    label: Option<(String, String)>,
    view: &View<'g>,
) -> Vec<(&'g Sidecar, Arc<Key>)> {
    let keys = view.keys(Bucket::SidecarSelectors(namespace.to_owned(), label)).into_iter();
    keys.filter_map(|key| Some((view.sidecar(&key)?, key))).collect()
}

/// What clients of `group` see, if a Sidecar says so.
fn of_group(group: &Group, view: &View<'_>) -> Option<Arc<Imports>> {
    view.imports(group.sidecar.as_deref()?)
}

/// Whether clients of `group` see `defined` on `port`, as far as their Sidecar says.
pub(crate) fn sees(group: &Group, defined: &Definition, port: u16, view: &View<'_>) -> bool {
    of_group(group, view).is_none_or(|imports| imports.include(defined, port, &group.namespace))
}

/// Whether clients of `group` heed the rules of `service`, as far as their Sidecar says.
pub(crate) fn heeds(group: &Group, service: &VirtualService, view: &View<'_>) -> bool {
    let Some(imports) = of_group(group, view) else { return true };
    let owner = service.metadata.namespace.as_str();
    let hosts = service.spec.hosts.iter();
    let hosts: Vec<String> = hosts.map(|host| view.installation().resolve(host, owner)).collect();
    imports.include_rules(&hosts, owner, &group.namespace)
}

/// What happens to traffic of clients of `group` that leaves the mesh.
pub(crate) fn outside(group: &Group, view: &View<'_>) -> Outside {
    let said = of_group(group, view).and_then(|imports| imports.outside);
    said.unwrap_or_else(|| view.mesh().outside)
}

/// What happens to traffic of workloads of the Sidecar called `key` that leaves the mesh, if it
/// says so.
pub(crate) fn outside_of(key: &Key, view: &View<'_>) -> Option<Outside> {
    view.imports(key)?.outside
}

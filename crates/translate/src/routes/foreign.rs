//! Which virtual services speak for a host, and how much each namespace may say of it.
//!
//! No namespace fills the sidecars of another: what virtual services of a namespace that is
//! neither the host's nor the client's say of one host has a bound, for HTTP and for connections
//! each. The younger ones beyond it are left out.
//!
//! Each port of a host repeats the rules for it. What those of one namespace repeat has a bound,
//! too, and beyond it ports are closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_api::{Key, virtual_service::VirtualService};

use crate::{
    Group,
    clusters::backends,
    graph::view::View,
    model::{
        hosts, sidecar,
        sight::{self, Sight},
    },
    routes::{
        rules::{alternatives, targets::RuleSize},
        virtual_services::Summary,
    },
};

/// Bytes of rules for one host that its clients take from the virtual services of a namespace
/// that is neither the host's nor theirs.
pub(crate) const FOREIGN: usize = 1 << 20;

/// Bytes of rules for one host that further ports of it may repeat, of the virtual services of one
/// namespace: so many, and [`TIMES`] times what the rules are once.
pub(crate) const REPEATED: usize = 8 << 20;
/// See [`REPEATED`].
pub(crate) const TIMES: usize = 4;

/// What rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RuleKind {
    /// Requests.
    Http,
    /// Connections.
    Tcp,
    /// Connections of TLS.
    Tls,
}

/// The size of the rules of a virtual service, of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RulesSize {
    /// About how many bytes they are where they are served; 0 without a rule.
    pub(crate) bytes: usize,
    /// Whether every client has some, on every port.
    pub(crate) is_for_everyone: bool,
}

/// The virtual services whose rules for a host the clients of a namespace use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chosen {
    /// The one to use first.
    pub(crate) used: Vec<Used>,
    /// Those that are left out.
    pub(crate) left_out: BTreeSet<Arc<Key>>,
}

/// A virtual service whose rules for a host are used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Used {
    /// Its name.
    pub(crate) key: Arc<Key>,
    /// On how many ports of the host, in their order; on further ones it is closed.
    pub(crate) ports: usize,
}

impl Used {
    /// Whether it is closed on the port with index `rank` of the host.
    pub(crate) fn is_closed(&self, rank: usize) -> bool {
        rank >= self.ports
    }
}

impl RulesSize {
    /// The rules of `service` for HTTP, of such sizes.
    pub(crate) fn of_http(service: &VirtualService, sizes: &[RuleSize]) -> Self {
        let is_for_everyone = service.spec.http.iter().any(|rule| {
            rule.matches.is_empty() || rule.matches.iter().any(alternatives::holds_for_everyone)
        });
        Self { bytes: sum(sizes.iter().map(|size| size.repeated())), is_for_everyone }
    }

    /// Rules for connections, of such sizes.
    pub(crate) fn of_connections(sizes: &[RuleSize], is_for_everyone: bool) -> Self {
        Self { bytes: sum(sizes.iter().map(|size| size.repeated())), is_for_everyone }
    }
}

fn sum(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(0, usize::saturating_add)
}

/// The virtual services whose rules clients of `namespace` use for `host`: for a host that an
/// object defines those for it and for patterns that cover it, else those that name it.
pub(crate) fn chosen(host: &str, namespace: &str, kind: RuleKind, view: &View<'_>) -> Chosen {
    let sight = Sight::of_namespace(namespace);
    choose(host, (namespace, sight), kind, view, |name| view.virtual_services_for(name, namespace))
}

/// The same for clients of `group`, whose Sidecar may hide some of them.
pub(crate) fn chosen_by(host: &str, group: &Group, kind: RuleKind, view: &View<'_>) -> Arc<Chosen> {
    if group.sidecar.is_none() {
        return view.chosen(host, &group.namespace, kind);
    }
    let services = |name: &str| {
        let all = view.virtual_services_for(name, &group.namespace);
        let heeded = |one: &&Arc<Summary>| {
            view.virtual_service(&one.key)
                .is_some_and(|service| sidecar::heeds(group, service, view))
        };
        Arc::new(all.iter().filter(heeded).cloned().collect())
    };
    let looking = (group.namespace.as_str(), Sight::of(group));
    Arc::new(choose(host, looking, kind, view, services))
}

/// The same; `services` finds those that name a host or pattern, as clients of `namespace` see
/// them.
pub(crate) fn choose(
    host: &str,
    (namespace, sight): (&str, Sight<'_>),
    kind: RuleKind,
    view: &View<'_>,
    services: impl Fn(&str) -> Arc<Vec<Arc<Summary>>>,
) -> Chosen {
    let mut found = Chosen::default();
    let definition = sight::definition(host, None, sight, view);
    let mut near = vec![namespace.to_owned()];
    near.extend(definition.as_ref().map(|one| one.owner.namespace.clone()));
    let mut names = vec![host.to_owned()];
    if definition.is_some() {
        names.extend(hosts::patterns(host));
        let concrete = backends::aliased(host, view);
        // An alias has the rules of what it stands for.
        if kind == RuleKind::Http && concrete != host {
            let definition = sight::definition(&concrete, None, sight, view);
            near.extend(definition.map(|one| one.owner.namespace.clone()));
            let patterns: Vec<String> = hosts::patterns(&concrete).collect();
            names.push(concrete);
            names.extend(patterns);
        }
    }
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    let mut repeated: BTreeMap<String, usize> = BTreeMap::new();
    // One may name a host and patterns over it.
    let mut seen = BTreeSet::new();
    for name in names {
        for service in services(&name).iter() {
            let RulesSize { bytes, is_for_everyone } = service.rules_size(kind);
            let own = service.key.namespace.as_str();
            if bytes == 0 || !seen.insert(Arc::clone(&service.key)) {
                continue;
            }
            if !near.iter().any(|one| one == own) {
                let left = left.entry(own.to_owned()).or_insert(FOREIGN);
                let Some(after) = left.checked_sub(bytes) else {
                    found.left_out.insert(Arc::clone(&service.key));
                    continue;
                };
                *left = after;
            }
            let more = service.repeated(kind, namespace);
            let all = repeated.entry(own.to_owned()).or_default();
            *all = all.saturating_add(more);
            let ports = if more == 0 { usize::MAX } else { most_ports(*all) };
            found.used.push(Used { key: Arc::clone(&service.key), ports });
            // Those after it are never looked at. On which ports hosts without a definition are
            // served differs.
            if is_for_everyone && definition.is_some() {
                return found;
            }
        }
    }
    found
}

/// On how many ports of a host rules of `bytes` may be.
fn most_ports(bytes: usize) -> usize {
    1 + TIMES + REPEATED / bytes.max(1)
}

impl Summary {
    /// Bytes of its rules of `kind` that each port repeats for clients in `namespace`.
    fn repeated(&self, kind: RuleKind, namespace: &str) -> usize {
        match kind {
            RuleKind::Http => self.for_requests.repeated(namespace),
            RuleKind::Tcp => self.for_connections.repeated(namespace),
            RuleKind::Tls => self.for_server_names.repeated(namespace),
        }
    }

    /// The size of its rules of `kind`.
    pub(crate) fn rules_size(&self, kind: RuleKind) -> RulesSize {
        match kind {
            RuleKind::Http => self.http,
            RuleKind::Tcp => self.tcp,
            RuleKind::Tls => self.tls,
        }
    }
}

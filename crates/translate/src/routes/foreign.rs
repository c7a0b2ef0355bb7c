//! Which virtual services speak for a host, and how much each namespace may say of it.
//!
//! No namespace fills the sidecars of another: what virtual services of a namespace that is
//! neither the host's nor the client's say of one host has a bound, for HTTP and for connections
//! each. The younger ones beyond it are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_api::{
    Key,
    virtual_service::{HttpMatch, VirtualService},
};

use crate::{
    clusters::backends,
    graph::view::View,
    model::hosts,
    routes::{
        rules::targets::{self, RuleSize},
        virtual_services::{MESH, Summary},
    },
};

/// Bytes of rules for one host that its clients take from the virtual services of a namespace
/// that is neither the host's nor theirs.
pub(crate) const FOREIGN: usize = 1 << 20;

/// What rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RuleKind {
    /// Requests.
    Http,
    /// Connections.
    Tcp,
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
    used: Vec<Arc<Key>>,
    /// Those that are left out.
    pub(crate) left_out: BTreeSet<Arc<Key>>,
}

impl Chosen {
    /// Those that are used.
    pub(crate) fn used(&self) -> impl Iterator<Item = &Key> {
        self.used.iter().map(|key| &**key)
    }
}

impl RulesSize {
    /// The rules of `service` for HTTP.
    pub(crate) fn of_http(service: &VirtualService) -> Self {
        let rules = service.spec.http.iter().map(|rule| {
            let size = RuleSize::of(rule, &rule.matches, rule.route.len());
            Self::of_rule(size, rule.matches.iter().map(everyone))
        });
        Self::sum(rules)
    }

    /// Its rules for connections.
    pub(crate) fn of_tcp(service: &VirtualService) -> Self {
        let tcp = service.spec.tcp.iter().map(|rule| {
            let read =
                |one| serde_json::from_value::<HttpMatch>(one).is_ok_and(|one| everyone(&one));
            let size = RuleSize::of(rule, &rule.matches, rule.route.len());
            Self::of_rule(size, rule.matches.iter().cloned().map(read))
        });
        let tls = service
            .spec
            .tls
            .iter()
            .map(|rule| Self { bytes: targets::size(rule), is_for_everyone: false });
        Self::sum(tcp.chain(tls))
    }

    fn of_rule(size: RuleSize, for_everyone: impl ExactSizeIterator<Item = bool>) -> Self {
        let is_for_everyone = for_everyone.len() == 0 || for_everyone.into_iter().any(|one| one);
        Self { bytes: size.repeated(), is_for_everyone }
    }

    fn sum(rules: impl Iterator<Item = Self>) -> Self {
        rules.fold(Self::default(), |all, one| Self {
            bytes: all.bytes.saturating_add(one.bytes),
            is_for_everyone: all.is_for_everyone || one.is_for_everyone,
        })
    }
}

/// Whether `one` holds for some connections of every client on every port.
fn everyone(one: &HttpMatch) -> bool {
    one.port.is_none()
        && one.source_labels.is_empty()
        && one.source_namespace.is_none()
        && (one.gateways.is_empty() || one.gateways.iter().any(|name| name == MESH))
}

/// The virtual services whose rules clients of `namespace` use for `host`: for a host that an
/// object defines those for it and for patterns that cover it, else those that name it.
pub(crate) fn chosen(host: &str, namespace: &str, kind: RuleKind, view: &View<'_>) -> Chosen {
    choose(host, namespace, kind, view, |name| view.virtual_services_for(name, namespace))
}

/// The same; `services` finds those that name a host or pattern, as clients of `namespace` see
/// them.
pub(crate) fn choose(
    host: &str,
    namespace: &str,
    kind: RuleKind,
    view: &View<'_>,
    services: impl Fn(&str) -> Arc<Vec<Arc<Summary>>>,
) -> Chosen {
    let mut found = Chosen::default();
    let definition = view.definitions(host).into_iter().next();
    let mut near = vec![namespace.to_owned()];
    near.extend(definition.as_ref().map(|one| one.owner.namespace.clone()));
    let mut names = vec![host.to_owned()];
    if definition.is_some() {
        names.extend(hosts::patterns(host));
        let concrete = backends::aliased(host, view);
        // An alias has the rules of what it stands for.
        if kind == RuleKind::Http && concrete != host {
            let definitions = view.definitions(&concrete);
            near.extend(definitions.first().map(|one| one.owner.namespace.clone()));
            let patterns: Vec<String> = hosts::patterns(&concrete).collect();
            names.push(concrete);
            names.extend(patterns);
        }
    }
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
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
            found.used.push(Arc::clone(&service.key));
            // Those after it are never looked at. On which ports hosts without a definition are
            // served differs.
            if is_for_everyone && definition.is_some() {
                return found;
            }
        }
    }
    found
}

impl Summary {
    /// The size of its rules of `kind`.
    pub(crate) fn rules_size(&self, kind: RuleKind) -> RulesSize {
        match kind {
            RuleKind::Http => self.http,
            RuleKind::Tcp => self.tcp,
        }
    }
}

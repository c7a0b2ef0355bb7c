//! Rules that clients of other namespaces do not get, since there are too many of them.
//!
//! What is left out for a host is found once for all virtual services that name it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_api::{Diagnostic, Key, virtual_service::VirtualService};

use super::LISTS;
use crate::{
    graph::view::View,
    model::sight::Sight,
    routes::{
        foreign::{self, FOREIGN, RuleKind},
        virtual_services::{self, Summary},
    },
};

/// Namespaces of clients that are looked at for one host.
const MOST_NAMESPACES: usize = 64;

/// Virtual services whose rules for a host clients of some other namespace do not get.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LeftOut {
    http: BTreeSet<Arc<Key>>,
    tcp: BTreeSet<Arc<Key>>,
    tls: BTreeSet<Arc<Key>>,
}

impl LeftOut {
    fn of(&self, kind: RuleKind) -> &BTreeSet<Arc<Key>> {
        match kind {
            RuleKind::Http => &self.http,
            RuleKind::Tcp => &self.tcp,
            RuleKind::Tls => &self.tls,
        }
    }
}

/// Those for `host`, a name or a pattern, for clients of the first [`MOST_NAMESPACES`] namespaces
/// that see one of a namespace that has too many rules; the younger of these first.
pub(crate) fn left_out(host: &str, view: &View<'_>) -> LeftOut {
    let all = view.virtual_services_of(host);
    let of = |kind| {
        let mut bytes: BTreeMap<&str, usize> = BTreeMap::new();
        for one in all.iter() {
            let sum = bytes.entry(one.key.namespace.as_str()).or_default();
            *sum = sum.saturating_add(one.rules_size(kind).bytes);
        }
        bytes.retain(|_, sum| *sum > FOREIGN);
        if bytes.is_empty() {
            return BTreeSet::new();
        }
        // Clients that have nothing to do with any of them come first.
        let mut strangers = BTreeSet::from([String::new()]);
        let crowded = all.iter().rev().filter(|one| {
            bytes.contains_key(one.key.namespace.as_str()) && one.rules_size(kind).bytes > 0
        });
        for stranger in crowded.flat_map(|one| one.strangers()) {
            if strangers.len() == MOST_NAMESPACES {
                break;
            }
            strangers.insert(stranger);
        }
        let found = strangers.into_iter().flat_map(|client| {
            let services = |name: &str| match name == host {
                true => Arc::new(virtual_services::seen_from(&client, host, view)),
                false => Arc::default(),
            };
            let looking = (client.as_str(), Sight::of_namespace(&client));
            foreign::choose(host, looking, kind, view, services).left_out
        });
        found.collect()
    };
    LeftOut { http: of(RuleKind::Http), tcp: of(RuleKind::Tcp), tls: of(RuleKind::Tls) }
}

/// That rules of `service` are left out: one diagnostic for each list of them.
pub(super) fn check(
    key: &Key,
    service: &VirtualService,
    own: &Summary,
    view: &View<'_>,
) -> Vec<Diagnostic> {
    let namespace = &key.namespace;
    if own.is_private() {
        return Vec::new();
    }
    let resolved =
        service.spec.hosts.iter().map(|host| view.installation().resolve(host, namespace));
    let hosts: BTreeSet<String> = resolved.collect();
    let found = LISTS.into_iter().filter(|(kind, _)| own.rules_size(*kind).bytes > 0);
    let found = found.filter_map(|(kind, field)| {
        let mut lost = hosts.iter().filter(|host| view.left_out(host).of(kind).contains(key));
        let first = lost.next()?;
        let hosts = match lost.count() {
            0 => format!("`{first}`"),
            more => format!("`{first}` and {more} more of its hosts"),
        };
        let message = format!(
            "the rules for {hosts} are left out for clients of other namespaces: VirtualServices \
             of namespace {namespace}, older ones first, have more than {} MiB of rules for the \
             host; give them fewer or shorter rules, delete some of them, or set exportTo to \
             [\".\"] where they are for clients of this namespace only",
            FOREIGN >> 20
        );
        Some(Diagnostic::error(key, field, message))
    });
    found.collect()
}

//! Rules that clients of other namespaces do not get, since there are too many of them.

use std::collections::BTreeSet;

use weft_api::{Diagnostic, Key, virtual_service::VirtualService};

use crate::{
    graph::view::View,
    routes::{
        foreign::{FOREIGN, RuleKind},
        virtual_services::Summary,
    },
};

/// That rules of `service` are left out: one diagnostic for each list of them.
pub(super) fn check(
    key: &Key,
    service: &VirtualService,
    own: &Summary,
    view: &View<'_>,
) -> Vec<Diagnostic> {
    let namespace = &key.namespace;
    let resolved =
        service.spec.hosts.iter().map(|host| view.installation().resolve(host, namespace));
    let hosts: BTreeSet<String> = resolved.collect();
    let strangers = own.strangers();
    let connections = if service.spec.tcp.is_empty() { "spec.tls" } else { "spec.tcp" };
    let lists = [(RuleKind::Http, "spec.http"), (RuleKind::Tcp, connections)];
    let found = lists.into_iter().filter(|(kind, _)| own.rules_size(*kind).bytes > 0);
    let found = found.filter_map(|(kind, field)| {
        let mut lost = hosts.iter().filter(|host| {
            let is_alone = view.virtual_services_of(host).len() == 1;
            (!is_alone || own.rules_size(kind).bytes > FOREIGN)
                && strangers
                    .iter()
                    .any(|client| view.chosen(host, client, kind).left_out.contains(key))
        });
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

//! Rules for connections that name what is not there, and lists that no port is for.

use weft_api::{
    Diagnostic, Key,
    virtual_service::{ConnectionRoute, VirtualService},
};

use super::destinations::{self, Dialled, Sent};
use crate::{
    graph::view::View,
    model::{protocol::Spoken, registry::Definition},
    routes::{
        foreign::RuleKind,
        rules::{InvalidRule, alternatives, targets},
        virtual_services,
    },
};

/// Ports of hosts that are looked at for one that a list is for.
const MOST_PORTS: usize = 1 << 16;

/// What is wrong with the rules for connections of `service`.
pub(super) fn check(key: &Key, service: &VirtualService, view: &View<'_>) -> Vec<Diagnostic> {
    let lists = [
        ("spec.tcp", RuleKind::Tcp, &service.spec.tcp),
        ("spec.tls", RuleKind::Tls, &service.spec.tls),
    ];
    let mut found = Vec::new();
    for (field, kind, rules) in lists {
        if rules.is_empty() {
            continue;
        }
        found.extend(unused(key, (field, kind), service, view));
        for (at, rule) in rules.iter().enumerate() {
            let field = format!("{field}[{at}]");
            for InvalidRule { field: place, message, .. } in unreadable(rule, kind) {
                found.push(Diagnostic::error(key, format!("{field}.{place}"), message));
            }
            for (nth, route) in rule.route.iter().enumerate() {
                let field = format!("{field}.route[{nth}].destination");
                // Which ports these rules are for is in conditions of every kind.
                let unknown = Dialled::default();
                let sent = (Sent::Requests, &route.destination);
                found.extend(destinations::check(key, &field, sent, &unknown, view));
            }
        }
    }
    found
}

fn unreadable(rule: &ConnectionRoute, kind: RuleKind) -> Vec<InvalidRule> {
    let written: Vec<_> = rule.route.iter().map(|one| (&one.destination, one.weight)).collect();
    // A rule without destinations is broken whatever there is, which `api` tells.
    let shares = targets::shares(&written).err().filter(|_| !rule.route.is_empty());
    let conditions = rule.matches.iter().enumerate();
    let conditions = conditions
        .filter_map(|(nth, one)| alternatives::connection_condition(one, nth, kind).err());
    shares.into_iter().chain(conditions).collect()
}

/// That sidecars use no rule of a list, since no port of its hosts is declared so that it is for
/// it.
fn unused(
    key: &Key,
    (field, kind): (&str, RuleKind),
    service: &VirtualService,
    view: &View<'_>,
) -> Option<Diagnostic> {
    if !virtual_services::in_mesh(service) {
        return None;
    }
    let mut left = MOST_PORTS;
    let mut named = None;
    for host in &service.spec.hosts {
        let host = view.installation().resolve(host, &key.namespace);
        let definitions = view.definitions(&host);
        // What a pattern covers is not looked at.
        if definitions.is_empty() && host.starts_with('*') {
            return None;
        }
        for definition in definitions {
            left = left.checked_sub(definition.ports.len())?;
            if definition.ports.iter().any(|port| is_for(kind, port.spoken)) {
                return None;
            }
            named.get_or_insert(definition);
        }
    }
    let Definition { owner, .. } = &*named?;
    let message = match kind {
        RuleKind::Tls => format!(
            "is not used by sidecars: rules by server name are for ports that are declared to speak \
             TLS, and {owner} has none; name a port https-… or tls-…, or set its appProtocol"
        ),
        RuleKind::Http | RuleKind::Tcp => format!(
            "is not used by sidecars: no port of {owner} is for it; ports that are declared to speak \
             HTTP have rules in `http`, those that speak TLS in `tls`"
        ),
    };
    Some(Diagnostic::warning(key, field, message))
}

fn is_for(kind: RuleKind, spoken: Spoken) -> bool {
    match kind {
        RuleKind::Http => spoken.may_be_http(),
        RuleKind::Tcp => matches!(spoken, Spoken::Tcp | Spoken::Undeclared),
        RuleKind::Tls => spoken == Spoken::Tls,
    }
}

//! Virtual services that name what is not there, and rules that never match.

mod connections;
mod delegates;
mod destinations;
mod further_ports;
pub(crate) mod left_out;

use std::{collections::BTreeSet, ops::Range};

use weft_api::{
    Diagnostic, Key, Kind, span,
    virtual_service::{HttpRoute, VirtualService},
};

use crate::{
    diagnose::skipped_gateways,
    graph::view::View,
    listeners::{self, COVERED, FURTHER, Limited, NAMES, TIMES},
    model::{self, picked},
    routes::{
        delegates::Merged,
        foreign::{self, RuleKind},
        rules::{self, changes, conditions, mirrors, retries, targets, targets::Ports},
        virtual_services::{self, MESH, Summary},
    },
};

use destinations::{Dialled, Sent};

/// Hosts that are compared with those of Gateways to find Gateways that serve none of them.
const MOST_HOSTS: usize = 1 << 16;
/// How many hosts a message names.
const MOST_NAMED: usize = 3;

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(service) = view.virtual_service(key) else { return Vec::new() };
    let closed = service.spec.closed.iter().map(|field| {
        let message = "is not a list of texts, so where the rules are for is not known: they \
                       answer 500; write one";
        Diagnostic::error(key, format!("spec.{field}"), message)
    });
    let mut found: Vec<_> = closed.collect();
    gateways(key, service, view, &mut found);
    let mut dialled = Dialled::default();
    if virtual_services::in_mesh(service) {
        in_mesh(key, service, view, &mut found);
        dialled = Dialled::new(virtual_services::ports_without_service(service, view));
    }
    let Some(summary) = view.virtual_service_summary(key) else { return found };
    let merged = summary.has_delegates.then(|| view.merged(key)).flatten();
    let merged = merged.as_deref();
    beyond_bounds(key, &summary, merged, &mut found);
    found.extend(merged.iter().flat_map(|merged| delegates::check(key, merged, view)));
    let mut taken: Option<usize> = None;
    for (at, rule) in service.spec.http.iter().enumerate() {
        if merged_from(at, merged).any(|one| summary.http_beyond.patterns.contains(&one)) {
            taken.get_or_insert(at);
            continue;
        }
        if let Some(by) = taken {
            let message = format!("is never used: http[{by}] takes every request before it");
            found.push(Diagnostic::warning(key, format!("spec.http[{at}]"), message));
        } else if merged_from(at, merged).any(|one| {
            merged
                .map_or(Some(rule), |merged| merged.service.spec.http.get(one))
                .is_some_and(takes_all)
        }) {
            taken = Some(at);
        }
        found.extend(self::rule(key, service, at, &dialled, view));
    }
    found.extend(connections::check(key, service, view));
    found
}

/// Rules that are closed, since they would repeat what they say too often, or take too long to
/// compile.
fn beyond_bounds(
    key: &Key,
    summary: &Summary,
    merged: Option<&Merged>,
    found: &mut Vec<Diagnostic>,
) {
    let written = |at: &usize| {
        merged.and_then(|merged| merged.sources.get(*at)).map_or(*at, |source| source.root)
    };
    let http = summary.http_beyond.bound.iter().map(|at| ("http", written(at)));
    let tcp = summary.tcp_beyond.bound.iter().map(|at| ("tcp", *at));
    let all = http.chain(tcp).chain(summary.tls_beyond.bound.iter().map(|at| ("tls", *at)));
    found.extend(all.map(|(list, at)| {
        let field = format!("spec.{list}[{at}].match");
        Diagnostic::error(key, field, targets::too_many().message)
    }));
    found.extend(summary.http_beyond.patterns.iter().map(written).map(|at| {
        let field = format!("spec.http[{at}].match");
        Diagnostic::error(key, field, targets::too_many_patterns().message)
    }));
}

/// The indexes of rule `at` among those of [`virtual_services::Summary`]: of the rules that stand
/// in its place, if it delegates.
fn merged_from(at: usize, merged: Option<&Merged>) -> Range<usize> {
    let Some(Merged { sources, .. }) = merged else { return at..at + 1 };
    let up_to = |root| sources.partition_point(|source| source.root < root);
    up_to(at)..up_to(at + 1)
}

/// The lists of rules, and the field that a finding about each names.
const LISTS: [(RuleKind, &str); 3] =
    [(RuleKind::Http, "spec.http"), (RuleKind::Tcp, "spec.tcp"), (RuleKind::Tls, "spec.tls")];

/// Gateways that are not there, or serve none of the hosts.
fn gateways(key: &Key, service: &VirtualService, view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    let hosts = listeners::hosts_of(service, view.installation());
    let mut left = MOST_HOSTS;
    for (at, name) in service.spec.gateways.iter().enumerate() {
        if name == MESH {
            continue;
        }
        let field = format!("spec.gateways[{at}]");
        let (namespace, name) = model::hosts::gateway(name, &key.namespace);
        let own = Key::new(Kind::Gateway, namespace, name);
        if !seen.insert(own.clone()) {
            continue;
        }
        let Some(gateway) = view.gateway(&own) else {
            let message = format!("there is no {own}; apply it, or correct the name");
            found.push(Diagnostic::warning(key, field, message));
            continue;
        };
        if let Some(pod) = picked::gateway_of(gateway, view) {
            match view.limited(&pod) {
                Some(all) => found.extend(limited(key, &own, &all, &field)),
                None => {
                    let object = format!("this object at {own}");
                    let message = skipped_gateways::message(&pod, &object);
                    found.push(Diagnostic::warning(key, field.clone(), message));
                }
            }
        }
        let Some(served) = view.served(&own) else { continue };
        // What is compared counts, whatever is found.
        let cost = served.looks(&hosts, &key.namespace);
        if cost > left {
            continue;
        }
        left -= cost;
        if !served.serves(&hosts, &key.namespace) {
            let message = format!(
                "{own} serves none of the hosts {}; add one to its servers",
                named(&service.spec.hosts)
            );
            found.push(Diagnostic::warning(key, field, message));
        }
    }
}

/// What the gateways of `gateway`, which `field` names, do not serve of the object.
fn limited(key: &Key, gateway: &Key, limited: &Limited, field: &str) -> Vec<Diagnostic> {
    let namespace = &key.namespace;
    let mut found = Vec::new();
    if let Some(port) = limited.ports.get(key) {
        let message = format!(
            "is not served on port {port} and higher ones of {gateway}: hosts and rules that \
             VirtualServices of namespace {namespace} have on further ports are more than {} MiB \
             and {TIMES} times what they are once; nothing listens there for it, or its hosts get \
             500; use Gateways with fewer ports",
            FURTHER >> 20
        );
        found.push(Diagnostic::error(key, field, message));
    }
    if let Some(port) = limited.hosts.get(key) {
        let message = format!(
            "is not served on port {port} and higher ones of {gateway}: patterns of \
             VirtualServices of namespace {namespace} cover more hosts of Gateways than {COVERED} \
             and {TIMES} times the hosts that they name and that the Gateways have; hosts that \
             nothing else serves there get 500; use fewer VirtualServices with patterns"
        );
        found.push(Diagnostic::error(key, field, message));
    }
    if let Some(port) = limited.names.get(key) {
        let message = format!(
            "is not served on port {port} and higher ones of {gateway}: each host names all lists \
             of rules for it, and for VirtualServices of namespace {namespace} these names are \
             more than {} MiB and {TIMES} times those of their hosts; hosts that nothing else \
             serves there get 500; use fewer VirtualServices for the same hosts, or shorter names",
            NAMES >> 20
        );
        found.push(Diagnostic::error(key, field, message));
    }
    found
}

/// The first of `hosts`, and how many more there are.
fn named(hosts: &[String]) -> String {
    let first = hosts[..hosts.len().min(MOST_NAMED)].join(", ");
    match hosts.len().saturating_sub(MOST_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Hosts that name nothing, and hosts that another virtual service speaks for.
fn in_mesh(key: &Key, service: &VirtualService, view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let Some(own) = view.virtual_service_summary(key) else { return };
    found.extend(left_out::check(key, service, &own, view));
    found.extend(further_ports::check(key, service, &own, view));
    for (at, written) in service.spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{at}]");
        let host = view.installation().resolve(written, &key.namespace);
        if let Some(message) = nothing(written, &host, view) {
            found.push(Diagnostic::warning(key, field.clone(), message));
        }
        let message = foreign(&host, key, view).filter(|_| !own.is_private());
        if let Some(message) = message {
            found.push(Diagnostic::warning(key, field.clone(), message));
        }
        if service.spec.http.is_empty() {
            continue;
        }
        let same = view.virtual_services_for(&host, &key.namespace);
        let Some(first) = same.iter().find(|other| other.http.bytes > 0) else { continue };
        // Clients elsewhere may see this one only.
        if own.key != first.key && own.reach(&key.namespace).is_some() {
            let why = match first.age < own.age {
                true => "is older",
                false => "is exported to fewer namespaces",
            };
            let message = format!(
                "{} {why} and speaks for this host in the mesh, so the rules here are not used \
                 there; join the two",
                first.key
            );
            found.push(Diagnostic::warning(key, field, message));
        }
    }
}

/// That `host` is a service of another namespace.
fn foreign(host: &str, key: &Key, view: &View<'_>) -> Option<String> {
    let named = view.installation().service_key(host)?;
    let owner = &named.namespace;
    let is_there = *owner != key.namespace && !view.definitions(host).is_empty();
    is_there.then(|| {
        format!(
            "is a host of namespace {owner}: the rules here decide for its clients in every \
             namespace that sees them, up to {} MiB of rules of namespace {} for clients \
             elsewhere, and younger rules beyond that are left out; set exportTo to [\".\"] where \
             they are for clients of this namespace only",
            foreign::FOREIGN >> 20,
            key.namespace
        )
    })
}

/// What is to be said of a host that names no service.
fn nothing(written: &str, host: &str, view: &View<'_>) -> Option<String> {
    if written.starts_with('*') && written.len() > 1 && !written.starts_with("*.") {
        let message = "sidecars support wildcards of whole labels only; write *. and a domain";
        return Some(message.to_owned());
    }
    if let Some(named) = view.installation().service_key(host) {
        return view.definitions(host).is_empty().then(|| {
            let (name, namespace) = (&named.name, &named.namespace);
            format!(
                "there is no Service {name} in namespace {namespace}; until there is, the host is \
                 served on port 80 only"
            )
        });
    }
    // `cart.shop` looks like a service of another namespace, but is taken as it is.
    let (name, namespace) = host.split_once('.')?;
    let named = Key::new(Kind::Service, namespace, name);
    let meant = !namespace.contains('.') && view.definition(&named).is_some();
    meant.then(|| {
        format!(
            "`{written}` is taken as it is and names no service; for {named} write {}",
            view.installation().service(namespace, name)
        )
    })
}

/// What is wrong with rule `at`.
fn rule(
    key: &Key,
    service: &VirtualService,
    at: usize,
    dialled: &Dialled,
    view: &View<'_>,
) -> Vec<Diagnostic> {
    let mesh = view.mesh();
    let mut found = Vec::new();
    let rule = &service.spec.http[at];
    let field = format!("spec.http[{at}]");
    for (nth, one) in rule.matches.iter().enumerate() {
        for closed in conditions::read(Some(one)).1 {
            let place = format!("{field}.match[{nth}].{}", closed.field);
            found.push(Diagnostic::error(key, place, closed.message));
        }
    }
    // A rule without destinations is broken whatever there is, which `api` tells.
    if rule.delegate.is_none()
        && let Err(closed) =
            targets::decided(rule, &key.namespace, Ports::of_namespace(&key.namespace), view)
        && !(rule.route.is_empty() && closed.details == targets::NO_DESTINATION)
    {
        found.push(Diagnostic::error(key, format!("{field}.{}", closed.field), closed.message));
    }
    let of_routes = rule.route.iter().enumerate();
    let of_routes = of_routes.map(|(nth, one)| (format!("{field}.route[{nth}]"), &one.headers));
    for (place, headers) in std::iter::once((field.clone(), &rule.headers)).chain(of_routes) {
        let left = headers.iter().flat_map(changes::left_alone);
        found.extend(left.map(|name| {
            let message = "stays as it is: pseudo-fields, and fields that frame messages or \
                           count proxies, are not for rules to change; remove this one";
            Diagnostic::warning(key, format!("{place}.headers.{name}"), message)
        }));
    }
    if let Some(text) = &rule.timeout
        && span::parse(text).is_err()
    {
        let message = format!("`{text}` is not a duration such as 1.5s; there is no limit");
        found.push(Diagnostic::error(key, format!("{field}.timeout"), message));
    }
    if let Some(written) = &rule.retries {
        for (name, message) in retries::of_rule(written, mesh.timeouts()).1 {
            found.push(Diagnostic::warning(key, format!("{field}.retries.{name}"), message));
        }
        if mesh.as_istio_1_0 && written.per_try_timeout.is_some() && written.retry_on.is_none() {
            let message = "a try that takes too long is tried again because of the setting \
                           `compatibility: istio-1.0`; today's Istio would answer 504";
            let place = format!("{field}.retries.perTryTimeout");
            found.push(Diagnostic::info(key, place, message));
        }
    }
    for (nth, route) in rule.route.iter().enumerate() {
        let field = format!("{field}.route[{nth}].destination");
        found.extend(destinations::check(
            key,
            &field,
            (Sent::Requests, &route.destination),
            dialled,
            view,
        ));
    }
    if let Some((place, ..)) = mirrors::written(rule).nth(mirrors::MOST) {
        let message = format!(
            "is beyond the {} copies that a request may have: no copies are sent to this destination \
             and to later ones; name fewer",
            mirrors::MOST
        );
        found.push(Diagnostic::error(key, format!("{field}.{place}"), message));
    }
    for (place, destination, _) in mirrors::written(rule) {
        let place = format!("{field}.{place}");
        found.extend(destinations::check(key, &place, (Sent::Copies, destination), dialled, view));
    }
    found
}

/// Whether `rule` takes every request wherever it is used.
fn takes_all(rule: &HttpRoute) -> bool {
    rule.matches.is_empty()
        || rule.matches.iter().any(|one| {
            let everywhere = one.port.is_none()
                && one.source_labels.is_empty()
                && one.source_namespace.is_none()
                && one.gateways.is_empty();
            let (conditions, broken) = conditions::read(Some(one));
            everywhere && broken.is_empty() && rules::takes_all(&conditions)
        })
}

//! Connections by address: which host is behind one, and where its bytes go.

use std::{net::SocketAddr, sync::Arc};

use serde_json::Value;
use weft_api::virtual_service::{HttpMatch, VirtualService};
use weft_config::{Origin, Resource, SourceMatch, TcpTarget};

use crate::{
    Group,
    closure::Closure,
    clusters::{
        backends::{self, BackendRef},
        endpoints,
    },
    graph::view::View,
    model::registry::{self, Definition, Port},
    routes::{
        foreign::RuleKind,
        rules::{self, Site, conditions, targets, targets::Ports},
        virtual_services,
    },
};

/// The host, and its port, that decides about connections to `address`; none when it
/// is not the address that decides.
pub(super) fn behind(
    address: SocketAddr,
    group: &Group,
    view: &View<'_>,
) -> Option<(Arc<Definition>, Port)> {
    let mesh = view.mesh();
    let seen = |definition: &Arc<Definition>| definition.is_seen_from(&group.namespace, &mesh);
    for definition in view.definitions_at(address.ip()).into_iter().filter(seen) {
        let port = definition.port(address.port()).filter(|port| !port.spoken.is_http());
        if let Some(port) = port.cloned() {
            return Some((definition, port));
        }
    }
    for (definition, slices) in registry::with_endpoint(address.ip(), view) {
        if !seen(&definition) || !definition.is_headless() {
            continue;
        }
        if let Some(port) = endpoints::behind(address, &definition, &slices).cloned() {
            return Some((definition, port));
        }
    }
    None
}

/// Where the bytes of connections to a host go: where its virtual service says, else
/// to itself. The last target is for every client.
pub(super) fn targets(
    definition: &Definition,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Vec<TcpTarget> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let is_complete =
        |wanted: &[Wanted]| wanted.last().is_some_and(|last: &Wanted| last.source.is_any());
    let chosen = view.chosen(&definition.host, &site.group.namespace, RuleKind::Tcp);
    closure.leave_out(&chosen.left_out);
    for service in chosen.used().filter_map(|key| view.virtual_service(key)) {
        wanted.extend(of_rules(service, site, view));
        if is_complete(&wanted) {
            break;
        }
    }
    if !is_complete(&wanted) {
        let own = BackendRef { host: definition.host.clone(), port: site.port, subset: None };
        wanted.push(Wanted {
            source: SourceMatch::default(),
            backends: vec![(own, 1)],
            origin: Origin::new(definition.owner.to_string(), ""),
        });
    }
    let targets = wanted.into_iter().map(|Wanted { source, backends, origin }| {
        let backends = relayed_to(&backends, site, view, closure);
        TcpTarget { source, backends, origin }
    });
    targets.collect()
}

/// Where a rule sends the connections of some clients; nowhere if it cannot be honoured.
struct Wanted {
    source: SourceMatch,
    backends: Vec<(BackendRef, u32)>,
    origin: Origin,
}

/// The names of backends, with their weights; the backends are added.
fn relayed_to(
    wanted: &[(BackendRef, u32)],
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Vec<(String, u32)> {
    for (backend, _) in wanted {
        backends::add(backend, site, view, closure);
    }
    if wanted.is_empty() {
        let black_hole = backends::black_hole(&view.mesh());
        let name = black_hole.name.clone();
        closure.add(view.pool().piece(Resource::Backend(black_hole)));
        return vec![(name, 1)];
    }
    wanted.iter().map(|(backend, weight)| (backend.name(), *weight)).collect()
}

/// Where the rules for `site` send connections, up to the first that is for clients with
/// whatever labels.
fn of_rules(service: &VirtualService, site: &Site<'_>, view: &View<'_>) -> Vec<Wanted> {
    let namespace = service.metadata.namespace.as_str();
    let object = rules::object(service);
    let mut found = Vec::new();
    let summary = virtual_services::summary_of(service, view);
    let is_closed =
        |at: &usize| summary.as_ref().is_none_or(|one| one.tcp_beyond_bound.contains(at));
    for (at, rule) in service.spec.tcp.iter().enumerate() {
        let written: Vec<_> = rule.route.iter().map(|one| (&one.destination, one.weight)).collect();
        let known = !is_closed(&at) && service.spec.closed.is_empty();
        for alternative in alternatives(&rule.matches, namespace, site) {
            let Alternative { source, known: is_decided } = alternative;
            let open = known && is_decided;
            let shares = targets::shares(&written).ok().filter(|_| open).unwrap_or_default();
            let ports = Ports::of_site(site);
            let backends = shares.into_iter().map(|(destination, weight)| {
                (targets::backend(destination, namespace, ports, view), weight)
            });
            let origin = Origin::new(object.clone(), format!("tcp[{at}]"));
            let last = source.is_any();
            found.push(Wanted { source, backends: backends.collect(), origin });
            if last {
                return found;
            }
        }
    }
    // Server names are not looked at yet, so no rule for one can be said not to hold.
    for (at, rule) in service.spec.tls.iter().enumerate() {
        let matches = rule.get("match").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for Alternative { source, .. } in alternatives(matches, namespace, site) {
            let origin = Origin::new(object.clone(), format!("tls[{at}]"));
            let last = source.is_any();
            found.push(Wanted { source, backends: Vec::new(), origin });
            if last {
                return found;
            }
        }
    }
    found
}

/// One of the alternatives of a rule that may hold.
struct Alternative {
    /// For which clients.
    source: SourceMatch,
    /// Whether it holds for them for sure: it has no condition that is not honoured yet.
    known: bool,
}

/// Conditions that are decided here and by the proxy; they are spelled as those of HTTP rules.
const DECIDED: &[&str] = &["port", "sourceLabels", "sourceNamespace", "gateways"];

/// The alternatives that may hold at `site`; those of which it is not known come first.
fn alternatives(matches: &[Value], namespace: &str, site: &Site<'_>) -> Vec<Alternative> {
    if matches.is_empty() {
        return vec![Alternative { source: SourceMatch::default(), known: true }];
    }
    let read = |one: &Value| match serde_json::from_value::<HttpMatch>(one.clone()) {
        Ok(decided) => rules::applies(&decided, namespace, site).then(|| Alternative {
            source: conditions::source(&decided.source_labels),
            known: has_only(one, DECIDED),
        }),
        Err(_) => Some(Alternative { source: SourceMatch::default(), known: false }),
    };
    let mut found: Vec<_> = matches.iter().filter_map(read).collect();
    found.sort_by_key(|one| one.known);
    found
}

fn has_only(one: &Value, known: &[&str]) -> bool {
    one.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str())))
}

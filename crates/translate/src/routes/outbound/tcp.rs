//! Connections by address: which host is behind one, and where its bytes go.

use std::{net::SocketAddr, sync::Arc};

use weft_api::{Key, virtual_service::TcpRoute};
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
        rules::{
            self, Site,
            alternatives::{ConnectionAlternative, ConnectionList},
            targets::{self, Ports},
        },
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
    let rank = definition.rank(site.port);
    for one in &chosen.used {
        match one.is_closed(rank) {
            true => wanted.push(Wanted {
                source: SourceMatch::default(),
                backends: Vec::new(),
                origin: Origin::new(one.key.to_string(), ""),
            }),
            false => wanted.extend(of_rules(&one.key, site, view)),
        }
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
fn of_rules(key: &Key, site: &Site<'_>, view: &View<'_>) -> Vec<Wanted> {
    let mut found = Vec::new();
    let (Some(service), Some(summary)) =
        (view.virtual_service(key), view.virtual_service_summary(key))
    else {
        return found;
    };
    for one in summary.for_connections.at(site.port, &site.group.namespace) {
        let ConnectionAlternative { list, rule, source, is_decided } = one;
        let (field, backends) = match list {
            ConnectionList::Tcp => {
                let is_open = *is_decided
                    && !summary.tcp_beyond.bound.contains(rule)
                    && service.spec.closed.is_empty();
                let written = service.spec.tcp.get(*rule).filter(|_| is_open);
                ("tcp", written.map_or(Vec::new(), |rule| backends_of(key, rule, site, view)))
            }
            ConnectionList::Tls => ("tls", Vec::new()),
        };
        let origin = Origin::new(rules::object(service), format!("{field}[{rule}]"));
        found.push(Wanted { source: source.clone(), backends, origin });
        if source.is_any() {
            break;
        }
    }
    found
}

/// Where `rule` of the virtual service called `key` sends connections; nowhere if it is broken.
fn backends_of(
    key: &Key,
    rule: &TcpRoute,
    site: &Site<'_>,
    view: &View<'_>,
) -> Vec<(BackendRef, u32)> {
    let written: Vec<_> = rule.route.iter().map(|one| (&one.destination, one.weight)).collect();
    let shares = targets::shares(&written).unwrap_or_default().into_iter();
    let ports = Ports::of_site(site);
    let backend = |destination| targets::backend(destination, &key.namespace, ports, view);
    shares.map(|(_, destination, weight)| (backend(destination), weight)).collect()
}

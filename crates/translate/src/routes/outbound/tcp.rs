//! Connections by address: which host is behind one, and where its bytes go.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use weft_api::{Key, virtual_service::ConnectionRoute};
use weft_config::{Origin, Resource, SourceMatch, TcpTarget};

use crate::{
    Group,
    closure::Closure,
    clusters::{
        backends::{self, BackendRef},
        endpoints,
    },
    graph::view::View,
    model::{
        protocol::Spoken,
        registry::{self, Definition, Port},
        sight::{self, Sight},
    },
    routes::{
        foreign::{self, RuleKind},
        rules::{
            self, Site,
            alternatives::{ConnectionAlternative, ConnectionCondition},
            targets::{self, Ports},
        },
    },
};

/// The host, and its port, that decides about connections to `address`; none when it
/// is not the address that decides.
///
/// Where an object that is no Service speaks HTTP, it decides too, though proxies ask by Host
/// there: one that asks by address does so for another object, which does not take it.
pub(super) fn behind(
    address: SocketAddr,
    group: &Group,
    view: &View<'_>,
) -> Option<(Arc<Definition>, Port)> {
    let (ip, number) = (address.ip(), address.port());
    if sight::is_of_services(ip, view) {
        return behind_services(address, group, view);
    }
    let sight = Sight::of(group);
    let of = |definition: Arc<Definition>| {
        let port = definition.port(number).cloned();
        port.map(|port| (definition, port))
    };
    if let Some(first) = sight::first_at(ip, sight, view).remove(&number) {
        return of(first);
    }
    let around = view.definitions_around(ip).into_iter();
    let around = around.filter(|one| sight.sees(one, Some(number), view));
    let first = |one: Arc<Definition>| sight::first_host_of(&one.owner, Some(number), sight, view);
    let (definition, port) = around.filter_map(first).find_map(of)?;
    (!port.spoken.is_http()).then_some((definition, port))
}

/// The same for an address of Services.
fn behind_services(
    address: SocketAddr,
    group: &Group,
    view: &View<'_>,
) -> Option<(Arc<Definition>, Port)> {
    let sight = Sight::of(group);
    let at = |definition: Arc<Definition>| {
        let port = definition.port(address.port()).filter(|port| !port.spoken.is_http());
        let port = port.filter(|port| sight.sees(&definition, Some(port.number), view));
        port.cloned().map(|port| (definition, port))
    };
    let named = view.definitions_at(address.ip()).into_iter();
    let found = named.filter(|one| one.is_service()).find_map(at);
    found.or_else(|| {
        registry::with_endpoint(address.ip(), view).into_iter().find_map(|(definition, slices)| {
            let port = endpoints::behind(address, &definition, &slices);
            let port = port.filter(|port| sight.sees(&definition, Some(port.number), view));
            let port = port.filter(|_| definition.is_headless()).cloned();
            port.map(|port| (definition, port))
        })
    })
}

/// The host called `name`, to which the server name of TLS leads on the port of `site`: a Service,
/// else what another object says.
pub(super) fn called(name: &str, site: &Site<'_>, view: &View<'_>) -> Option<Arc<Definition>> {
    let sight = Sight::of(site.group);
    let full = registry::spelled(name, &site.group.namespace, view.installation());
    let names = full.iter().map(String::as_str).chain([name]);
    let mut all = names.filter_map(|name| sight::definition(name, Some(site.port), sight, view));
    all.find(|definition| {
        sight.sees(definition, Some(site.port), view)
            && definition.ports_by_server_name().any(|port| port.number == site.port)
    })
}

/// Where the bytes of connections to a host go: where its virtual services say, else to itself.
/// The last target is for every client.
pub(super) fn targets(
    definition: &Definition,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Vec<TcpTarget> {
    let kind = match definition.port(site.port).map(|port| port.spoken) {
        Some(Spoken::Tls) => RuleKind::Tls,
        _ => RuleKind::Tcp,
    };
    let mut wanted: Vec<Wanted> = Vec::new();
    let is_complete = |wanted: &[Wanted]| wanted.last().is_some_and(Wanted::is_for_everything);
    let chosen = foreign::chosen_by(&definition.host, site.group, kind, view);
    closure.leave_out(&chosen.left_out);
    let rank = definition.rank(site.port);
    for one in &chosen.used {
        match one.is_closed(rank) {
            true => wanted.push(Wanted::closed(Origin::new(one.key.to_string(), ""))),
            false => wanted.extend(of_rules(&one.key, kind, site, view)),
        }
        if is_complete(&wanted) {
            break;
        }
    }
    if kind == RuleKind::Tls && !is_complete(&wanted) {
        others_leave(&mut wanted);
    }
    if !is_complete(&wanted) {
        let own = BackendRef { host: definition.host.clone(), port: site.port, subset: None };
        let origin = Origin::new(definition.owner.to_string(), "");
        wanted.push(Wanted { to: To::Backends(vec![(own, 1)]), ..Wanted::closed(origin) });
    }
    wanted.into_iter().map(|one| one.target(site, view, closure)).collect()
}

/// Where a host has rules by server name, connections that none of them is for go where those go
/// that the mesh knows nothing of, as in Istio: of each client whose labels some rule is for.
fn others_leave(wanted: &mut Vec<Wanted>) {
    let mut known = BTreeSet::new();
    let rules = wanted.iter().filter(|one| !one.condition.is_any());
    let mut others: Vec<_> = rules
        .filter(|one| known.insert(&one.source.labels))
        .map(|one| {
            let origin = Origin::new(one.origin.object.clone(), "");
            Wanted { source: one.source.clone(), to: To::Outside, ..Wanted::closed(origin) }
        })
        .collect();
    // Those for clients with whatever labels come last.
    others.sort_by_key(|one| one.source.is_any());
    wanted.extend(others);
}

/// Where a rule sends the connections of some clients.
struct Wanted {
    source: SourceMatch,
    condition: ConnectionCondition,
    to: To,
    origin: Origin,
}

/// Where connections go.
enum To {
    /// To these, by weight; nowhere without one.
    Backends(Vec<(BackendRef, u32)>),
    /// Where those go that the mesh knows nothing of.
    Outside,
}

impl Wanted {
    /// Closes every connection.
    fn closed(origin: Origin) -> Self {
        let (source, condition) = (SourceMatch::default(), ConnectionCondition::default());
        Self { source, condition, to: To::Backends(Vec::new()), origin }
    }

    fn is_for_everything(&self) -> bool {
        self.source.is_any() && self.condition.is_any()
    }

    /// What the proxy does; the backends are added.
    fn target(self, site: &Site<'_>, view: &View<'_>, closure: &mut Closure) -> TcpTarget {
        let Self { source, condition, to, origin } = self;
        let ConnectionCondition { hello, destinations } = condition;
        let (backends, outside) = match to {
            To::Backends(wanted) => (relayed_to(&wanted, site, view, closure), false),
            To::Outside => (Vec::new(), true),
        };
        TcpTarget { source, hello, destinations, backends, outside, origin }
    }
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

/// Where the rules of `kind` for `site` send connections, up to the first that is for all of them.
/// One of which it is not known what it is for closes them all.
fn of_rules(key: &Key, kind: RuleKind, site: &Site<'_>, view: &View<'_>) -> Vec<Wanted> {
    let mut found = Vec::new();
    let (Some(service), Some(summary)) =
        (view.virtual_service(key), view.virtual_service_summary(key))
    else {
        return found;
    };
    let (field, rules, alternatives, beyond) = match kind {
        RuleKind::Tls => ("tls", &service.spec.tls, &summary.for_server_names, &summary.tls_beyond),
        RuleKind::Http | RuleKind::Tcp => {
            ("tcp", &service.spec.tcp, &summary.for_connections, &summary.tcp_beyond)
        }
    };
    let origin = |rule| Origin::new(rules::object(service), format!("{field}[{rule}]"));
    for one in alternatives.at(site.port, &site.group.namespace) {
        let ConnectionAlternative { rule, source, condition, is_decided } = one;
        let Ok(condition) = condition else { return vec![Wanted::closed(origin(*rule))] };
        let is_bounded = !beyond.bound.contains(rule);
        let is_open = is_bounded && *is_decided && service.spec.closed.is_empty();
        let written = rules.get(*rule).filter(|_| is_open);
        let backends = written.map_or(Vec::new(), |rule| backends_of(key, rule, site, view));
        let (source, condition) = (source.clone(), condition.clone());
        found.push(Wanted { source, condition, to: To::Backends(backends), origin: origin(*rule) });
    }
    if let Some(last) = found.iter().position(Wanted::is_for_everything) {
        found.truncate(last + 1);
    }
    found
}

/// Where `rule` of the virtual service called `key` sends connections; nowhere if it is broken.
fn backends_of(
    key: &Key,
    rule: &ConnectionRoute,
    site: &Site<'_>,
    view: &View<'_>,
) -> Vec<(BackendRef, u32)> {
    let written: Vec<_> = rule.route.iter().map(|one| (&one.destination, one.weight)).collect();
    let shares = targets::shares(&written).unwrap_or_default().into_iter();
    let ports = Ports::of_site(site);
    let backend = |destination| targets::backend(destination, &key.namespace, ports, view);
    shares.map(|(_, destination, weight)| (backend(destination), weight)).collect()
}

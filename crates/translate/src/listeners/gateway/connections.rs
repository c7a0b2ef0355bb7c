//! What a gateway passes on without reading it: TLS by server name, and bytes.
//!
//! A server name that several virtual services have is the oldest one's. What cannot be passed on
//! is closed, and a wider name does not take it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use weft_api::{
    gateway::Reading,
    selector::selects,
    virtual_service::{ConnectionMatch, ConnectionRoute, VirtualService},
};
use weft_config::{HelloMatch, Host, Origin, Protocol, Server, TcpTarget};

use super::{
    Bound, Served,
    budget::{Budget, HOST},
    routes::Attached,
    served,
};
use crate::{
    Group,
    clusters::backends::BackendRef,
    graph::view::View,
    model::hosts::HostSet,
    routes::{
        foreign::RuleKind,
        rules::{
            self, Site, alternatives,
            targets::{self, Ports},
        },
        virtual_services,
    },
};

/// What is passed on at a place of a gateway.
#[derive(Default)]
pub(super) struct Relays {
    /// The servers, each for some names; one for every connection where names are not read.
    pub(super) servers: Vec<Server>,
    /// The backends that they name.
    pub(super) backends: BTreeSet<BackendRef>,
    /// Whether something is passed on.
    is_open: bool,
}

/// Names that all `tls` conditions of a virtual service may be for together.
const MATCHED: usize = 1 << 16;

/// What is passed on for `bound`, servers of Gateways that have one port, the older ones first; the
/// places where something is.
pub(super) fn of_port<'g>(
    bound: &[Bound<'g>],
    group: &Group,
    view: &View<'g>,
    budget: &mut Budget<'g>,
) -> BTreeMap<SocketAddr, Relays> {
    let mut port = Passing::default();
    // Servers of a Gateway at one place are one list of hosts.
    let same = |one: &Bound<'_>, next: &Bound<'_>| {
        one.key() == next.key()
            && (one.at, one.server.port.number) == (next.at, next.server.port.number)
            && one.server.reading() == next.server.reading()
    };
    let mut ended = Vec::new();
    for servers in bound.chunk_by(same) {
        let [one, ..] = servers else { continue };
        let is_whole = budget.may_listen(one.at, servers)
            && match one.server.reading() {
                Some(Reading::ServerName) => port.add_names(servers, group, (view, budget)),
                Some(Reading::Tcp) => {
                    port.add_bytes(servers, group, (view, budget));
                    true
                }
                // TLS that would end here is for nobody else.
                _ => {
                    port.close(servers, view);
                    true
                }
            };
        ended.extend((!is_whole).then_some(servers));
    }
    // What there is too much of is closed where nothing else is.
    ended.into_iter().for_each(|servers| port.close(servers, view));
    let mut places = port.places;
    places.retain(|_, relays| relays.is_open);
    places
}

/// What is passed on, on a port.
#[derive(Default)]
struct Passing {
    places: BTreeMap<SocketAddr, Relays>,
    /// Names that have a server, by the address; what an older one has at every address, a younger
    /// one at one address does not take.
    taken: BTreeSet<(IpAddr, String)>,
}

impl Passing {
    /// Adds what virtual services say about server names for the hosts of `servers`, which are of
    /// one Gateway and port; returns whether that is not too much.
    fn add_names<'g>(
        &mut self,
        servers: &[Bound<'g>],
        group: &Group,
        (view, budget): (&View<'g>, &mut Budget<'g>),
    ) -> bool {
        let [one, ..] = servers else { return true };
        let site = site(one, group);
        let all = servers.iter().map(|one| one.server);
        let admitted = Served::new(one.gateway, all, view.installation());
        let gateway = one.key();
        let attached = budget.bound_to(gateway, || Attached::all(gateway, &group.namespace, view));
        let mut is_whole = true;
        for Attached { service, .. } in attached.iter().filter(|one| has(one, RuleKind::Tls)) {
            // What is read is paid first.
            let namespace = service.metadata.namespace.as_str();
            let bytes = rules_size(service, RuleKind::Tls, view);
            let cost = bytes + HOST * service.spec.hosts.len();
            let turn = budget.begin(service, one.at);
            if !turn.is_some_and(|turn| budget.charge(turn, cost)) {
                is_whole = false;
                continue;
            }
            let named = served::hosts_of(service, view.installation());
            budget.add_hosts(namespace, named.len());
            let most = named.len().saturating_add(budget.coverable(namespace));
            let hosts = admitted.common(&named, namespace, most);
            if !budget.may_cover(service, one.at, hosts.len().saturating_sub(named.len())) {
                is_whole = false;
                continue;
            }
            let common = set(&hosts);
            if !hosts.is_empty() && self.add_rules(one, (service, &common), &site, view).is_none() {
                // For which of these is not known.
                let origin = Origin::new(rules::object(service), "");
                self.push(one, hosts, TcpTarget { origin, ..TcpTarget::default() });
            }
        }
        is_whole
    }

    /// Adds the rules of `service` for server names within `hosts`; none where it is not known
    /// what they are for, or they are for too many.
    fn add_rules(
        &mut self,
        bound: &Bound<'_>,
        (service, hosts): (&VirtualService, &HostSet),
        site: &Site<'_>,
        view: &View<'_>,
    ) -> Option<()> {
        let summary = virtual_services::summary_of(service, view)?;
        let (mut found, mut left) = (Vec::new(), MATCHED);
        for (at, rule) in service.spec.tls.iter().enumerate() {
            let matches = rule.matches.iter().enumerate();
            for (nth, one) in matches.filter(|(_, one)| applies(one, service, site)) {
                alternatives::connection_condition(one, nth, RuleKind::Tls).ok()?;
                let names = one.sni_hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
                let mut common = BTreeSet::new();
                set(&names).common(hosts, left, &mut common);
                left = left.checked_sub(common.len())?;
                let is_open =
                    !summary.tls_beyond.bound.contains(&at) && one.source_subnet.is_none();
                found.push((at, common, is_open.then_some(rule)));
            }
            if rule.matches.is_empty() {
                return None;
            }
        }
        for (at, names, rule) in found {
            let target = self.target(bound.at, (service, "tls", at), rule, (site, view));
            self.push(bound, names, target);
        }
        Some(())
    }

    /// Adds where the first virtual service sends all bytes that has a rule for that.
    fn add_bytes<'g>(
        &mut self,
        servers: &[Bound<'g>],
        group: &Group,
        (view, budget): (&View<'g>, &mut Budget<'g>),
    ) {
        let [one, ..] = servers else { return };
        let site = site(one, group);
        let all = servers.iter().map(|one| one.server);
        let admitted = Served::new(one.gateway, all, view.installation());
        let gateway = one.key();
        let attached = budget.bound_to(gateway, || Attached::all(gateway, &group.namespace, view));
        let places = [one.at, super::anywhere(one.at.port())];
        for Attached { service, .. } in attached.iter().filter(|one| has(one, RuleKind::Tcp)) {
            if places.iter().any(|at| self.places.get(at).is_some_and(|relays| relays.is_open)) {
                break;
            }
            let bytes = rules_size(service, RuleKind::Tcp, view);
            let cost = bytes + HOST * service.spec.hosts.len();
            let turn = budget.begin(service, one.at);
            let may = turn.is_some_and(|turn| budget.charge(turn, cost));
            let named = served::hosts_of(service, view.installation());
            let is_for = |rule: &ConnectionRoute| {
                let mut matches = rule.matches.iter();
                rule.matches.is_empty() || matches.any(|one| applies(one, service, &site))
            };
            let first = service.spec.tcp.iter().position(is_for);
            let Some(at) = first.filter(|_| admitted.serves(&named, &service.metadata.namespace))
            else {
                continue;
            };
            let summary = virtual_services::summary_of(service, view);
            let is_beyond = summary.is_none_or(|one| one.tcp_beyond.bound.contains(&at));
            let rule = service.spec.tcp.get(at).filter(|rule| {
                let is_known = rule.matches.iter().all(|one| one.source_subnet.is_none());
                may && !is_beyond && is_known
            });
            let target = self.target(one.at, (service, "tcp", at), rule, (&site, view));
            let relays = self.places.entry(one.at).or_default();
            relays.is_open = true;
            relays.servers.push(server(one, None, target));
        }
    }

    /// Where `rule` of a virtual service sends connections; nowhere without it.
    fn target(
        &mut self,
        place: SocketAddr,
        (service, list, at): (&VirtualService, &str, usize),
        rule: Option<&ConnectionRoute>,
        (site, view): (&Site<'_>, &View<'_>),
    ) -> TcpTarget {
        let origin = Origin::new(rules::object(service), format!("{list}[{at}]"));
        let route = rule.filter(|_| service.spec.closed.is_empty()).map(|rule| &rule.route);
        let written: Vec<_> =
            route.into_iter().flatten().map(|one| (&one.destination, one.weight)).collect();
        let shares = targets::shares(&written).unwrap_or_default();
        let (namespace, ports) = (&service.metadata.namespace, Ports::of_site(site));
        let relays = self.places.entry(place).or_default();
        let backends = shares.into_iter().map(|(_, destination, weight)| {
            let backend = targets::backend(destination, namespace, ports, view);
            let name = backend.name();
            relays.backends.insert(backend);
            (name, weight)
        });
        TcpTarget { backends: backends.collect(), origin, ..TcpTarget::default() }
    }

    /// Adds a server for those of `names` that have none; it is closed where `target` leads nowhere.
    fn push(&mut self, bound: &Bound<'_>, names: BTreeSet<String>, target: TcpTarget) {
        let everywhere = super::anywhere(bound.at.port()).ip();
        let names = names.into_iter().filter(|name| {
            !self.taken.contains(&(everywhere, name.clone()))
                && self.taken.insert((bound.at.ip(), name.clone()))
        });
        let names: Vec<Host> = names.filter_map(|name| Host::parse(&name).ok()).collect();
        if names.is_empty() {
            return;
        }
        let relays = self.places.entry(bound.at).or_default();
        relays.is_open |= !target.backends.is_empty();
        let hello = HelloMatch { names, protocols: Vec::new() };
        relays.servers.push(server(bound, Some(hello), target));
    }

    /// Closes the hosts of `servers` that have no server.
    fn close(&mut self, servers: &[Bound<'_>], view: &View<'_>) {
        for one in servers.iter().filter(|one| one.server.reading() != Some(Reading::Tcp)) {
            let hosts = one.server.hosts.iter().map(|entry| {
                let host = entry.split_once('/').map_or(entry.as_str(), |(_, host)| host);
                view.installation().resolve(host, &one.gateway.metadata.namespace)
            });
            let target = TcpTarget { origin: one.origin(), ..TcpTarget::default() };
            self.push(one, hosts.collect(), target);
        }
    }
}

/// Where the rules for `bound` are used.
fn site<'a>(bound: &Bound<'a>, group: &'a Group) -> Site<'a> {
    Site { group, gateway: Some(bound.key()), port: bound.server.port.number }
}

/// Whether a virtual service has rules of `kind`.
fn has(attached: &Attached<'_>, kind: RuleKind) -> bool {
    match kind {
        RuleKind::Http => !attached.service.spec.http.is_empty(),
        RuleKind::Tcp => !attached.service.spec.tcp.is_empty(),
        RuleKind::Tls => !attached.service.spec.tls.is_empty(),
    }
}

/// Whether an alternative is used at `site`. Where clients dialled is the gateway's own address, so
/// that ranges of it say nothing there.
fn applies(one: &ConnectionMatch, service: &VirtualService, site: &Site<'_>) -> bool {
    one.port.is_none_or(|port| port == site.port)
        && one.source_namespace.as_ref().is_none_or(|wanted| *wanted == site.group.namespace)
        && site.group.labels.as_ref().is_none_or(|own| selects(&one.source_labels, own))
        && rules::for_gateway(&one.gateways, &service.metadata.namespace, site)
}

/// About how many bytes the rules of `service` are.
fn rules_size(service: &VirtualService, kind: RuleKind, view: &View<'_>) -> usize {
    let summary = virtual_services::summary_of(service, view);
    summary.map_or(0, |summary| summary.rules_size(kind).bytes)
}

fn set(hosts: &BTreeSet<String>) -> HostSet {
    let mut set = HostSet::default();
    hosts.iter().for_each(|host| set.insert(host));
    set
}

fn server(bound: &Bound<'_>, hello: Option<HelloMatch>, target: TcpTarget) -> Server {
    let (kind, tcp) = match (&hello, target.backends.is_empty()) {
        (Some(_), true) => ("tls", Vec::new()),
        (Some(_), false) => ("tls", vec![target.clone()]),
        (None, _) => ("tcp", vec![target.clone()]),
    };
    let name = match target.origin.rule.is_empty() {
        true => format!("{kind}.{}/{}", bound.at.port(), target.origin.object),
        false => {
            format!("{kind}.{}/{}/{}", bound.at.port(), target.origin.object, target.origin.rule)
        }
    };
    Server {
        name,
        port: None,
        hello,
        protocol: Protocol::Tcp,
        routes: Vec::new(),
        tcp,
        edge: true,
        origin: bound.origin(),
    }
}

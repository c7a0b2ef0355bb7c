//! The routes of a gateway: which rules decide for which hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
};

use weft_api::{gateway, virtual_service::VirtualService};
use weft_config::{Action, Host, Origin, Route, Rule};

use super::{Bound, Served, common_hosts, redirects};
use crate::{
    Group, Installation,
    age::Age,
    backends::BackendRef,
    hosts::HostIndex,
    mesh::Mesh,
    rules::{self, Rules, Site},
    view::View,
    virtual_services,
};

/// Bytes of rules that the virtual services of a namespace may have at a place more than
/// once, because they share some of their hosts with others and not all: so many, and
/// [`TIMES`] times what they have once.
const REPEATED: usize = 16 << 20;
/// See [`REPEATED`].
const TIMES: usize = 4;

/// A route, and the backends that its rules name.
pub(super) struct Joined {
    pub(super) route: Route,
    pub(super) backends: BTreeSet<BackendRef>,
}

/// What one virtual service says for a place, as one of the Gateways there has it.
struct Said<'g> {
    service: &'g VirtualService,
    rules: Rules,
    /// Of the rules, in bytes.
    size: usize,
}

impl<'g> Said<'g> {
    fn namespace(&self) -> &'g str {
        &self.service.metadata.namespace
    }
}

/// The routes of a place: for every host the rules of all virtual services that speak
/// for it there in their order, rules that take everything last. Hosts for which the
/// same virtual services speak share a route.
pub(super) fn of_place(
    at: SocketAddr,
    bound: &[Bound<'_>],
    group: &Group,
    mesh: &Mesh,
    view: &View<'_>,
) -> Vec<Joined> {
    let mut by_host: BTreeMap<String, Vec<Rc<Said<'_>>>> = BTreeMap::new();
    let mut joined = BTreeSet::new();
    // Servers of a Gateway on one port are one list of hosts.
    let mut servers: Vec<(&Bound<'_>, Vec<&gateway::Server>)> = Vec::new();
    for one in bound {
        let number = one.server.port.number;
        let same = |(first, _): &&mut (&Bound<'_>, Vec<_>)| {
            first.key() == one.key() && first.server.port.number == number
        };
        match servers.last_mut().filter(same) {
            Some((_, servers)) => servers.push(one.server),
            None => servers.push((one, vec![one.server])),
        }
    }
    for (one, servers) in servers {
        let gateway = one.key();
        let site = Site { group, gateway: Some(gateway), port: one.server.port.number };
        let served = Served::new(one.gateway, servers.into_iter(), view.installation());
        for service in view.bound_to(gateway.0, gateway.1) {
            if !virtual_services::seen(service, group, mesh) {
                continue;
            }
            let own = (service.metadata.namespace.as_str(), service.metadata.name.as_str());
            let hosts = common_hosts(&served, service);
            let hosts = hosts.into_iter().filter(|host| joined.insert((host.clone(), own)));
            let hosts: Vec<String> = hosts.collect();
            let rules = match hosts.is_empty() {
                true => continue,
                false => rules::http(service, &site, mesh, view),
            };
            if rules.is_empty() {
                // Another Gateway may have rules of it.
                for host in hosts {
                    joined.remove(&(host, own));
                }
                continue;
            }
            let size = rules.rules.iter().map(size_of).sum();
            let said = Rc::new(Said { service, rules, size });
            for host in hosts {
                by_host.entry(host).or_default().push(Rc::clone(&said));
            }
        }
    }
    let redirected = redirected(bound, by_host.keys(), view.installation());
    by_host.retain(|host, _| !redirected.contains_key(host));
    let closed = redirected.into_iter().filter_map(|(host, origin)| {
        let hosts = vec![Host::parse(&host).ok()?];
        Some(closed(name(at, &host), hosts, "not_honoured_yet", origin))
    });
    let shared = shared(by_host, group, mesh);
    within_bound(at, shared).into_iter().chain(closed).collect()
}

/// Hosts for which the same virtual services speak, with these in their order.
struct Shared<'g> {
    hosts: Vec<String>,
    said: Vec<Rc<Said<'g>>>,
}

/// Groups hosts; in order of their youngest virtual services, the oldest first.
fn shared<'g>(
    by_host: BTreeMap<String, Vec<Rc<Said<'g>>>>,
    group: &Group,
    mesh: &Mesh,
) -> Vec<Shared<'g>> {
    let mut by_services: BTreeMap<Vec<*const Said<'g>>, Shared<'g>> = BTreeMap::new();
    for (host, mut said) in by_host {
        said.sort_by_cached_key(|said| virtual_services::order(said.service, group, mesh));
        let services = said.iter().map(Rc::as_ptr).collect();
        let empty = || Shared { hosts: Vec::new(), said };
        by_services.entry(services).or_insert_with(empty).hosts.push(host);
    }
    let mut shared: Vec<Shared<'g>> = by_services.into_values().collect();
    shared.sort_by_cached_key(|shared| {
        let ages = shared.said.iter().map(|said| Age::of(&said.service.metadata));
        (ages.max(), shared.hosts.first().cloned())
    });
    shared
}

/// The routes of groups of hosts. A virtual service that repeats more than its namespace
/// may has one rule in the place of its own: behind those of the others, and closed.
fn within_bound(at: SocketAddr, shared: Vec<Shared<'_>>) -> Vec<Joined> {
    let mut budget = Budget::of(&shared);
    let routes = shared.into_iter().filter_map(|Shared { hosts, said }| {
        let name = name(at, hosts.first()?);
        let origin = Origin::new(rules::object(said.first()?.service), "");
        let hosts: Vec<Host> = hosts.iter().filter_map(|host| Host::parse(host).ok()).collect();
        if hosts.is_empty() {
            return None;
        }
        let mut joined = Rules::default();
        let mut last = None;
        for said in said {
            if budget.has(&said) {
                joined.rules.extend(said.rules.rules.iter().cloned());
                joined.backends.extend(said.rules.backends.iter().cloned());
            } else {
                let origin = Origin::new(rules::object(said.service), "");
                last.get_or_insert_with(|| closed_rule("too_many_rules", origin));
            }
        }
        let Rules { mut rules, backends } = joined;
        rules.sort_by_key(|rule| rules::takes_all(&rule.conditions));
        rules.extend(last);
        Some(Joined { route: Route { name, hosts, rules, origin }, backends })
    });
    routes.collect()
}

/// What the virtual services of each namespace may still repeat.
struct Budget<'g> {
    left: BTreeMap<&'g str, usize>,
    seen: BTreeSet<*const Said<'g>>,
}

impl<'g> Budget<'g> {
    fn of(shared: &[Shared<'g>]) -> Self {
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for said in shared.iter().flat_map(|shared| &shared.said) {
            if seen.insert(Rc::as_ptr(said)) {
                *left.entry(said.namespace()).or_insert(REPEATED) += TIMES * said.size;
            }
        }
        Self { left, seen: BTreeSet::new() }
    }

    /// Whether `said` may stand at one more place.
    fn has(&mut self, said: &Rc<Said<'g>>) -> bool {
        if self.seen.insert(Rc::as_ptr(said)) {
            return true;
        }
        let Some(left) = self.left.get_mut(said.namespace()) else { return false };
        let after = left.checked_sub(said.size);
        *left = after.unwrap_or(*left);
        after.is_some()
    }
}

/// Hosts that clients must be sent to TLS for, and whose server says so. Until Weft can,
/// they are closed: what was to be encrypted is not served in plaintext.
fn redirected<'h>(
    bound: &[Bound<'_>],
    known: impl Iterator<Item = &'h String>,
    installation: &Installation,
) -> BTreeMap<String, Origin> {
    let mut own = BTreeMap::new();
    let mut index: HostIndex<Option<Origin>> = HostIndex::default();
    for one in bound.iter().filter(|one| redirects(one.server)) {
        for entry in &one.server.hosts {
            let host = entry.split_once('/').map_or(entry.as_str(), |(_, host)| host);
            let host = installation.resolve(host, &one.gateway.metadata.namespace);
            index.entry(&host).get_or_insert_with(|| one.origin());
            own.entry(host).or_insert_with(|| one.origin());
        }
    }
    for host in known {
        if let Some(origin) = index.covering(host).flatten().next() {
            own.entry(host.clone()).or_insert_with(|| origin.clone());
        }
    }
    own
}

/// A route whose hosts answer 500.
fn closed(name: String, hosts: Vec<Host>, details: &str, origin: Origin) -> Joined {
    let rules = vec![closed_rule(details, origin.clone())];
    Joined { route: Route { name, hosts, rules, origin }, backends: BTreeSet::new() }
}

/// A rule that answers 500 to every request.
fn closed_rule(details: &str, origin: Origin) -> Rule {
    Rule::always(Action::respond(500, details), origin)
}

fn name(at: SocketAddr, host: &str) -> String {
    // With the address when it is a certain one.
    match at.ip().is_unspecified() {
        true => format!("http.{}/{host}", at.port()),
        false => format!("http.{at}/{host}"),
    }
}

/// The size of a rule's JSON, in bytes.
fn size_of(rule: &Rule) -> usize {
    serde_json::to_vec(rule).map_or(0, |text| text.len())
}

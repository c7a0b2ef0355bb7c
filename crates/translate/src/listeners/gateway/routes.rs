//! The routes of a gateway: which rules decide for which hosts.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use weft_api::{Key, Kind, virtual_service::VirtualService};
use weft_config::{Action, Host, Origin, Redirect, Route, Rule, RuleList};

use super::{
    Bound, Served,
    budget::{Budget, HOST, READ},
    redirects, served,
    shared::{Everywhere, Shared},
};
use crate::{
    Group, Installation,
    clusters::backends::BackendRef,
    graph::view::View,
    ingresses,
    model::{age::Age, hosts::HostIndex, mesh_config::Mesh, visibility::Reach},
    routes::rules::{self, Rules, Site, TOO_MANY_PORTS},
};

/// What is served on a port.
pub(super) struct Port {
    pub(super) routes: Vec<Route>,
    /// The lists that the routes name.
    pub(super) lists: Vec<RuleList>,
    /// The backends that their rules name.
    pub(super) backends: BTreeSet<BackendRef>,
}

/// A virtual service that is bound to a Gateway, and that the gateway sees.
pub(super) struct Attached<'g> {
    pub(super) service: &'g VirtualService,
    /// See [`rules::named`].
    named: usize,
    order: Order,
}

/// The place of a virtual service among those for one host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    reach: Reach,
    age: Age,
}

impl<'g> Attached<'g> {
    /// Those that name the Gateway, which clients in `namespace` see, the older ones first.
    pub(super) fn all(gateway: (&str, &str), namespace: &str, view: &View<'g>) -> Vec<Self> {
        let attached = view.bound_to(gateway.0, gateway.1).into_iter().filter_map(|key| {
            let summary = view.virtual_service_summary(&key)?;
            let order = Order { reach: summary.reach(namespace)?, age: summary.age.clone() };
            Some(Self { service: view.virtual_service(&key)?, named: summary.named, order })
        });
        // What there is too much of is of the younger ones.
        let mut attached: Vec<Self> = attached.collect();
        attached.sort_by(|one, other| one.order.age.cmp(&other.order.age));
        attached
    }
}

/// What one virtual service says for a place, as one of the Gateways there has it.
pub(super) struct GatewayRules<'g> {
    service: &'g VirtualService,
    /// A number that no other has on the port.
    id: usize,
    order: Order,
    /// Its rules, but for those that take everything.
    rules: RuleList,
    /// Those that take everything: they come behind the rules of others.
    last: RuleList,
    backends: BTreeSet<BackendRef>,
}

impl<'g> GatewayRules<'g> {
    /// What `service` says with `rules` at `at`, as `gateway` has it.
    fn new(
        (id, service, order): (usize, &'g VirtualService, Order),
        at: SocketAddr,
        site: &Site<'_>,
        rules: Rules,
    ) -> Self {
        let Rules { mut rules, backends, takes_all } = rules;
        let own = &service.metadata;
        let (namespace, name) = site.gateway.unwrap_or_default();
        // Ports of a Gateway may lead to one of the pod.
        let gateway = format!("{namespace}/{name}:{}", site.port);
        let name = format!("{}/{gateway}/{}/{}", place(at), own.namespace, own.name);
        let last = rules.split_off(rules.len() - usize::from(takes_all));
        let last = RuleList { name: format!("last/{name}"), rules: last };
        Self { service, id, order, rules: RuleList { name, rules }, last, backends }
    }

    /// Namespace and name of the virtual service.
    pub(super) fn named(&self) -> (&'g str, &'g str) {
        (&self.service.metadata.namespace, &self.service.metadata.name)
    }

    /// Those of its lists that have rules.
    fn lists(&self) -> impl Iterator<Item = &RuleList> {
        [&self.rules, &self.last].into_iter().filter(|list| !list.rules.is_empty())
    }

    fn key(&self) -> Key {
        let own = &self.service.metadata;
        Key::new(Kind::VirtualService, &*own.namespace, &*own.name)
    }
}

/// What is said on a port, by host.
#[derive(Default)]
struct ByHost<'s, 'g> {
    /// What is said there, too, since it is said at every address.
    everywhere: Option<&'s Everywhere<'g>>,
    /// Hosts whose clients the Gateways there send to TLS.
    redirects: Redirects<'g>,
    /// Hosts that a Gateway does not serve there, since it sends their clients to TLS.
    redirected: BTreeMap<String, Origin>,
    said: BTreeMap<String, Vec<Rc<GatewayRules<'g>>>>,
    /// Through which Gateways the hosts are served.
    through: BTreeMap<String, Through<'g>>,
    /// How many things are said.
    count: usize,
    /// Hosts with the virtual services that have their rules for them already.
    joined: BTreeSet<(String, (&'g str, &'g str))>,
    /// Servers of which something is not served, since there would be too much of it.
    ended: Vec<Bound<'g>>,
}

/// The routes of a port: for every host the rules of all virtual services that speak
/// for it there in their order, rules that take everything last. Hosts for which the
/// same virtual services speak share a route. None when nothing may be served there.
pub(super) fn of_port<'g>(
    at: SocketAddr,
    bound: &[Bound<'g>],
    (group, mesh): (&Group, &Mesh),
    view: &View<'g>,
    (budget, shared): (&mut Budget<'g>, &mut Shared<'g>),
) -> Option<Port> {
    let everywhere = shared.at(at);
    let redirects = Redirects::new(bound, view.installation());
    let known = everywhere.map_or(0, |everywhere| everywhere.count);
    let mut by_host = ByHost { redirects, everywhere, count: known, ..ByHost::default() };
    // Servers of a Gateway on one port are one list of hosts.
    let same = |one: &Bound<'_>, next: &Bound<'_>| {
        one.key() == next.key() && one.server.port.number == next.server.port.number
    };
    for servers in bound.chunk_by(same) {
        by_host.add(servers, (group, mesh), view, budget);
    }
    let ByHost { redirects, mut redirected, mut said, through, ended, count, .. } = by_host;
    if said.is_empty() && redirected.is_empty() && ended.len() == bound.len() {
        return None;
    }
    let is_said = |host: &str| {
        said.contains_key(host) || everywhere.is_some_and(|everywhere| everywhere.says(host))
    };
    redirected.retain(|host, _| !is_said(host));
    let served = (&through, everywhere);
    redirects.add_to(served, view.installation(), &mut redirected, budget);
    let ended = hosts_of(&ended, view.installation()).into_iter();
    let ended: BTreeMap<String, Origin> =
        ended.filter(|(host, _)| !is_said(host) && !redirected.contains_key(host)).collect();
    let to_tls = (redirected, Action::Redirect(Box::new(Redirect::to_tls())));
    let closed = (ended, Action::respond(500, TOO_MANY_PORTS));
    let one_rule = |(hosts, action): (BTreeMap<String, Origin>, Action)| {
        hosts.into_iter().filter_map(move |(host, origin)| {
            let hosts = vec![Host::parse(&host).ok()?];
            Some(with_one_rule(name(at, &host), hosts, action.clone(), origin))
        })
    };
    let alone = [to_tls, closed].into_iter().flat_map(one_rule);
    let mut port = Port { routes: Vec::new(), lists: Vec::new(), backends: BTreeSet::new() };
    let all: BTreeMap<usize, &Rc<GatewayRules<'g>>> =
        said.values().flatten().map(|said| (said.id, said)).collect();
    for said in all.into_values() {
        port.lists.extend(said.lists().cloned());
        port.backends.extend(said.backends.iter().cloned());
    }
    match everywhere {
        // Its lists stand there already.
        Some(everywhere) => everywhere.join(&mut said),
        None => {
            let redirecting = redirects.hosts(view.installation());
            shared.note(at, count, (&said, &through), redirecting);
        }
    }
    let joined = by_services(said).into_iter().filter_map(|group| joined(at, group));
    port.routes = joined.chain(alone).collect();
    Some(port)
}

impl<'g> ByHost<'_, 'g> {
    /// Adds what virtual services say for `servers`, which are of one Gateway and port.
    fn add(
        &mut self,
        servers: &[Bound<'g>],
        (group, mesh): (&Group, &Mesh),
        view: &View<'g>,
        budget: &mut Budget<'g>,
    ) {
        let [one, ..] = servers else { return };
        if !budget.may_listen(one.at, servers) {
            self.ended.extend_from_slice(servers);
            return;
        }
        let gateway = one.key();
        let site = Site { group, gateway: Some(gateway), port: one.server.port.number };
        let all = servers.iter().map(|one| one.server);
        let served = Served::new(one.gateway, all, view.installation());
        let attached = budget.bound_to(gateway, || Attached::all(gateway, &group.namespace, view));
        // Namespaces that the Gateway's hosts are counted for.
        let mut admitted = BTreeSet::new();
        let mut is_whole = true;
        for Attached { service, named: read, order } in &*attached {
            let own = (service.metadata.namespace.as_str(), service.metadata.name.as_str());
            // What is read is paid first, what comes out of it afterwards.
            let turn = budget.begin(service, one.at);
            let cost = HOST * service.spec.hosts.len();
            let Some(turn) = turn.filter(|turn| budget.charge(*turn, cost)) else {
                is_whole = false;
                continue;
            };
            let named = served::hosts_of(service, view.installation());
            if admitted.insert(own.0) {
                budget.add_hosts(own.0, served.count(own.0));
            }
            budget.add_hosts(own.0, named.len());
            let most = named.len().saturating_add(budget.coverable(own.0));
            let mut hosts = served.common(&named, own.0, most);
            if !budget.may_cover(service, one.at, hosts.len().saturating_sub(named.len())) {
                is_whole = false;
                continue;
            }
            let mut names = self.retain_new(&mut hosts, own, gateway);
            if !budget.repeat(service, one.at, self.repeated(&hosts)) {
                is_whole = false;
                continue;
            }
            if !hosts.is_empty() && !budget.charge(turn, READ * read) {
                is_whole = false;
                continue;
            }
            let rules = match hosts.is_empty() {
                true => Rules::default(),
                false => rules::http(service, &site, mesh, view),
            };
            let size: usize = rules.rules.iter().map(rules::size_of).sum();
            names += hosts.iter().map(|host| HOST + host.len()).sum::<usize>();
            let said = (!rules.is_empty()).then(|| {
                let said = (self.count, *service, order.clone());
                GatewayRules::new(said, one.at, &site, rules)
            });
            let lists = said.iter().flat_map(GatewayRules::lists);
            let listed = hosts.len() * lists.map(|list| list.name.len()).sum::<usize>();
            if !budget.charge(turn, size + names + listed) || !budget.may_name(turn, listed) {
                is_whole = false;
                continue;
            }
            // Another Gateway may have rules of it.
            let Some(said) = said.map(Rc::new) else { continue };
            self.count += 1;
            for host in hosts {
                through(&mut self.through, &host, gateway);
                self.joined.insert((host.clone(), own));
                self.said.entry(host).or_default().push(Rc::clone(&said));
            }
        }
        if !is_whole {
            self.ended.extend_from_slice(servers);
        }
    }

    /// What it costs to say for `hosts` what is said at every address, too.
    fn repeated(&self, hosts: &BTreeSet<String>) -> usize {
        let everywhere = self.everywhere.into_iter();
        everywhere.flat_map(|one| hosts.iter().map(|host| one.cost(host))).sum()
    }

    /// Leaves the hosts in `hosts` that get the rules of a virtual service now, at `gateway`:
    /// they do not have them, and their clients are not sent to TLS. Returns what those cost whose
    /// clients are.
    fn retain_new(
        &mut self,
        hosts: &mut BTreeSet<String>,
        service: (&'g str, &'g str),
        gateway: (&'g str, &'g str),
    ) -> usize {
        let mut cost = 0;
        hosts.retain(|host| match self.redirects.of(gateway, host) {
            Some(origin) => {
                cost += HOST + host.len();
                self.redirected.entry(host.clone()).or_insert_with(|| origin.clone());
                false
            }
            None if !self.joined.contains(&(host.clone(), service)) => true,
            None => {
                through(&mut self.through, host, gateway);
                false
            }
        });
        cost
    }
}

/// Notes that `host` is served through `gateway`.
fn through<'g>(all: &mut BTreeMap<String, Through<'g>>, host: &str, gateway: (&'g str, &'g str)) {
    let through = Through::One(gateway);
    match all.get_mut(host) {
        Some(known) => *known = known.and(through),
        None => drop(all.insert(host.to_owned(), through)),
    }
}

/// Hosts for which the same virtual services speak, with these in their order.
struct HostGroup<'g> {
    hosts: Vec<String>,
    said: Vec<Rc<GatewayRules<'g>>>,
}

/// Groups hosts for which the same virtual services speak.
fn by_services(by_host: BTreeMap<String, Vec<Rc<GatewayRules<'_>>>>) -> Vec<HostGroup<'_>> {
    let mut by_services: BTreeMap<Vec<usize>, HostGroup<'_>> = BTreeMap::new();
    for (host, mut said) in by_host {
        said.sort_by(|one, other| one.order.cmp(&other.order));
        let services = said.iter().map(|said| said.id).collect();
        let empty = || HostGroup { hosts: Vec::new(), said };
        by_services.entry(services).or_insert_with(empty).hosts.push(host);
    }
    by_services.into_values().collect()
}

/// The route of a group of hosts: the rules of all that is said for them, those that take
/// everything last.
fn joined(at: SocketAddr, group: HostGroup<'_>) -> Option<Route> {
    let name = name(at, group.hosts.first()?);
    let origin = Origin::new(group.said.first()?.key().to_string(), "");
    let hosts = group.hosts.iter().filter_map(|host| Host::parse(host).ok());
    let hosts: Vec<Host> = hosts.collect();
    let first = group.said.iter().map(|said| &said.rules);
    let last = group.said.iter().map(|said| &said.last);
    let lists = first.chain(last).filter(|list| !list.rules.is_empty());
    let lists = lists.map(|list| list.name.clone()).collect();
    (!hosts.is_empty()).then_some(Route { name, hosts, lists, rules: Vec::new(), origin })
}

/// Hosts whose clients are sent to TLS, since servers on a port say so. The server's Gateway
/// serves them no rule there, and the redirect is theirs where no other Gateway serves this very
/// host.
#[derive(Default)]
struct Redirects<'g> {
    servers: Vec<Bound<'g>>,
    /// The hosts that they name, by Gateway.
    by_gateway: BTreeMap<(&'g str, &'g str), HostIndex<Option<Origin>>>,
    /// The same of all, with the first server that names each.
    named: BTreeMap<String, Origin>,
    /// The Gateway of Ingresses.
    of_ingresses: (&'g str, &'g str),
}

impl<'g> Redirects<'g> {
    fn new(bound: &[Bound<'g>], installation: &'g Installation) -> Self {
        let servers = bound.iter().filter(|one| redirects(one.server)).cloned();
        let of_ingresses = ingresses::gateway_name(installation);
        let mut found = Self { servers: servers.collect(), of_ingresses, ..Self::default() };
        for one in &found.servers {
            let own = found.by_gateway.entry(one.key()).or_default();
            for (host, origin) in hosts_of(std::slice::from_ref(one), installation) {
                own.entry(&host).get_or_insert_with(|| origin.clone());
                found.named.entry(host).or_insert(origin);
            }
        }
        found
    }

    /// The hosts that the servers name, with these.
    fn hosts(&self, installation: &Installation) -> impl Iterator<Item = (String, Bound<'g>)> {
        self.servers.iter().flat_map(|one| {
            let hosts = hosts_of(std::slice::from_ref(one), installation);
            hosts.into_keys().map(|host| (host, one.clone()))
        })
    }

    /// The server that sends clients of `host` to TLS, where `gateway` serves it: one of its own.
    /// Ingresses give way to each that names the host.
    fn of<'i>(&'i self, gateway: (&'g str, &'g str), host: &'i str) -> Option<&'i Origin> {
        let own = || self.by_gateway.get(&gateway)?.covering(host).flatten().next();
        let named = || self.named.get(host).filter(|_| gateway == self.of_ingresses);
        own().or_else(named)
    }

    /// Adds to `redirected` the hosts that servers name and no other Gateway serves; `served` are
    /// those that are served, there and at every address. Notes the Gateways of the others.
    fn add_to(
        &self,
        (served, everywhere): (&BTreeMap<String, Through<'g>>, Option<&Everywhere<'g>>),
        installation: &Installation,
        redirected: &mut BTreeMap<String, Origin>,
        budget: &mut Budget<'g>,
    ) {
        // Each server is noted once, and then looked at no more.
        let mut unnoted: HostIndex<RefCell<Vec<&Bound<'g>>>> = HostIndex::default();
        for one in &self.servers {
            for (host, origin) in hosts_of(std::slice::from_ref(one), installation) {
                unnoted.entry(&host).get_mut().push(one);
                let here = served.get(&host).is_some_and(|own| *own != Through::One(one.key()));
                match here || everywhere.is_some_and(|all| all.of_others(&host, one.key())) {
                    true => budget.note_redirect(one, &host),
                    false => drop(redirected.entry(host).or_insert(origin)),
                }
            }
        }
        for host in served.keys() {
            let servers = unnoted.covering(host).flat_map(RefCell::take);
            servers.for_each(|one| budget.note_redirect(one, host));
        }
        if let Some(everywhere) = everywhere {
            everywhere.note_redirects(served, budget);
        }
    }
}

/// Through which Gateways a host is served.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Through<'g> {
    /// This one only.
    One((&'g str, &'g str)),
    /// Several.
    More,
}

impl Through<'_> {
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::More }
    }
}

/// The hosts of servers, with the first that names each.
fn hosts_of(servers: &[Bound<'_>], installation: &Installation) -> BTreeMap<String, Origin> {
    let mut found = BTreeMap::new();
    for one in servers {
        for entry in &one.server.hosts {
            let host = entry.split_once('/').map_or(entry.as_str(), |(_, host)| host);
            let host = installation.resolve(host, &one.gateway.metadata.namespace);
            found.entry(host).or_insert_with(|| one.origin());
        }
    }
    found
}

/// A route whose hosts have one rule.
fn with_one_rule(name: String, hosts: Vec<Host>, action: Action, origin: Origin) -> Route {
    let rules = vec![Rule::always(action, origin.clone())];
    Route { name, hosts, lists: Vec::new(), rules, origin }
}

fn name(at: SocketAddr, host: &str) -> String {
    format!("{}/{host}", place(at))
}

/// The name of a place: with the address, but for every one of IPv4.
fn place(at: SocketAddr) -> String {
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => format!("http.{}", at.port()),
        _ => format!("http.{at}"),
    }
}

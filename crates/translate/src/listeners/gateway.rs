//! A gateway: what the Gateways that select its pod ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use weft_api::{
    gateway::{self, Gateway},
    virtual_service::VirtualService,
};
use weft_config::{
    Action, Conditions, Destination, Entry, Host, Interest, Limits, Listener, Origin, Protocol,
    Resource, Route, Rule, Scope,
};

use crate::{
    Client, Group, Resolved,
    age::Age,
    backends::{self, BackendRef},
    client,
    closure::Closure,
    hosts,
    listeners::{is_reserved, selects},
    mesh::Mesh,
    registry::{self, Inbound},
    rules::{self, Rules, Site},
    settings,
    view::View,
    virtual_services,
};

/// A server of a Gateway, on the port of the pod where it is served.
#[derive(Clone)]
pub(crate) struct Bound<'g> {
    /// The Gateway.
    pub(crate) gateway: &'g Gateway,
    /// Which of its servers.
    pub(crate) index: usize,
    /// The server.
    pub(crate) server: &'g gateway::Server,
    /// Where the pod listens for it.
    pub(crate) at: SocketAddr,
}

/// Why a server is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Its protocol is not honoured yet.
    Protocol,
    /// The address to bind to is none.
    Bind,
}

/// What the gateway of `client` runs.
pub(crate) fn gateway(client: &Client, view: &View<'_>) -> Resolved {
    let mesh = view.mesh();
    let group = client::group(&client.labelled(), view);
    let mut closure = Closure::default();
    closure.add(view.pool().piece(Resource::Settings(settings::of_client(client, &mesh))));
    let mut places: BTreeMap<SocketAddr, Vec<Bound<'_>>> = BTreeMap::new();
    for bound in of_client(client, view) {
        places.entry(bound.at).or_default().push(bound);
    }
    for (at, bound) in &places {
        let routes = routes(*at, bound, &group, &mesh, view);
        let names = routes.iter().map(|route| route.route.name.clone()).collect();
        let gateway = bound.first().map(Bound::key).unwrap_or_default();
        let site = Site { group: &group, gateway: Some(gateway), port: at.port() };
        for route in routes {
            for backend in route.backends {
                backends::add(&backend, &site, view, &mut closure);
            }
            closure.add(view.pool().piece(Resource::Route(route.route)));
        }
        let server = weft_config::Server {
            name: format!("http.{}", at.port()),
            port: None,
            protocol: Protocol::Http,
            routes: names,
            tcp: None,
            edge: true,
            origin: bound.first().map(Bound::origin).unwrap_or_default(),
        };
        closure.add(view.pool().piece(Resource::Listener(Listener {
            name: format!("{}_{}", at.ip(), at.port()),
            bind: *at,
            destination: Destination::Socket,
            layers: Vec::new(),
            limits: Limits::edge(),
            scope: Scope::Servers(vec![server]),
        })));
    }
    closure.answer(&Interest::Own, Entry::Own, None)
}

impl Bound<'_> {
    /// Namespace and name of the Gateway.
    fn key(&self) -> (&str, &str) {
        (&self.gateway.metadata.namespace, &self.gateway.metadata.name)
    }

    fn origin(&self) -> Origin {
        let metadata = &self.gateway.metadata;
        let object = format!("Gateway/{}/{}", metadata.namespace, metadata.name);
        Origin::new(object, format!("servers[{}]", self.index))
    }
}

/// The servers that `client`'s pod serves, the Gateways' order: older first.
fn of_client<'g>(client: &Client, view: &View<'g>) -> Vec<Bound<'g>> {
    let mut gateways = view.gateways();
    gateways.retain(|gateway| selects(&gateway.spec.selector, &client.labels));
    gateways.sort_by_cached_key(|gateway| Age::of(&gateway.metadata));
    let inbound = registry::inbound(client, view);
    let target = |number: u16| pod_port(number, &inbound);
    let servers = gateways.into_iter().flat_map(|gateway| {
        gateway.spec.servers.iter().enumerate().map(move |(index, server)| (gateway, index, server))
    });
    servers
        .filter_map(|(gateway, index, server)| {
            let at = bound(server).ok()?;
            let at = SocketAddr::new(at.ip(), target(at.port()));
            (!is_reserved(at.port())).then_some(Bound { gateway, index, server, at })
        })
        .collect()
}

/// The pod's port behind port `number` of the hosts that lead to it; the same number
/// when none of them has it.
pub(crate) fn pod_port(number: u16, inbound: &[Inbound]) -> u16 {
    let found = inbound.iter().find(|inbound| inbound.port.number == number);
    found.map_or(number, |inbound| inbound.target)
}

/// The address and port that `server` names, if it is one that can be served.
pub(crate) fn bound(server: &gateway::Server) -> Result<SocketAddr, Conflict> {
    let protocol = server.port.protocol.to_ascii_uppercase();
    if !matches!(protocol.as_str(), "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB") {
        return Err(Conflict::Protocol);
    }
    let number = server.port.number;
    match server.bind.as_deref().filter(|text| !text.is_empty()) {
        None => Ok(anywhere(number)),
        Some(text) => {
            let ip = text.parse().map_err(|_| Conflict::Bind)?;
            Ok(SocketAddr::new(ip, number))
        }
    }
}

/// `port` on every address.
pub(crate) fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// A route, and the backends that its rules name.
struct Joined {
    route: Route,
    backends: BTreeSet<BackendRef>,
}

/// The routes of a place: for every host the rules of all virtual services that
/// speak for it there in their order, rules that take everything last.
fn routes(
    at: SocketAddr,
    bound: &[Bound<'_>],
    group: &Group,
    mesh: &Mesh,
    view: &View<'_>,
) -> Vec<Joined> {
    let mut by_host: BTreeMap<String, Vec<(&VirtualService, Rules)>> = BTreeMap::new();
    let mut joined = BTreeSet::new();
    for one in bound {
        let gateway = one.key();
        let site = Site { group, gateway: Some(gateway), port: one.server.port.number };
        for service in view.bound_to(gateway.0, gateway.1) {
            if !virtual_services::seen(service, group, mesh) {
                continue;
            }
            let rules = rules::http(service, &site, mesh, view);
            for host in common_hosts(one, service) {
                let own = (service.metadata.namespace.as_str(), service.metadata.name.as_str());
                if !rules.is_empty() && joined.insert((host.clone(), own)) {
                    by_host.entry(host).or_default().push((service, rules.clone()));
                }
            }
        }
    }
    let redirected: Vec<Route> = redirected(at, bound, by_host.keys());
    by_host.retain(|host, _| !redirected.iter().any(|route| route.hosts[0].as_str() == host));
    let closed = |route| Joined { route, backends: BTreeSet::new() };
    let routes = by_host.into_iter().filter_map(|(host, mut services)| {
        services.sort_by_cached_key(|(service, _)| virtual_services::order(service, group, mesh));
        let origin = Origin::new(rules::object(services.first()?.0), "");
        let mut joined = Rules::default();
        for (_, rules) in services {
            joined.rules.extend(rules.rules);
            joined.backends.extend(rules.backends);
        }
        let Rules { mut rules, backends } = joined;
        rules.sort_by_key(|rule| rules::takes_all(&rule.conditions));
        let hosts = vec![Host::parse(&host).ok()?];
        Some(Joined { route: Route { name: name(at, &host), hosts, rules, origin }, backends })
    });
    routes.chain(redirected.into_iter().map(closed)).collect()
}

/// Hosts that clients must be sent to TLS for. Until Weft can, they are closed:
/// what was to be encrypted is not served in plaintext.
fn redirected<'h>(
    at: SocketAddr,
    bound: &[Bound<'_>],
    known: impl Iterator<Item = &'h String>,
) -> Vec<Route> {
    let mut closed = BTreeMap::new();
    let known: Vec<&String> = known.collect();
    for one in bound.iter().filter(|one| redirects(one.server)) {
        for entry in &one.server.hosts {
            let host = entry.split_once('/').map_or(entry.as_str(), |(_, host)| host);
            let own = hosts::resolve(host, &one.gateway.metadata.namespace);
            let under = known.iter().filter(|host| hosts::within(host, &own));
            for host in under.map(ToString::to_string).chain([own.clone()]) {
                closed.entry(host).or_insert_with(|| one.origin());
            }
        }
    }
    let routes = closed.into_iter().filter_map(|(host, origin)| {
        let rule = Rule {
            name: None,
            conditions: Conditions::default(),
            action: Action::Respond {
                status: 500,
                body: String::new(),
                details: "not_honoured_yet".to_owned(),
            },
            timeout: None,
            retries: None,
            origin: origin.clone(),
        };
        let hosts = vec![Host::parse(&host).ok()?];
        Some(Route { name: name(at, &host), hosts, rules: vec![rule], origin })
    });
    routes.collect()
}

/// Whether `server` sends its clients to TLS.
pub(crate) fn redirects(server: &gateway::Server) -> bool {
    let tls = server.tls.as_ref();
    tls.and_then(|tls| tls.get("httpsRedirect")).is_some_and(|value| value == true)
}

fn name(at: SocketAddr, host: &str) -> String {
    format!("http.{}/{host}", place(at))
}

/// The place in names of routes: the port, with the address when it is a certain one.
fn place(at: SocketAddr) -> String {
    if at.ip().is_unspecified() { at.port().to_string() } else { at.to_string() }
}

/// The hosts that both the server and the virtual service are for.
pub(crate) fn common_hosts(one: &Bound<'_>, service: &VirtualService) -> BTreeSet<String> {
    let gateway_namespace = &one.gateway.metadata.namespace;
    let own = &service.metadata.namespace;
    let mut common = BTreeSet::new();
    for entry in &one.server.hosts {
        let (namespace, host) = entry.split_once('/').unwrap_or(("*", entry));
        let admitted = match namespace {
            "*" => true,
            "." => own == gateway_namespace,
            namespace => own == namespace,
        };
        if !admitted {
            continue;
        }
        let served = hosts::resolve(host, gateway_namespace);
        for named in &service.spec.hosts {
            let named = hosts::resolve(named, own);
            if hosts::within(&named, &served) {
                common.insert(named);
            } else if hosts::within(&served, &named) {
                common.insert(served.clone());
            }
        }
    }
    common
}

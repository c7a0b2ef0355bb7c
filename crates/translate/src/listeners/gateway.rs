//! A gateway: what the Gateways that select its pod ask for.

mod routes;
mod connections;
mod budget;
mod shared;
mod served;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use weft_api::{
    Key,
    gateway::{self, Gateway, Reading},
};
use weft_config::{
    Destination, Entry, Interest, Limits, Listener, Origin, Protocol, Resource, Scope,
};

use crate::{
    Client, Group, Resolved, Role,
    closure::Closure,
    graph::view::View,
    listeners::is_reserved,
    model::{
        age::Age,
        client,
        registry::{self, Inbound},
    },
    proxy_settings,
    routes::rules::Site,
};

use budget::Budget;
pub(crate) use budget::{COVERED, FURTHER, HOST, Limited, NAMES, PORTS, READ, Rival, TIMES};
pub(crate) use served::{Served, hosts_of};
use shared::Shared;

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
    /// Its protocol is not known.
    Protocol,
    /// The address to bind to cannot be read.
    Bind,
}

/// What the gateway of `client` runs.
pub(crate) fn gateway(client: &Client, view: &View<'_>) -> Resolved {
    let mesh = view.mesh();
    let group = group_of(client, view);
    let mut closure = Closure::default();
    closure.add(view.pool().piece(Resource::Settings(proxy_settings::of_client(
        client,
        &mesh,
        mesh.outside,
    ))));
    let limited = each_port(client, &group, view, |at, bound, port| {
        let gateway = bound.first().map(Bound::key).unwrap_or_default();
        let site = Site { group: &group, gateway: Some(gateway), port: at.port() };
        let servers = match port {
            Port::Http(routes::Port { routes, lists, backends }) => {
                let names = routes.iter().map(|route| route.name.clone()).collect();
                closure.add_backends(&backends, &site, view);
                let lists = lists.into_iter().map(Resource::RuleList);
                for resource in lists.chain(routes.into_iter().map(Resource::Route)) {
                    closure.add(view.pool().piece(resource));
                }
                vec![http(at, bound, names)]
            }
            Port::Relays(relays) => {
                closure.add_backends(&relays.backends, &site, view);
                relays.servers
            }
        };
        closure.add(view.pool().piece(Resource::Listener(Listener {
            name: format!("{}_{}", at.ip(), at.port()),
            bind: at,
            destination: Destination::Socket,
            layers: Vec::new(),
            limits: Limits::edge(),
            scope: Scope::Servers(servers),
        })));
    });
    closure.answer(&Interest::Own, Entry::Own, None).with_limited(limited)
}

/// What is served on a port.
enum Port {
    Http(routes::Port),
    Relays(connections::Relays),
}

/// The server of a port that speaks HTTP, for these routes.
fn http(at: SocketAddr, bound: &[Bound<'_>], routes: Vec<String>) -> weft_config::Server {
    weft_config::Server {
        name: format!("http.{}", at.port()),
        port: None,
        hello: None,
        protocol: Protocol::Http,
        routes,
        tcp: Vec::new(),
        edge: true,
        origin: bound.first().map(Bound::origin).unwrap_or_default(),
    }
}

/// What the connections of a port are, as all of its servers must have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Http,
    Tls,
    Bytes,
}

impl Family {
    fn of(server: &gateway::Server) -> Self {
        match server.reading() {
            Some(Reading::Http) | None => Self::Http,
            Some(Reading::Tcp) => Self::Bytes,
            Some(Reading::ServerName | Reading::ServiceName | Reading::Ended) => Self::Tls,
        }
    }
}

/// What a gateway runs is its own answer, which no client with other labels shares.
fn group_of(client: &Client, view: &View<'_>) -> Group {
    let labels = Some(client.labels.clone());
    // Sidecars are not for gateways.
    Group { labels, sidecar: None, ..client::group(&client.labelled(), view) }
}

/// Calls `then` with each address and port that `client` listens at, the servers there and what
/// is served; returns what is not served in full.
fn each_port<'g>(
    client: &Client,
    group: &Group,
    view: &View<'g>,
    mut then: impl FnMut(SocketAddr, &[Bound<'g>], Port),
) -> Limited {
    let mesh = view.mesh();
    let mut ports: BTreeMap<u16, Vec<Bound<'_>>> = BTreeMap::new();
    for bound in of_client(client, view) {
        ports.entry(bound.at.port()).or_default().push(bound);
    }
    let mut budget = Budget::default();
    let mut places: BTreeMap<SocketAddr, Vec<Bound<'_>>> = BTreeMap::new();
    for bound in ports.into_values() {
        // An address gives no precedence: the oldest decides for all of them.
        let Some(first) = bound.first().cloned() else { continue };
        let family = Family::of(first.server);
        let (bound, others): (Vec<_>, Vec<_>) =
            bound.into_iter().partition(|one| Family::of(one.server) == family);
        others.iter().for_each(|other| budget.note_conflict(&first, other));
        if family == Family::Http {
            bound.into_iter().for_each(|one| places.entry(one.at).or_default().push(one));
            continue;
        }
        for (at, relays) in connections::of_port(&bound, group, view, &mut budget) {
            then(at, &bound, Port::Relays(relays));
        }
    }
    let mut shared = Shared::of(places.keys());
    // Those of every address come first.
    for (at, bound) in &places {
        let limits = (&mut budget, &mut shared);
        if let Some(port) = routes::of_port(*at, bound, (group, &mesh), view, limits) {
            then(*at, bound, Port::Http(port));
        }
    }
    budget.into_limited()
}

/// What the gateway in the pod called `key` does not serve in full; none if it is not examined.
/// Its proxy's answer says so, where it has asked for one.
pub(crate) fn limited(key: &Key, view: &View<'_>) -> Option<Arc<Limited>> {
    if view.is_skipped(key) {
        return None;
    }
    let client = view.pod(key).map(Client::of_pod).filter(|one| one.role == Role::Gateway);
    let Some(client) = client else { return Some(Arc::default()) };
    if let Some(answer) = view.own_answer(&client) {
        return Some(Arc::clone(&answer.limited));
    }
    let found = each_port(&client, &group_of(&client, view), view, |_, _, _| {});
    Some(Arc::new(found))
}

/// The hosts of all servers of the Gateway called `key`.
pub(crate) fn served(key: &Key, view: &View<'_>) -> Option<Served> {
    let gateway = view.gateway(key)?;
    Some(Served::new(gateway, gateway.spec.servers.iter(), view.installation()))
}

impl<'g> Bound<'g> {
    /// Namespace and name of the Gateway.
    fn key(&self) -> (&'g str, &'g str) {
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
    let mut gateways = view.gateways_selecting(&client.labels);
    gateways.sort_by_cached_key(|gateway| Age::of(&gateway.metadata));
    let behind = PodPorts::new(&registry::inbound(client, view));
    let servers = gateways.into_iter().flat_map(|gateway| {
        gateway.spec.servers.iter().enumerate().map(move |(index, server)| (gateway, index, server))
    });
    servers
        .filter_map(|(gateway, index, server)| {
            let at = bound(server).ok()?;
            let at = SocketAddr::new(at.ip(), behind.port(at.port()));
            (!is_reserved(at.port())).then_some(Bound { gateway, index, server, at })
        })
        .collect()
}

/// The pod's ports behind those of the hosts that lead to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodPorts(HashMap<u16, u16>);

impl PodPorts {
    pub(crate) fn new(inbound: &[Inbound]) -> Self {
        let mut ports = HashMap::new();
        for one in inbound {
            ports.entry(one.port.number).or_insert(one.target);
        }
        Self(ports)
    }

    /// The pod's port behind port `number`; the same number when no host has it.
    pub(crate) fn port(&self, number: u16) -> u16 {
        self.0.get(&number).copied().unwrap_or(number)
    }
}

/// The address and port that `server` names, if it is one that can be served.
pub(crate) fn bound(server: &gateway::Server) -> Result<SocketAddr, Conflict> {
    if server.reading().is_none() {
        return Err(Conflict::Protocol);
    }
    let number = server.port.number;
    match server.address() {
        Ok(None) => Ok(anywhere(number)),
        Ok(Some(ip)) => Ok(SocketAddr::new(ip, number)),
        Err(_) => Err(Conflict::Bind),
    }
}

/// `port` on every address.
pub(crate) fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// Whether `server` sends its clients to TLS.
pub(crate) fn redirects(server: &gateway::Server) -> bool {
    if server.reading() != Some(Reading::Http) {
        return false;
    }
    let tls = server.tls.as_ref();
    tls.and_then(|tls| tls.get("httpsRedirect")).is_some_and(|value| value == true)
}

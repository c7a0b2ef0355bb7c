//! Compiled servers and listeners: which route a host leads to.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    hash::BuildHasher,
    net::IpAddr,
    sync::Arc,
};

use weft_balance::{Register, Rng, Turn, Weights};
use weft_config::{
    Interest, Listener, Origin, Route, Scope, Server, Settings, TcpTarget, name::suffixes,
};

use crate::{
    conditions::is_source,
    hello::{ClientHello, Exactness},
    quick::Quick,
};

/// A server, ready to be asked.
#[derive(Debug)]
pub(crate) struct CompiledServer {
    pub(crate) data: Arc<Server>,
    /// Where it comes from.
    pub(crate) origin: Arc<Origin>,
    /// Where connections go that are relayed.
    pub(crate) tcp: Arc<CompiledTcps>,
    hosts: Hosts,
}

/// A listener, ready to be asked.
#[derive(Debug)]
pub(crate) struct CompiledListener {
    pub(crate) data: Arc<Listener>,
    pub(crate) servers: Vec<Arc<CompiledServer>>,
}

/// Where connections of some workloads go that are relayed, ready to be asked.
#[derive(Debug)]
pub(crate) struct CompiledTcp {
    pub(crate) data: TcpTarget,
    pub(crate) backends: Vec<Arc<str>>,
    pub(crate) origin: Arc<Origin>,
    weights: Weights,
    turn: Arc<Turn>,
}

/// Where connections of a server go that are relayed: candidates are found by the server name.
#[derive(Debug)]
pub(crate) struct CompiledTcps {
    pub(crate) all: Vec<CompiledTcp>,
    /// Indexes of those with server names, by these; wildcards by what follows the `*`.
    exact: HashMap<Box<str>, Vec<usize>, Quick>,
    endings: HashMap<Box<str>, Vec<usize>, Quick>,
    /// Indexes of the others.
    unnamed: Vec<usize>,
}

/// A connection that is relayed, as far as that decides where it goes.
#[derive(Clone, Debug)]
pub(crate) struct RelayFacts {
    /// The address that the client dialled.
    pub(crate) destination: IpAddr,
    /// What the client said first, where that was asked for and is TLS.
    pub(crate) hello: Option<Arc<ClientHello>>,
    /// What was asked for the connection, if that is a server name.
    pub(crate) interest: Option<Interest>,
}

/// How exactly a target is about a connection.
type Rank = (u8, Exactness);

/// The hosts of a route that a server names.
#[derive(Clone, Copy)]
pub(crate) struct ServedRoute<'r> {
    /// The version in force.
    pub(crate) data: &'r Route,
    /// The hosts that only a rejected version has.
    pub(crate) rejected: Option<&'r Route>,
}

/// The route that a host leads to.
#[derive(Clone, Debug)]
pub(crate) struct NamedRoute {
    pub(crate) name: Arc<str>,
    /// Whether only a rejected version of the route has the host.
    pub(crate) is_rejected: bool,
}

/// How specific a host is that covers another: the length of what follows its `*`, or more than
/// any for the host itself.
pub(crate) type Specificity = usize;

/// Routes by host.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, NamedRoute, Quick>,
    /// By what follows the `*`, where that begins with a dot.
    wildcards: HashMap<Box<str>, NamedRoute, Quick>,
    /// What follows the `*` elsewhere, the longest first.
    endings: Vec<(Box<str>, NamedRoute)>,
    any: Option<NamedRoute>,
}

impl CompiledServer {
    /// Compiles a server; `route` finds a route by name.
    pub(crate) fn new<'r>(
        data: Arc<Server>,
        register: &Register,
        route: impl Fn(&str) -> Option<ServedRoute<'r>>,
    ) -> Self {
        let mut hosts = Hosts::default();
        let routes: Vec<ServedRoute<'r>> =
            data.routes.iter().filter_map(|name| route(name)).collect();
        // A rejected version takes no host from a route that has it in force.
        let in_force = routes.iter().map(|route| (route, route.data, false));
        let rejected = routes.iter().filter_map(|route| Some((route, route.rejected?, true)));
        for (route, version, is_rejected) in in_force.chain(rejected) {
            let named = NamedRoute { name: Arc::from(route.data.name.as_str()), is_rejected };
            version.hosts.iter().for_each(|host| hosts.add(host.as_str(), &named));
        }
        hosts.endings.sort_by_key(|(ending, _)| std::cmp::Reverse(ending.len()));
        let tcp = Arc::new(CompiledTcps::new(&data.tcp, register));
        let origin = Arc::new(data.origin.clone());
        Self { data, origin, tcp, hosts }
    }

    fn is_for(&self, port: u16) -> bool {
        self.data.port.is_none_or(|own| own == port)
    }

    /// The route with the most specific host for `host`, and how specific that is.
    pub(crate) fn route(&self, host: &str) -> Option<(Specificity, &NamedRoute)> {
        self.hosts.find(host)
    }
}

impl CompiledListener {
    /// Compiles a listener; `route` finds a route by name.
    pub(crate) fn new<'r>(
        data: Arc<Listener>,
        register: &Register,
        route: impl Fn(&str) -> Option<ServedRoute<'r>>,
    ) -> Self {
        let servers = match &data.scope {
            Scope::Directory => Vec::new(),
            Scope::Servers(servers) => servers
                .iter()
                .map(|server| {
                    Arc::new(CompiledServer::new(Arc::new(server.clone()), register, &route))
                })
                .collect(),
        };
        Self { data, servers }
    }

    /// The server for connections to `port`, but for those that only some TLS clients may use:
    /// one that names it, else one for every port.
    pub(crate) fn server(&self, port: u16) -> Option<&Arc<CompiledServer>> {
        let all = || self.servers.iter().filter(|server| server.data.hello.is_none());
        let named = |server: &&Arc<CompiledServer>| server.data.port == Some(port);
        let every = |server: &&Arc<CompiledServer>| server.data.port.is_none();
        all().find(named).or_else(|| all().find(every))
    }

    /// Whether what TLS clients say first decides about connections to `port`.
    pub(crate) fn looks_at_hello(&self, port: u16) -> bool {
        self.servers.iter().any(|server| server.data.hello.is_some() && server.is_for(port))
    }

    /// The server for connections to `port` whose clients say `hello`: the one that is most
    /// exactly for them, and how exactly; the first of equals.
    pub(crate) fn server_for(
        &self,
        port: u16,
        hello: &ClientHello,
    ) -> Option<((bool, Exactness), &Arc<CompiledServer>)> {
        let rank = |server: &CompiledServer| {
            let exactness = hello.matches(server.data.hello.as_ref()?)?;
            Some((server.data.port.is_some(), exactness))
        };
        let candidates = self.servers.iter().rev().filter(|server| server.is_for(port));
        let ranked = candidates.filter_map(|server| Some((rank(server)?, server)));
        ranked.max_by_key(|(rank, _)| *rank)
    }

    /// Whether some server names one of `routes`.
    pub(crate) fn names(&self, routes: &BTreeSet<Arc<str>>) -> bool {
        let mut named = self.servers.iter().flat_map(|server| &server.data.routes);
        named.any(|name| routes.contains(name.as_str()))
    }
}

impl CompiledTcps {
    fn new(targets: &[TcpTarget], register: &Register) -> Self {
        let all: Vec<_> = targets.iter().map(|data| CompiledTcp::new(data, register)).collect();
        let mut found = Self {
            all,
            exact: HashMap::default(),
            endings: HashMap::default(),
            unnamed: Vec::new(),
        };
        for (at, target) in targets.iter().enumerate() {
            let names = target.hello.as_ref().map_or(&[][..], |hello| &hello.names);
            if names.is_empty() {
                found.unnamed.push(at);
            }
            for name in names {
                let list = match name.as_str().strip_prefix('*') {
                    Some(ending) => found.endings.entry(ending.into()),
                    None => found.exact.entry(name.as_str().into()),
                };
                list.or_default().push(at);
            }
        }
        found
    }

    /// Whether some of them, for a proxy with these settings, depends on what the client says
    /// first.
    pub(crate) fn read_hello(&self, settings: &Settings) -> bool {
        let mut reading = self.all.iter().filter(|target| target.data.hello.is_some());
        reading.any(|target| is_source(&target.data.source, settings))
    }

    /// The one for the connection: of those that are most exactly about it the first.
    pub(crate) fn find(&self, settings: &Settings, facts: &RelayFacts) -> Option<&CompiledTcp> {
        let name = facts.hello.as_ref().and_then(|hello| hello.server_name.as_deref());
        let exact = name.and_then(|name| self.exact.get(name));
        let endings = name
            .filter(|_| !self.endings.is_empty())
            .into_iter()
            .flat_map(|name| name.char_indices().skip(1).map(|(at, _)| &name[at..]).chain([""]));
        let endings = endings.filter_map(|ending| self.endings.get(ending));
        let candidates = exact.into_iter().chain(endings).chain([&self.unnamed]).flatten();
        let ranked = candidates.filter_map(|at| {
            let target = &self.all[*at];
            let rank = target.rank(facts).filter(|_| is_source(&target.data.source, settings))?;
            Some(((rank, Reverse(*at)), target))
        });
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, target)| target)
    }
}

impl CompiledTcp {
    /// How exactly it is about a connection; none if it is about others.
    pub(crate) fn rank(&self, facts: &RelayFacts) -> Option<Rank> {
        let ranges = &self.data.destinations;
        let prefix = match ranges.is_empty() {
            true => 0,
            false => {
                let ip = facts.destination.to_canonical();
                let within = ranges.iter().filter(|range| range.contains(&ip));
                // A range of every address is more than no condition.
                within.map(|range| range.prefix_len().saturating_add(1)).max()?
            }
        };
        let exactness = match (&self.data.hello, &facts.hello) {
            (None, _) => Exactness::ANY,
            (Some(_), None) => return None,
            (Some(condition), Some(hello)) => hello.matches(condition)?,
        };
        Some((prefix, exactness))
    }

    fn new(data: &TcpTarget, register: &Register) -> Self {
        let (backends, weights): (Vec<_>, Vec<_>) =
            data.backends.iter().map(|(name, weight)| (Arc::from(name.as_str()), *weight)).unzip();
        let content = Quick::default().hash_one(&data.backends);
        Self {
            weights: Weights::new(&weights),
            turn: register.turn("tcp", content),
            origin: Arc::new(data.origin.clone()),
            data: data.clone(),
            backends,
        }
    }

    /// The backend of the next connection; none when there are several and all weigh
    /// nothing.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Option<&Arc<str>> {
        self.weights.pick(&self.turn, rng).and_then(|at| self.backends.get(at))
    }
}

impl Hosts {
    /// Adds a host; the first of two equal ones stays.
    fn add(&mut self, host: &str, route: &NamedRoute) {
        let route = route.clone();
        match host.strip_prefix('*') {
            None => {
                self.exact.entry(host.into()).or_insert(route);
            }
            Some("") => {
                self.any.get_or_insert(route);
            }
            Some(ending) if ending.starts_with('.') => {
                self.wildcards.entry(ending.into()).or_insert(route);
            }
            Some(ending) => {
                if !self.endings.iter().any(|(known, _)| **known == *ending) {
                    self.endings.push((ending.into(), route));
                }
            }
        }
    }

    fn find(&self, host: &str) -> Option<(Specificity, &NamedRoute)> {
        if let Some(route) = self.exact.get(host) {
            return Some((Specificity::MAX, route));
        }
        let wildcard = match self.wildcards.is_empty() {
            true => None,
            false => {
                suffixes(host).find_map(|suffix| Some((suffix.len(), self.wildcards.get(suffix)?)))
            }
        };
        let ending = self
            .endings
            .iter()
            .find(|(ending, _)| ending.len() < host.len() && host.ends_with(&**ending))
            .map(|(ending, route)| (ending.len(), route));
        let longest = wildcard.into_iter().chain(ending).max_by_key(|(length, _)| *length);
        longest.or_else(|| Some((0, self.any.as_ref()?)))
    }
}

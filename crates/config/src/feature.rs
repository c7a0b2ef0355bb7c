//! What a resource asks of a proxy that older proxies cannot do.
//!
//! A field that is added later belongs to a feature. A proxy names the features that it
//! has; what it lacks is replaced, for it, by a stand-in that is closed.

use crate::{
    Action, Answer, Backend, Discovery, Endpoint, Endpoints, Entry, Listener, LoadBalancer,
    Protocol, Resource, Route, Rule, RuleList, Scope, Server, TcpTarget,
};

/// Response code details of a rule or backend that a proxy is too old for.
const DETAILS: &str = "unsupported_by_proxy";

/// Something that a resource may need, and that older proxies do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Retries for idempotent methods only; a proxy that ignored it would repeat others.
    IdempotentRetries,
    /// Servers for TLS clients by what they say first; a proxy that ignored it would relay
    /// clients of every name to one server.
    ClientHello,
    /// What rules do besides sending requests on: changes of requests and answers, redirects,
    /// answers to browsers, faults, copies. A proxy that ignored them would send on what a rule takes out.
    Actions,
    /// Endpoints by a hash of the request; a proxy that took any would lose sessions.
    ConsistentHash,
    /// Endpoints that fail are left out.
    OutlierDetection,
    /// Where relayed connections go by the client's TLS hello or by the address it dialled; a
    /// proxy that ignored it would relay all of them to one place.
    RelayMatch,
    /// Hosts that are found by the server name of TLS. For proxies that do not look for it they
    /// are outside of the mesh, as they were before.
    ServerNames,
    /// Endpoints by names, several of them or those of requests.
    NamedEndpoints,
    /// Endpoints with shares of their own; a proxy that ignored them would use all alike.
    WeightedEndpoints,
    /// Ranges of addresses; what is dialled in them is outside for a proxy that has not got it.
    AddressRanges,
    /// Limits of connections and requests; a proxy that ignored them would overload a server.
    ConnectionPool,
    /// Shares of endpoints by where they run and how long they have; a proxy that ignored them
    /// would send requests to another region.
    Shares,
}

impl Feature {
    /// Every feature.
    pub const ALL: &'static [Self] = &[
        Self::IdempotentRetries,
        Self::ClientHello,
        Self::Actions,
        Self::ConsistentHash,
        Self::OutlierDetection,
        Self::RelayMatch,
        Self::ServerNames,
        Self::NamedEndpoints,
        Self::WeightedEndpoints,
        Self::AddressRanges,
        Self::ConnectionPool,
        Self::Shares,
    ];

    /// Its name on the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdempotentRetries => "weft.retries.idempotent-only",
            Self::ClientHello => "weft.servers.client-hello",
            Self::Actions => "weft.rules.actions",
            Self::ConsistentHash => "weft.backends.consistent-hash",
            Self::OutlierDetection => "weft.backends.outlier-detection",
            Self::RelayMatch => "weft.servers.relay-match",
            Self::ServerNames => "weft.directory.server-names",
            Self::NamedEndpoints => "weft.backends.names",
            Self::WeightedEndpoints => "weft.endpoints.weights",
            Self::AddressRanges => "weft.directory.ranges",
            Self::ConnectionPool => "weft.backends.connection-pool",
            Self::Shares => "weft.backends.shares",
        }
    }
}

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(u64);

impl Features {
    /// Every feature: those of a proxy of this version.
    pub fn all() -> Self {
        Feature::ALL.iter().copied().collect()
    }

    /// The features of these names; names of later versions mean nothing here.
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let known = |name| Feature::ALL.iter().copied().find(|feature| feature.name() == name);
        names.into_iter().filter_map(known).collect()
    }

    /// Adds one.
    pub fn insert(&mut self, feature: Feature) {
        self.0 |= 1 << feature as u64;
    }

    /// Whether all of `self` are in `other`.
    pub fn are_in(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The features of the set.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        let all = Feature::ALL.iter().copied();
        all.filter(move |feature| self.0 & (1 << *feature as u64) != 0)
    }

    /// Those of both sets.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut set = Self::default();
        features.into_iter().for_each(|feature| set.insert(feature));
        set
    }
}

/// The features that a proxy needs for `resource`.
pub fn needs(resource: &Resource) -> Features {
    match resource {
        Resource::Route(Route { rules, .. }) | Resource::RuleList(RuleList { rules, .. }) => {
            rules.iter().fold(Features::default(), |all, rule| all.union(of_rule(rule)))
        }
        Resource::Backend(backend) => of_backend(backend),
        Resource::Listener(Listener { scope: Scope::Servers(servers), .. }) => {
            servers.iter().fold(Features::default(), |all, server| all.union(of_server(server)))
        }
        Resource::Answer(Answer { entry: Entry::Server(server), .. }) => of_server(server),
        Resource::Endpoints(chunk) if chunk.endpoints.iter().any(|one| one.weight.is_some()) => {
            Features::from_iter([Feature::WeightedEndpoints])
        }
        Resource::Directory(chunk) => {
            let names = Some(Feature::ServerNames).filter(|_| !chunk.tls_ports.is_empty());
            let ranges = Some(Feature::AddressRanges).filter(|_| !chunk.range_sizes.is_empty());
            names.into_iter().chain(ranges).collect()
        }
        Resource::Listener(_)
        | Resource::Endpoints(_)
        | Resource::ChunkList(_)
        | Resource::Settings(_)
        | Resource::Answer(_) => Features::default(),
    }
}

/// What a proxy with only the features `has` is given in place of `resource`: each piece
/// that it cannot do is closed, and the rest is as it was.
pub fn stand_in(resource: &Resource, has: Features) -> Resource {
    match resource {
        Resource::Route(route) => {
            Resource::Route(Route { rules: suited(&route.rules, has), ..route.clone() })
        }
        Resource::RuleList(list) => {
            Resource::RuleList(RuleList { rules: suited(&list.rules, has), ..list.clone() })
        }
        Resource::Backend(backend) if !of_backend(backend).are_in(has) => {
            Resource::Backend(Backend {
                closed: Some(DETAILS.to_owned()),
                discovery: match of_discovery(&backend.discovery).are_in(has) {
                    true => backend.discovery.clone(),
                    false => Discovery::Nowhere,
                },
                load_balancer: LoadBalancer::Random,
                outliers: None,
                connection_pool: None,
                warmup: None,
                locality: None,
                ..backend.clone()
            })
        }
        Resource::Listener(listener @ Listener { scope: Scope::Servers(servers), .. }) => {
            // A server without the condition comes first: what is closed must not hide it.
            let (kept, closed): (Vec<&Server>, Vec<&Server>) =
                servers.iter().partition(|server| of_server(server).are_in(has));
            let closed = closed.into_iter().map(closed_server);
            let servers = kept.into_iter().cloned().chain(closed).collect();
            Resource::Listener(Listener { scope: Scope::Servers(servers), ..listener.clone() })
        }
        Resource::Answer(answer @ Answer { entry: Entry::Server(server), .. })
            if !of_server(server).are_in(has) =>
        {
            let entry = Entry::Server(Box::new(closed_server(server)));
            Resource::Answer(Answer { entry, ..answer.clone() })
        }
        Resource::Endpoints(chunk) if !needs(resource).are_in(has) => {
            let endpoints = chunk.endpoints.iter().cloned();
            let endpoints = endpoints.map(|one| Endpoint { weight: None, ..one }).collect();
            Resource::Endpoints(Endpoints { endpoints, ..chunk.clone() })
        }
        Resource::Directory(chunk) if !needs(resource).are_in(has) => {
            let is_known = |feature| Features::from_iter([feature]).are_in(has);
            let mut chunk = chunk.clone();
            if !is_known(Feature::ServerNames) {
                chunk.tls_ports.clear();
            }
            if !is_known(Feature::AddressRanges) {
                // Their fingerprints stay, and mean nothing.
                chunk.range_sizes.clear();
            }
            Resource::Directory(chunk)
        }
        other => other.clone(),
    }
}

fn of_rule(rule: &Rule) -> Features {
    let mut features = Features::default();
    if rule.retries.as_ref().is_some_and(|retries| retries.idempotent_only) {
        features.insert(Feature::IdempotentRetries);
    }
    let of_targets = match &rule.action {
        Action::Forward(targets) => targets.iter().any(|target| target.changes.is_some()),
        Action::Redirect(_) => true,
        Action::Respond { .. } | Action::Passthrough => false,
    };
    let of_rule = rule.changes.is_some()
        || rule.cors.is_some()
        || rule.fault.is_some()
        || !rule.mirrors.is_empty();
    if of_targets || of_rule {
        features.insert(Feature::Actions);
    }
    features
}

fn of_server(server: &Server) -> Features {
    let mut features = Features::default();
    if server.hello.is_some() {
        features.insert(Feature::ClientHello);
    }
    let depends = |target: &TcpTarget| {
        target.hello.is_some() || !target.destinations.is_empty() || target.outside
    };
    if server.tcp.iter().any(depends) {
        features.insert(Feature::RelayMatch);
    }
    features
}

/// A server that closes every connection.
fn closed_server(server: &Server) -> Server {
    let protocol = Protocol::Tcp;
    Server { hello: None, protocol, routes: Vec::new(), tcp: Vec::new(), ..server.clone() }
}

fn of_discovery(discovery: &Discovery) -> Features {
    match discovery {
        Discovery::Names { .. } | Discovery::Requested { .. } => {
            Features::from_iter([Feature::NamedEndpoints])
        }
        _ => Features::default(),
    }
}

fn of_backend(backend: &Backend) -> Features {
    let mut features = of_discovery(&backend.discovery);
    if matches!(backend.load_balancer, LoadBalancer::Hash(_)) {
        features.insert(Feature::ConsistentHash);
    }
    if backend.outliers.is_some() {
        features.insert(Feature::OutlierDetection);
    }
    if backend.connection_pool.is_some() {
        features.insert(Feature::ConnectionPool);
    }
    if backend.warmup.is_some() || backend.locality.is_some() {
        features.insert(Feature::Shares);
    }
    features
}

/// The rules, of which those that need other features are closed.
fn suited(rules: &[Rule], has: Features) -> Vec<Rule> {
    let suited = rules.iter().map(|rule| match of_rule(rule).are_in(has) {
        true => rule.clone(),
        false => closed_rule(rule),
    });
    suited.collect()
}

/// The rule with its conditions, and an answer in place of what it would have done.
fn closed_rule(rule: &Rule) -> Rule {
    let (name, conditions) = (rule.name.clone(), rule.conditions.clone());
    let closed = Rule::always(Action::respond(500, DETAILS), rule.origin.clone());
    Rule { name, conditions, ..closed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_an_old_proxy_cannot_choose_is_closed_behind_the_others() {
        let server = |name: &str, hello: &str| {
            format!(
                r#"{{"name": "{name}", "protocol": "http", "routes": ["r"], {hello}
                    "tcp": [{{"backends": [["b", 1]], "origin": {{"object": "o"}}}}],
                    "origin": {{"object": "o"}}}}"#
            )
        };
        let servers = [server("tls", r#""hello": {"names": ["a"]},"#), server("plain", "")];
        let text = format!(
            r#"{{"listener": {{"name": "l", "bind": "10.0.0.1:80", "destination": "socket",
                "scope": {{"servers": [{}]}}}}}}"#,
            servers.join(",")
        );
        let resource: Resource = serde_json::from_str(&text).unwrap();
        assert_eq!(needs(&resource), Features::named(["weft.servers.client-hello"]));
        assert_eq!(stand_in(&resource, Features::all()), resource);
        let Resource::Listener(listener) = stand_in(&resource, Features::default()) else {
            panic!("a listener")
        };
        let Scope::Servers(servers) = listener.scope else { panic!("servers") };
        let [plain, closed] = &servers[..] else { panic!("{servers:?}") };
        assert_eq!((&*plain.name, plain.tcp.len()), ("plain", 1));
        assert_eq!((&*closed.name, closed.tcp.len(), closed.routes.len()), ("tls", 0, 0));
        assert_eq!((closed.protocol, &closed.hello), (Protocol::Tcp, &None));
    }

    #[test]
    fn what_an_old_proxy_cannot_relay_by_is_closed_and_names_are_not_read() {
        let server = |condition: &str| {
            format!(
                r#"{{"answer": {{"interest": "10.0.0.1:443", "entry": {{"server": {{
                    "name": "s", "protocol": "tcp", "origin": {{"object": "o"}},
                    "tcp": [{{{condition} "backends": [["b", 1]],
                              "origin": {{"object": "o"}}}}]}}}}}}}}"#
            )
        };
        for condition in [
            r#""hello": {"names": ["a.example"]},"#,
            r#""destinations": ["10.0.0.0/8"],"#,
            r#""outside": true,"#,
        ] {
            let resource: Resource = serde_json::from_str(&server(condition)).unwrap();
            assert_eq!(needs(&resource), Features::named(["weft.servers.relay-match"]));
            let Resource::Answer(answer) = stand_in(&resource, Features::default()) else {
                panic!("an answer")
            };
            let Entry::Server(closed) = answer.entry else { panic!("a server") };
            assert!(closed.tcp.is_empty(), "{condition}");
        }
        let plain: Resource = serde_json::from_str(&server("")).unwrap();
        assert_eq!(needs(&plain), Features::default());

        let chunk = r#"{"directory": {"name": "one", "httpPorts": [80], "tlsPorts": [443]}}"#;
        let resource: Resource = serde_json::from_str(chunk).unwrap();
        let Resource::Directory(old) = stand_in(&resource, Features::default()) else {
            panic!("a chunk")
        };
        assert_eq!((old.http_ports.len(), old.tls_ports.len()), (1, 0));
        assert_eq!(stand_in(&resource, Features::all()), resource);
    }

    #[test]
    fn names_are_read_again_and_unknown_ones_are_ignored() {
        let names = Feature::ALL.iter().map(|feature| feature.name());
        assert_eq!(Features::named(names.chain(["weft.of-next-year"])), Features::all());
        let none = Features::default();
        assert!(none.are_in(Features::all()) && !Features::all().are_in(none));
        assert_eq!(Features::all().iter().collect::<Vec<_>>(), Feature::ALL);
    }
}

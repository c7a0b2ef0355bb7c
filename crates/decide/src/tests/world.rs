//! Worlds and outcomes in text.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::header;
use weft_config::{
    AccessLog, Action, Answer, Backend, ChunkList, Conditions, Covers, Destination, DirectoryChunk,
    Discovery, Endpoint, Endpoints, Entry, Fingerprint, Host, Limits, Listener, LoadBalancer,
    Origin, Outside, Protocol, Resource, Route, Rule, RuleList, Server, Settings, Target,
    TcpTarget, TextMatch, Upstream, backend::Subset,
};

use crate::{
    Answer as Answered, Answers, Arrival, Arrived, ClientHello, Connection, Direction, NextHop,
    Question, Rejected, Rng, Routed, Scheme, Step, Table, record::Record,
};

/// A table made from text.
pub(super) struct World {
    pub(super) table: Table,
}

impl World {
    /// One resource a line; rules and servers are indented below theirs:
    ///
    /// ```text
    /// listener NAME directory|servers [at ADDRESS:PORT]
    ///   server NAME PORT http|detect|tcp ROUTE…
    /// directory HOST:PORT… | http PORT… | ADDRESS:PORT… [| PORT… of server names]
    /// settings closed | LABEL=VALUE… in NAMESPACE
    /// route NAME HOST,… [LIST]…
    ///   CONDITION… -> BACKEND[*WEIGHT] …   or   -> respond STATUS   [with JSON OF A RULE]
    /// rules LIST
    ///   CONDITION… -> …                    (as of routes)
    /// answer INTEREST ROUTE [covers PATTERN]
    /// server ADDRESS:PORT tcp BACKEND      (the answer for an address, or tls/HOST:PORT)
    /// backend NAME [LIST] [LABEL=VALUE | closed]
    /// chunks LIST [CHUNK]…
    /// chunk NAME ADDRESS:PORT[+LABEL=VALUE]…
    /// ```
    pub(super) fn parse(text: &str) -> Self {
        let mut world = Self { table: Table::new() };
        assert_eq!(world.apply(text), [], "the world is fine");
        world
    }

    /// Changes the world by more such lines.
    pub(super) fn apply(&mut self, text: &str) -> Vec<Rejected> {
        let (table, rejected) = self.table.with(changes(text));
        self.table = table;
        rejected
    }
}

/// The resources of a text, by name.
pub(super) fn changes(text: &str) -> Vec<(String, Option<Arc<Resource>>)> {
    let mut resources: Vec<Resource> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words[0], resources.last_mut()) {
            ("server", Some(Resource::Listener(listener))) if !words[1].contains(':') => {
                let weft_config::Scope::Servers(servers) = &mut listener.scope else {
                    panic!("{line}")
                };
                servers.push(server(&words));
            }
            (_, Some(Resource::Route(route))) if line.contains("-> ") => {
                let origin = Origin::new("Test", route.rules.len().to_string());
                route.rules.push(rule(line, origin));
            }
            (_, Some(Resource::RuleList(list))) if line.contains("-> ") => {
                let origin = Origin::new(&*list.name, list.rules.len().to_string());
                list.rules.push(rule(line, origin));
            }
            _ => resources.push(resource(&words)),
        }
    }
    resources.into_iter().map(|resource| (resource.name(), Some(Arc::new(resource)))).collect()
}

fn resource(words: &[&str]) -> Resource {
    match words {
        ["listener", name, scope, rest @ ..] => Resource::Listener(Listener {
            name: (*name).to_owned(),
            bind: match rest {
                ["at", bind] => bind.parse().unwrap(),
                _ => ([0, 0, 0, 0], 15001).into(),
            },
            destination: Destination::Socket,
            layers: Vec::new(),
            limits: Limits::default(),
            scope: if *scope == "directory" {
                weft_config::Scope::Directory
            } else {
                weft_config::Scope::Servers(Vec::new())
            },
        }),
        ["directory", rest @ ..] => Resource::Directory(directory(&rest.join(" "))),
        ["settings", "closed"] => Resource::Settings(Settings {
            outside: Outside::Refuse,
            access_log: None::<AccessLog>,
            ..Settings::default()
        }),
        ["settings", labels @ .., "in", namespace] => {
            let mut settings = Settings::default();
            settings.workload.namespace = (*namespace).to_owned();
            let pairs = labels.iter().map(|word| word.split_once('=').unwrap());
            settings.labels = pairs.map(|(key, value)| (key.into(), value.into())).collect();
            Resource::Settings(settings)
        }
        ["rules", name] => {
            Resource::RuleList(RuleList { name: (*name).to_owned(), rules: Vec::new() })
        }
        ["route", name, hosts, lists @ ..] => Resource::Route(Route {
            name: (*name).to_owned(),
            hosts: hosts.split(',').map(host).collect(),
            lists: lists.iter().map(|list| (*list).to_owned()).collect(),
            rules: Vec::new(),
            origin: Origin::new("Test", ""),
        }),
        ["answer", interest, route, rest @ ..] => {
            let covers = match rest {
                ["covers", pattern] => Some(host(pattern)),
                _ => None,
            };
            answer(interest, Entry::Route((*route).to_owned()), covers)
        }
        ["server", address, "tcp", backend] => {
            let backends = vec![((*backend).to_owned(), 1)];
            let tcp = TcpTarget { backends, ..TcpTarget::default() };
            let mut server = server(&["server", address, "0", "tcp"]);
            server.tcp = vec![tcp];
            answer(address, Entry::Server(Box::new(server)), None)
        }
        ["backend", name, rest @ ..] => Resource::Backend(backend(name, rest)),
        ["chunks", name, chunks @ ..] => Resource::ChunkList(ChunkList {
            name: (*name).to_owned(),
            chunks: chunks.iter().map(|chunk| (*chunk).to_owned()).collect(),
        }),
        ["chunk", name, endpoints @ ..] => Resource::Endpoints(Endpoints {
            name: (*name).to_owned(),
            endpoints: endpoints.iter().map(|text| endpoint(text)).collect(),
        }),
        other => panic!("{other:?}"),
    }
}

fn answer(interest: &str, entry: Entry, covers: Option<Host>) -> Resource {
    Resource::Answer(Answer {
        interest: interest.parse().unwrap(),
        entry,
        needs: Vec::new(),
        covers: covers.map(|pattern| Covers { pattern }),
    })
}

fn directory(text: &str) -> DirectoryChunk {
    let mut parts = text.split('|').map(str::split_whitespace);
    let hosts = parts.next().unwrap().map(|word| {
        let (host, port) = word.rsplit_once(':').unwrap();
        Fingerprint::of_host(host, port.parse().unwrap())
    });
    DirectoryChunk {
        name: "shared/0".to_owned(),
        hosts: hosts.collect(),
        http_ports: parts.next().unwrap().skip(1).map(|port| port.parse().unwrap()).collect(),
        addresses: parts
            .next()
            .unwrap()
            .map(|address| Fingerprint::of_address(address.parse().unwrap()))
            .collect(),
        tls_ports: parts.next().into_iter().flatten().map(|port| port.parse().unwrap()).collect(),
        ..DirectoryChunk::default()
    }
}

fn server(words: &[&str]) -> Server {
    Server {
        name: words[1].to_owned(),
        port: words[2].parse().ok().filter(|port| *port != 0),
        hello: None,
        protocol: match words[3] {
            "http" => Protocol::Http,
            "detect" => Protocol::Detect,
            _ => Protocol::Tcp,
        },
        routes: words[4..].iter().map(|route| (*route).to_owned()).collect(),
        tcp: Vec::new(),
        edge: false,
        origin: Origin::default(),
    }
}

fn backend(name: &str, rest: &[&str]) -> Backend {
    let label = rest.iter().find_map(|word| word.split_once('='));
    let list = rest.iter().find(|word| !word.contains('=') && **word != "closed");
    Backend {
        name: name.to_owned(),
        service: String::new(),
        service_name: None,
        port: 80,
        subset: label.map(|(key, value)| Subset {
            name: value.to_owned(),
            labels: vec![(key.to_owned(), value.to_owned())],
        }),
        discovery: list.map_or(Discovery::Nowhere, |list| Discovery::Endpoints((*list).into())),
        upstream: Upstream::Http1,
        load_balancer: LoadBalancer::LeastRequest,
        outliers: None,
        warmup: None,
        locality: None,
        connection_pool: None,
        connect_timeout: Duration::from_secs(10),
        closed: rest.contains(&"closed").then(|| "closed_for_a_test".to_owned()),
        origin: Origin::default(),
    }
}

fn endpoint(text: &str) -> Endpoint {
    let (address, labels) = text.split_once('+').unwrap_or((text, ""));
    let label = labels.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    Endpoint {
        address: address.parse().unwrap(),
        labels: label.into_iter().collect(),
        workload: None,
        locality: String::new(),
        weight: None,
    }
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

/// `CONDITION… -> TARGET…`
fn rule(line: &str, origin: Origin) -> Rule {
    let (conditions, action) = line.split_once("-> ").unwrap();
    let (action, besides) = action.split_once(" with ").unwrap_or((action, "{}"));
    let action = match action.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["respond", status] => Action::Respond {
            status: status.parse().unwrap(),
            body: String::new(),
            details: "direct_response".to_owned(),
        },
        targets => Action::Forward(targets.iter().map(|text| target(text)).collect()),
    };
    let mut rule = Rule::always(action, origin);
    for word in conditions.split_whitespace() {
        condition(word, &mut rule.conditions);
    }
    let mut rule = serde_json::to_value(rule).unwrap();
    let besides: serde_json::Map<_, _> = serde_json::from_str(besides).unwrap();
    rule.as_object_mut().unwrap().extend(besides);
    serde_json::from_value(rule).unwrap()
}

fn target(text: &str) -> Target {
    let (backend, weight) = text.split_once('*').unwrap_or((text, "1"));
    Target::new(backend, weight.parse().unwrap())
}

fn exact(text: TextMatch) -> String {
    match text {
        TextMatch::Exact(text) => text,
        other => panic!("{other:?}"),
    }
}

/// `path=/a`, `path^=/a`, `path~REGEX`, `anycase:path=…`, `method=…`, `header:NAME=…`, …
fn condition(word: &str, conditions: &mut Conditions) {
    let word = match word.strip_prefix("anycase:") {
        Some(word) => {
            conditions.ignore_path_case = true;
            word
        }
        None => word,
    };
    let at = word.find(['=', '^', '~', '?']).unwrap();
    let (subject, comparison) = word.split_at(at);
    let text = match (&comparison[..1], &comparison[1..]) {
        ("=", text) => TextMatch::Exact(text.to_owned()),
        ("^", text) => TextMatch::Prefix(text[1..].to_owned()),
        ("~", text) => TextMatch::Regex(text.to_owned()),
        _ => TextMatch::Present,
    };
    match subject.split_once(':') {
        Some(("header", name)) => conditions.headers.push((name.to_owned(), text)),
        Some(("without", name)) => conditions.without_headers.push((name.to_owned(), text)),
        Some(("query", name)) => conditions.query.push((name.to_owned(), text)),
        Some(("label", name)) => conditions.source.labels.push((name.to_owned(), exact(text))),
        _ => match subject {
            "path" => conditions.path = Some(text),
            "method" => conditions.method = Some(text),
            "scheme" => conditions.scheme = Some(text),
            "namespace" => conditions.source.namespace = Some(exact(text)),
            other => panic!("{other}"),
        },
    }
}

/// What comes out for `METHOD HOST PATH [NAME:VALUE]…` or `connect ADDRESS [plain | tls [NAME]]`.
pub(super) fn outcome(table: &Table, request: &str) -> String {
    decide(table, request, &mut ())
}

/// The same, for a record that listens.
pub(super) fn decide<R: Record>(table: &Table, request: &str, record: &mut R) -> String {
    let (mut rng, mut answers) = (Rng::new(1), Answers::default());
    let words: Vec<&str> = request.trim().split(' ').collect();
    match words.get(2) {
        Some(&"plain") => answers.insert(Question::Hello, Answered::Missing),
        Some(&"tls") => {
            let server_name = words.get(3).map(|name| (*name).to_owned());
            let hello = ClientHello { server_name, ..ClientHello::default() };
            answers.insert(Question::Hello, Answered::Hello(hello.into()));
        }
        _ => {}
    }
    let listener = table.listeners().next().expect("a world has a listener").name.clone();
    if words[0] == "connect" {
        let destination = words[1].parse().unwrap();
        return match table.connection(&listener, destination, &answers, record) {
            Step::Done(Connection::Http(_)) => "http".to_owned(),
            Step::Done(Connection::Detect(_)) => "detect".to_owned(),
            Step::Done(Connection::Tcp(tcp)) => match table.relay(&tcp, &mut rng, record) {
                Ok(backend) => format!("tcp {}", backend.name),
                Err(reply) => format!("refuse {} {}", reply.flags, reply.details),
            },
            Step::Ask(question) => format!("ask {question}"),
            Step::Reply(reply) => format!("refuse {} {}", reply.flags, reply.details),
        };
    }
    told(step(table, request, &mut rng, record))
}

/// What comes of a request, as text.
pub(super) fn told(step: Step<Routed>) -> String {
    match step {
        Step::Done(routed) if routed.is_passthrough() => "passthrough".to_owned(),
        Step::Done(routed) => routed.backend().name.to_string(),
        Step::Ask(question) => format!("ask {question}"),
        Step::Reply(reply) => {
            format!("{} {} {}", reply.status.unwrap(), reply.flags, reply.details)
        }
    }
}

/// The backend that a request is sent to.
pub(super) fn route(table: &Table, request: &str, rng: &mut Rng) -> String {
    match step(table, request, rng, &mut ()) {
        Step::Done(routed) => routed.backend().name.to_string(),
        other => panic!("{other:?}"),
    }
}

/// What the stages say to a request.
pub(super) fn step<R: Record>(
    table: &Table,
    request: &str,
    rng: &mut Rng,
    record: &mut R,
) -> Step<Routed> {
    let listener = table.listeners().next().expect("a world has a listener").name.clone();
    let destination = "10.9.9.9:80".parse().unwrap();
    let scope = scope(table, &listener, destination);
    request_over(table, (&scope, destination), request, rng, record)
}

/// What a connection of HTTP that arrived at `listener` for `destination` is served by.
pub(super) fn scope(table: &Table, listener: &str, destination: SocketAddr) -> crate::Scope {
    match table.connection(listener, destination, &Answers::default(), &mut ()) {
        Step::Done(Connection::Http(scope) | Connection::Detect(scope)) => scope,
        other => panic!("{other:?}"),
    }
}

/// What the stages say to a request over a connection for `destination`.
pub(super) fn request_over<R: Record>(
    table: &Table,
    (scope, destination): (&crate::Scope, SocketAddr),
    request: &str,
    rng: &mut Rng,
    record: &mut R,
) -> Step<Routed> {
    let arrived = read(destination, request);
    table.decide(scope, &arrived, &Answers::default(), (rng, record))
}

/// A request, and the connection that it came over.
pub(super) fn arrived(table: &Table, request: &str) -> (crate::Scope, Arrived) {
    let listener = table.listeners().next().expect("a world has a listener").name.clone();
    let destination = "10.9.9.9:80".parse().unwrap();
    (scope(table, &listener, destination), read(destination, request))
}

fn read(destination: SocketAddr, request: &str) -> Arrived {
    let words: Vec<&str> = request.trim().split(' ').collect();
    let fields = words[3..].iter().filter_map(|word| word.split_once(':'));
    let mut head = http::Request::builder().method(words[0]).uri(words[2]);
    head = head.header(header::HOST, words[1]);
    for (name, value) in fields {
        head = head.header(name, value);
    }
    let arrival = Arrival {
        client: Some("10.1.1.1:1234".parse().unwrap()),
        destination,
        direction: Direction::Outbound,
        next: NextHop::Elsewhere,
        scheme: Scheme::Http,
    };
    Arrived::read(head.body(()).unwrap().into_parts().0, arrival)
}

//! Worlds and outcomes in text.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use weft_config::{
    AccessLog, Action, Answer, Backend, Conditions, Covers, Destination, DirectoryChunk, Discovery,
    Endpoint, Endpoints, Entry, Fingerprint, Host, Limits, Listener, LoadBalancer, Origin, Outside,
    Protocol, Resource, Route, Rule, Scope, Server, Settings, Target, TcpTarget, TextMatch,
    Upstream, backend::Subset,
};

use crate::{Connection, Rejected, Relay, Request, Rng, Routed, Table, record::Record};

/// A table made from text.
pub(super) struct World {
    pub(super) table: Table,
}

impl World {
    /// One resource a line; rules and servers are indented below theirs:
    ///
    /// ```text
    /// listener NAME directory|servers
    ///   server NAME PORT http|detect|tcp ROUTE…
    /// directory HOST:PORT… | http PORT… | ADDRESS:PORT…
    /// settings closed
    /// route NAME HOST,…
    ///   CONDITION… -> BACKEND[*WEIGHT] …   or   -> respond STATUS
    /// answer INTEREST ROUTE [covers PATTERN]
    /// server ADDRESS:PORT tcp BACKEND      (the answer for an address)
    /// backend NAME [CHUNK] [LABEL=VALUE | closed]
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
                let Scope::Servers(servers) = &mut listener.scope else { panic!("{line}") };
                servers.push(server(&words));
            }
            (_, Some(Resource::Route(route))) if line.contains("-> ") => {
                let origin = Origin::new("Test", route.rules.len().to_string());
                route.rules.push(rule(line, origin));
            }
            _ => resources.push(resource(&words)),
        }
    }
    resources.into_iter().map(|resource| (resource.name(), Some(Arc::new(resource)))).collect()
}

fn resource(words: &[&str]) -> Resource {
    match words {
        ["listener", name, scope] => Resource::Listener(Listener {
            name: (*name).to_owned(),
            bind: ([0, 0, 0, 0], 15001).into(),
            destination: Destination::Socket,
            layers: Vec::new(),
            limits: Limits::default(),
            scope: if *scope == "directory" {
                Scope::Directory
            } else {
                Scope::Servers(Vec::new())
            },
        }),
        ["directory", rest @ ..] => Resource::Directory(directory(&rest.join(" "))),
        ["settings", "closed"] => Resource::Settings(Settings {
            outside: Outside::Refuse,
            access_log: None::<AccessLog>,
            ..Settings::default()
        }),
        ["route", name, hosts] => Resource::Route(Route {
            name: (*name).to_owned(),
            hosts: hosts.split(',').map(host).collect(),
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
            let tcp =
                TcpTarget { backends: vec![((*backend).to_owned(), 1)], origin: Origin::default() };
            let mut server = server(&["server", address, "0", "tcp"]);
            server.tcp = Some(tcp);
            answer(address, Entry::Server(Box::new(server)), None)
        }
        ["backend", name, rest @ ..] => Resource::Backend(backend(name, rest)),
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
    }
}

fn server(words: &[&str]) -> Server {
    Server {
        name: words[1].to_owned(),
        port: words[2].parse().ok().filter(|port| *port != 0),
        protocol: match words[3] {
            "http" => Protocol::Http,
            "detect" => Protocol::Detect,
            _ => Protocol::Tcp,
        },
        routes: words[4..].iter().map(|route| (*route).to_owned()).collect(),
        tcp: None,
        edge: false,
        origin: Origin::default(),
    }
}

fn backend(name: &str, rest: &[&str]) -> Backend {
    let label = rest.iter().find_map(|word| word.split_once('='));
    let chunks: Vec<_> = rest
        .iter()
        .filter(|word| !word.contains('=') && **word != "closed")
        .map(|word| (*word).to_owned())
        .collect();
    Backend {
        name: name.to_owned(),
        service: String::new(),
        service_name: None,
        port: 80,
        subset: label.map(|(key, value)| Subset {
            name: value.to_owned(),
            labels: vec![(key.to_owned(), value.to_owned())],
        }),
        discovery: Discovery::Endpoints(chunks),
        upstream: Upstream::Http1,
        load_balancer: LoadBalancer::LeastRequest,
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
    }
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

/// `CONDITION… -> TARGET…`
fn rule(line: &str, origin: Origin) -> Rule {
    let (conditions, action) = line.split_once("-> ").unwrap();
    let action = match action.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["respond", status] => Action::Respond {
            status: status.parse().unwrap(),
            body: String::new(),
            details: "direct_response".to_owned(),
        },
        targets => Action::Forward(targets.iter().map(|text| target(text)).collect()),
    };
    let mut rule = Rule {
        name: None,
        conditions: Conditions::default(),
        action,
        timeout: None,
        retries: None,
        origin,
    };
    for word in conditions.split_whitespace() {
        condition(word, &mut rule.conditions);
    }
    rule
}

fn target(text: &str) -> Target {
    let (backend, weight) = text.split_once('*').unwrap_or((text, "1"));
    Target { backend: backend.to_owned(), weight: weight.parse().unwrap() }
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
        _ => match subject {
            "path" => conditions.path = Some(text),
            "method" => conditions.method = Some(text),
            "scheme" => conditions.scheme = Some(text),
            other => panic!("{other}"),
        },
    }
}

/// What comes out for `METHOD HOST PATH [NAME:VALUE]…` or `connect ADDRESS`.
pub(super) fn outcome(table: &Table, request: &str) -> String {
    decide(table, request, &mut ())
}

/// The same, for who listens.
pub(super) fn decide<R: Record>(table: &Table, request: &str, record: &mut R) -> String {
    let mut rng = Rng::new(1);
    let words: Vec<&str> = request.trim().split(' ').collect();
    let listener = table.listeners().next().expect("a world has a listener").name.clone();
    if words[0] == "connect" {
        let connection = table.connection(&listener, words[1].parse().unwrap(), record);
        return match connection {
            Connection::Http(_) => "http".to_owned(),
            Connection::Detect(_) => "detect".to_owned(),
            Connection::Ask(interest) => format!("ask {interest}"),
            Connection::Refuse(reply) => format!("refuse {} {}", reply.flags, reply.details),
            Connection::Tcp(tcp) => match table.relay(&tcp, &mut rng, record) {
                Relay::To(backend) => format!("tcp {}", backend.name),
                Relay::Refuse(reply) => format!("refuse {} {}", reply.flags, reply.details),
            },
        };
    }
    let mut headers = HeaderMap::new();
    for (name, value) in words[3..].iter().filter_map(|word| word.split_once(':')) {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let scope = match table.connection(&listener, "10.9.9.9:80".parse().unwrap(), &mut ()) {
        Connection::Http(scope) | Connection::Detect(scope) => scope,
        other => panic!("{other:?}"),
    };
    let request = Request {
        method: &words[0].parse::<Method>().unwrap(),
        scheme: "http",
        authority: words[1],
        path_and_query: words[2],
        headers: &headers,
    };
    match table.route(&scope, &request, &mut rng, record) {
        Routed::Forward(forward) => forward.backend.name.to_string(),
        Routed::Passthrough(_) => "passthrough".to_owned(),
        Routed::Ask(interest) => format!("ask {interest}"),
        Routed::Reply(reply) => {
            format!("{} {} {}", reply.status.unwrap(), reply.flags, reply.details)
        }
    }
}

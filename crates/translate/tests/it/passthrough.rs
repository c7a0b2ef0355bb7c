//! Gateways of several owners that pass connections on, on one port: none takes another's.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weft_config::{Interest, Resource, Scope};
use weft_translate::{Resolved, Translator};

use crate::worlds;

/// A Gateway and a VirtualService of namespace `owner`, made in the second `made`.
fn pair(owner: &str, made: usize, server: Value, list: (&str, Value), host: &str) -> [Value; 2] {
    let metadata = json!({
        "name": owner, "namespace": owner,
        "creationTimestamp": format!("2026-01-01T00:00:{made:02}Z"),
    });
    let (list, rules) = list;
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata,
        "spec": {"selector": {"app": "edge"}, "servers": [server]},
    });
    let service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
        "spec": {"hosts": [host], "gateways": [owner], list: rules},
    });
    [gateway, service]
}

fn route(owner: &str) -> Value {
    let host = format!("{owner}.{owner}.svc.cluster.local");
    json!([{"destination": {"host": host, "port": {"number": 443}}}])
}

/// TLS for `name`, at `bind` or at every address.
fn tls(owner: &str, made: usize, bind: Option<&str>, name: &str) -> [Value; 2] {
    let server = json!({
        "port": {"number": 443, "name": "tls", "protocol": "TLS"}, "bind": bind, "hosts": ["*"],
        "tls": {"mode": "PASSTHROUGH"},
    });
    let rules = json!([{"match": [{"sniHosts": [name]}], "route": route(owner)}]);
    pair(owner, made, server, ("tls", rules), name)
}

fn tcp(owner: &str, made: usize, bind: Option<&str>) -> [Value; 2] {
    let server = json!({
        "port": {"number": 443, "name": "tcp", "protocol": "TCP"}, "bind": bind, "hosts": ["*"],
    });
    pair(owner, made, server, ("tcp", json!([{"route": route(owner)}])), "a.example")
}

fn http(owner: &str, made: usize) -> [Value; 2] {
    let server = json!({
        "port": {"number": 443, "name": "http", "protocol": "HTTP"}, "hosts": ["*"],
    });
    pair(owner, made, server, ("http", json!([{"route": route(owner)}])), "a.example")
}

/// What the gateway at 10.1.0.1 runs in such a world.
fn edge(objects: impl IntoIterator<Item = Value>) -> (Translator, Resolved) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "edge", "namespace": "edge", "labels": {"app": "edge"}},
        "spec": {"containers": [{"name": "istio-proxy"}]}, "status": {"podIP": "10.1.0.1"},
    });
    let objects = objects.into_iter().chain([pod]);
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    let mut translator = worlds::translator(objects);
    let client = worlds::client(&translator, "edge/edge");
    let resolved = Resolved::clone(&translator.resolve(&client, &Interest::Own));
    (translator, resolved)
}

/// In each place the owners of what is passed on, by the names that it is for.
fn places(resolved: &Resolved) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for piece in &resolved.resources {
        let Resource::Listener(listener) = &*piece.resource else { continue };
        let Scope::Servers(servers) = &listener.scope else { continue };
        let told = servers.iter().map(|server| {
            let owner = match server.tcp.first() {
                None => "nobody",
                Some(target) => target.origin.object.split('/').nth(1).expect("a namespace"),
            };
            let names = server.hello.iter().flat_map(|hello| &hello.names);
            let names: Vec<_> = names.map(ToString::to_string).collect();
            format!("{owner}: {}", names.join(" "))
        });
        found.insert(listener.bind.to_string(), told.collect());
    }
    found
}

#[track_caller]
fn check(objects: impl IntoIterator<Item = Value>, expected: &[(&str, &[&str])]) {
    let (_, resolved) = edge(objects);
    let found = places(&resolved);
    let expected: BTreeMap<String, Vec<String>> = expected
        .iter()
        .map(|(at, told)| ((*at).to_owned(), told.iter().map(|one| (*one).to_owned()).collect()))
        .collect();
    assert_eq!(found, expected);
}

const WIDE: &str = "0.0.0.0:443";
const NARROW: &str = "10.1.0.1:443";
const BIND: Option<&str> = Some("10.1.0.1");

#[test]
fn a_younger_server_at_an_address_takes_no_name_from_an_older_one() {
    let old = tls("old", 1, None, "a.example");
    let new = |name| tls("new", 2, BIND, name);
    check(old.clone().into_iter().chain(new("a.example")), &[(WIDE, &["old: a.example"])]);
    check(
        old.into_iter().chain(new("b.example")),
        &[(WIDE, &["old: a.example"]), (NARROW, &["new: b.example"])],
    );
    // The older one at the address has it there, and the younger one elsewhere.
    check(
        tls("old", 1, BIND, "a.example").into_iter().chain(tls("new", 2, None, "a.example")),
        &[(NARROW, &["old: a.example"]), (WIDE, &["new: a.example"])],
    );
}

#[test]
fn a_younger_server_takes_no_bytes_from_an_older_one() {
    for bind in [None, BIND] {
        let both = tcp("old", 1, None).into_iter().chain(tcp("new", 2, bind));
        check(both, &[(WIDE, &["old: "])]);
    }
    let both = tcp("old", 1, BIND).into_iter().chain(tcp("new", 2, None));
    check(both, &[(NARROW, &["old: "]), (WIDE, &["new: "])]);
}

#[test]
fn a_younger_server_takes_no_port_from_one_of_another_kind_and_both_are_told() {
    let conflicts = |objects: Vec<Value>| {
        let (mut translator, resolved) = edge(objects);
        let told = translator.diagnostics().into_iter();
        let told = told.filter(|one| one.message.contains("kind of protocol"));
        let told: Vec<_> =
            told.map(|one| format!("{:?} {}", one.severity, one.object.namespace)).collect();
        (places(&resolved), told)
    };
    let http_first = http("old", 1);
    for second in [tls("new", 2, BIND, "a.example"), tcp("new", 2, BIND), tcp("new", 2, None)] {
        let (places, told) = conflicts(http_first.clone().into_iter().chain(second).collect());
        assert_eq!(
            places.into_iter().collect::<Vec<_>>(),
            [(WIDE.into(), vec!["nobody: ".into()])]
        );
        assert_eq!(told, ["Error new", "Warning old"]);
    }
    let tls_first = tls("old", 1, None, "a.example").into_iter();
    let (places, told) = conflicts(tls_first.chain(http("new", 2)).collect());
    let own = vec!["old: a.example".to_owned()];
    assert_eq!(places.into_iter().collect::<Vec<_>>(), [(WIDE.to_owned(), own)]);
    assert_eq!(told, ["Error new", "Warning old"]);
}

#[test]
fn names_on_many_ports_have_a_bound_and_the_rest_is_closed() {
    let names: Vec<String> =
        (0..2_000).map(|at| format!("h{at}{}.example", "x".repeat(50))).collect();
    let server = |port: usize| {
        json!({
            "port": {"number": port, "name": format!("tls-{port}"), "protocol": "TLS"},
            "hosts": ["*.example"], "tls": {"mode": "PASSTHROUGH"},
        })
    };
    let metadata = json!({"name": "many", "namespace": "many"});
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata,
        "spec": {
            "selector": {"app": "edge"}, "servers": (2_000..2_300).map(server).collect::<Vec<_>>(),
        },
    });
    let rules: Vec<Value> = names
        .iter()
        .map(|name| json!({"match": [{"sniHosts": [name]}], "route": route("many")}))
        .collect();
    let service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
        "spec": {"hosts": names, "gateways": ["many"], "tls": rules},
    });
    let (mut translator, resolved) = edge([gateway, service]);
    let served: Vec<usize> = places(&resolved).values().map(Vec::len).collect();
    assert!((10..200).contains(&served.len()), "{} ports", served.len());
    assert!(served.iter().all(|count| *count == 2_000), "{served:?}");
    let told = translator.diagnostics();
    assert!(told.iter().any(|one| one.message.contains("is not served on port")), "{told:?}");
}

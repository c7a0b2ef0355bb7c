//! ServiceEntries, WorkloadEntries and Sidecars: what is kept up to date is what a rebuild makes,
//! and what many or large ones cost.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weft_api::{Key, Kind, Object};
use weft_config::{Entry, Interest, Part, Resource};
use weft_testkit::processor_time::used;
use weft_translate::{Client, Resolved, Translator};

use crate::{render, worlds};

fn object(value: &Value) -> (Key, Option<Object>) {
    let object = weft_api::check(value).object.expect("an object");
    (object.key(), Some(object))
}

fn entry(name: &str, spec: &Value) -> (Key, Option<Object>) {
    object(&json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    }))
}

fn web() -> Client {
    let pod = object(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "status": {"podIP": "10.244.0.5"},
    }));
    match pod.1 {
        Some(Object::Pod(pod)) => Client::of_pod(&pod),
        _ => unreachable!("a pod was made"),
    }
}

/// What a case's questions about hosts and addresses, and what every proxy asks, are answered.
fn answers(translator: &mut Translator, asked: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in asked.lines().filter_map(|line| line.strip_prefix("? ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [pod, interest] = words[..] else { continue };
        let (namespace, name) = pod.split_once('/').expect("a pod is namespace/name");
        if translator.object(&Key::new(Kind::Pod, namespace, name)).is_none() {
            continue;
        }
        let client = worlds::client(translator, pod);
        let interest: Interest = interest.parse().expect("an interest");
        let all = Part::ALL.map(Interest::Directory).into_iter().chain([interest]);
        for interest in all {
            found.push(text(&translator.resolve(&client, &interest)));
        }
    }
    found
}

fn text(resolved: &Resolved) -> String {
    let pieces = resolved.resources.iter();
    let pieces = pieces.map(|piece| String::from_utf8_lossy(&piece.json).into_owned());
    let answer = serde_json::to_string(&resolved.answer).expect("an answer is JSON");
    pieces.chain([answer]).collect()
}

/// Takes each object of a case out and puts it in again; answers are those of a rebuild.
#[track_caller]
fn each_goes_and_comes_back(world: &str, asked: &str) {
    let all: BTreeMap<Key, Object> =
        worlds::objects(world).into_iter().map(|object| (object.key(), object)).collect();
    let mut kept = worlds::translator(all.values().cloned());
    let whole = answers(&mut kept, asked);
    for key in all.keys() {
        kept.change([(key.clone(), None)]);
        let rest = all.iter().filter(|(other, _)| *other != key).map(|(_, object)| object.clone());
        let mut rebuilt = worlds::translator(rest);
        assert_eq!(answers(&mut kept, asked), answers(&mut rebuilt, asked), "without {key}");
        assert_eq!(kept.check(10_000), Vec::<String>::new(), "without {key}");
        kept.change([(key.clone(), Some(all[key].clone()))]);
        assert_eq!(answers(&mut kept, asked), whole, "with {key} again");
    }
}

#[test]
fn hosts_of_entries_are_kept_up_to_date() {
    each_goes_and_comes_back(
        include_str!("../cases/entries.yaml"),
        include_str!("../cases/entries.txt"),
    );
}

#[test]
fn whose_an_address_is_is_kept_up_to_date() {
    each_goes_and_comes_back(
        include_str!("../cases/squatters.yaml"),
        include_str!("../cases/squatters.txt"),
    );
}

#[test]
fn scopes_of_sidecars_are_kept_up_to_date() {
    each_goes_and_comes_back(
        include_str!("../cases/sidecars.yaml"),
        include_str!("../cases/sidecars.txt"),
    );
}

/// The time that a processor takes for a mesh of `count` hosts that `made` makes, of which one
/// client asks for its directory and for each host.
fn whole_mesh(
    count: usize,
    made: impl Fn(usize) -> (Key, Option<Object>),
    host: impl Fn(usize) -> String,
) -> u64 {
    let objects: Vec<_> = (0..count).map(made).collect();
    let begun = used();
    let mut translator = Translator::new();
    translator.change(objects);
    for part in Part::ALL {
        translator.resolve(&web(), &Interest::Directory(part));
    }
    for number in 0..count {
        let interest = format!("{}:80", host(number)).parse().expect("an interest");
        let resolved = translator.resolve(&web(), &interest);
        assert!(matches!(resolved.answer.entry, Entry::Route(_)), "{interest}");
    }
    used() - begun
}

#[test]
fn service_entries_cost_what_services_cost() {
    const COUNT: usize = 2_000;
    let service = |number: usize| {
        object(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s{number}"), "namespace": "shop"},
            "spec": {
                "clusterIP": format!("10.96.{}.{}", number / 250, number % 250 + 1),
                "ports": [{"name": "http", "port": 80}],
            },
        }))
    };
    let own = |number: usize| {
        let spec = json!({
            "hosts": [format!("s{number}.example")],
            "addresses": [format!("240.0.{}.{}", number / 250, number % 250 + 1)],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1"}],
        });
        entry(&format!("s{number}"), &spec)
    };
    let host = |number| format!("s{number}.shop.svc.cluster.local");
    let services = (0..2).map(|_| whole_mesh(COUNT, service, host)).min().unwrap_or_default();
    let host = |number| format!("s{number}.example");
    let entries = (0..2).map(|_| whole_mesh(COUNT, own, host)).min().unwrap_or_default();
    assert!(entries < services * 2, "{entries} ns for entries, {services} ns for Services");
}

/// The time that a processor takes to answer for 200 addresses where `count` entries have ranges
/// that overlap.
fn among_ranges(count: usize) -> u64 {
    let own = |number: usize| {
        let (high, bits) = (number / 200, 9 + number % 20);
        let spec = json!({
            "hosts": [format!("r{number}.example")],
            "addresses": [format!("10.{}.{}.0/{bits}", high % 250, number % 200)],
            "ports": [{"number": 5432, "name": "tcp", "protocol": "TCP"}],
            "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1"}],
        });
        entry(&format!("r{number}"), &spec)
    };
    let mut translator = Translator::new();
    translator.change((0..count).map(own));
    let begun = used();
    for number in 0..200 {
        let interest = format!("10.200.{number}.1:5432").parse().expect("an interest");
        translator.resolve(&web(), &interest);
    }
    used() - begun
}

#[test]
fn an_address_is_not_compared_with_every_range() {
    let fastest = |count| (0..3).map(|_| among_ranges(count)).min().unwrap_or_default();
    let (few, many) = (fastest(500), fastest(4_000));
    // To look at all takes eight times as long.
    assert!(many < few * 4, "{few} and {many}");
}

#[test]
fn addresses_times_ports_are_not_in_the_directory() {
    let addresses: Vec<String> =
        (0..10_000).map(|number| format!("172.16.{}.{}", number / 250, number % 250)).collect();
    let ports: Vec<Value> = (0..50)
        .map(|at| json!({"number": 2_000 + at, "name": format!("p{at}"), "protocol": "TCP"}))
        .collect();
    let spec = json!({
        "hosts": ["many.example"], "addresses": addresses, "ports": ports,
        "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1"}],
    });
    let mut translator = Translator::new();
    translator.change([entry("many", &spec)]);
    let shared = translator.resolve(&web(), &Interest::Directory(Part::Shared));
    let bytes: usize = shared.resources.iter().map(|piece| piece.json.len()).sum();
    assert!((80_000..200_000).contains(&bytes), "{bytes}");
    let interest = "172.16.39.249:2049".parse().expect("an interest");
    let found = render::resolved(&translator.resolve(&web(), &interest));
    assert!(found.contains("outbound|2049||many.example"), "{found}");
}

#[test]
fn hosts_times_endpoints_have_a_bound_which_closes_and_is_told() {
    let hosts: Vec<String> = (0..200).map(|number| format!("h{number}.example")).collect();
    let endpoints: Vec<Value> = (0..2_000)
        .map(|at| json!({"address": format!("172.16.{}.{}", at / 250, at % 250)}))
        .collect();
    let spec = json!({
        "hosts": hosts, "resolution": "STATIC", "endpoints": endpoints,
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    });
    let mut translator = Translator::new();
    translator.change([entry("wide", &spec)]);
    let resolved = translator.resolve(&web(), &"h7.example:80".parse().expect("an interest"));
    let endpoints = resolved.resources.iter().filter_map(|piece| match &*piece.resource {
        Resource::Endpoints(chunk) => Some(chunk.endpoints.len()),
        _ => None,
    });
    assert_eq!(endpoints.sum::<usize>(), 0);
    let told = translator.diagnostics();
    assert!(told.iter().any(|one| one.field == "spec.ports[0]"), "{told:?}");
}

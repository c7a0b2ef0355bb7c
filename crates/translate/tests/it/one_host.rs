//! What one change costs, diagnostics with it, where many objects are about one host, port or
//! gateway: so much for each of them, not for each pair. Four times as many must not take about
//! sixteen times as long.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_api::{Key, Object};
use weft_translate::Translator;

fn object(value: Value) -> (Key, Option<Object>) {
    let object = weft_api::check(&value).object.expect("an object");
    (object.key(), Some(object))
}

fn istio(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "evil"}, "spec": spec,
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "evil"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]},
    })
}

/// The time until all that is wrong is known after one of `world` became `changed`, the
/// shortest of three.
fn one_change(world: Vec<Value>, changed: impl Fn(usize) -> Value) -> Duration {
    let mut translator = Translator::new();
    translator.change(world.into_iter().map(object));
    translator.diagnostics();
    let once = |at| {
        let changed = object(changed(at));
        let begun = Instant::now();
        translator.change([changed]);
        translator.examine(usize::MAX);
        begun.elapsed()
    };
    (0..3).map(once).min().unwrap_or_default()
}

/// Four times as many of a world cost about four times as much.
#[track_caller]
fn grows_with_the_number(few: usize, cost: impl Fn(usize) -> Duration) {
    let (few, many) = (cost(few), cost(4 * few));
    assert!(many < few * 9, "{few:?} and {many:?}");
}

fn rule(at: usize, balancer: &str) -> Value {
    let spec = json!({
        "host": "db",
        "subsets": [{"name": format!("s{at}"), "labels": {"a": "b"}}],
        "trafficPolicy": {"loadBalancer": {"simple": balancer}},
    });
    istio("DestinationRule", &format!("d{at}"), spec)
}

#[test]
fn a_change_of_one_of_many_destination_rules_of_a_host() {
    grows_with_the_number(400, |count| {
        let rules = (0..count).map(|at| rule(at, "RANDOM"));
        let names = |turn: usize| {
            let mut changed = rule(0, "RANDOM");
            changed["spec"]["subsets"][0]["name"] = json!(format!("t{turn}"));
            changed
        };
        one_change(rules.chain([service()]).collect(), names)
    });
}

#[test]
fn a_change_of_what_one_of_many_destination_rules_does_examines_no_other() {
    let mut translator = Translator::new();
    let rules = (0..50).map(|at| rule(at, "RANDOM"));
    translator.change(rules.chain([service()]).map(object));
    translator.examine(usize::MAX);
    translator.change([object(rule(7, "ROUND_ROBIN"))]);
    assert_eq!(translator.examine(usize::MAX).count, 1);
}

fn routes(at: usize, prefix: &str) -> Value {
    let spec = json!({
        "hosts": ["db"],
        "http": [{
            "match": [{"uri": {"prefix": prefix}}],
            "route": [{"destination": {"host": "db", "subset": "s0"}}],
        }],
    });
    istio("VirtualService", &format!("v{at}"), spec)
}

#[test]
fn a_change_of_one_of_many_virtual_services_of_a_host() {
    grows_with_the_number(400, |count| {
        let all = (0..count).map(|at| routes(at, "/"));
        let others = [service(), rule(0, "RANDOM")];
        one_change(all.chain(others).collect(), |turn| {
            let mut changed = routes(count, "/");
            changed["metadata"]["name"] = json!(format!("a{turn}"));
            changed
        })
    });
}

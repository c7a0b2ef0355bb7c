//! What rules cost a host with many ports: each port reads its own, and what all of them repeat
//! has a bound.

use serde_json::{Value, json};
use weft_config::{Action, Entry, Interest, Resource, Rule};
use weft_testkit::processor_time::used;
use weft_translate::{Resolved, Translator};

use crate::worlds;

/// A service with `ports` ports, which speak HTTP from 1000 on or something else at its address,
/// a pod beside it, and a virtual service for it that says `spec`.
fn world(ports: usize, protocol: &str, spec: Value) -> Translator {
    let port = |at: usize| json!({"name": format!("{protocol}-{at}"), "port": 1000 + at});
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.1"},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "many", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.1", "ports": (0..ports).map(port).collect::<Vec<_>>()},
        }),
        virtual_service("shop", spec),
    ];
    worlds::translator(objects.map(|value| weft_api::read(value).expect("an object")))
}

fn virtual_service(namespace: &str, mut spec: Value) -> Value {
    if spec["hosts"].is_null() {
        spec["hosts"] = json!(["many.shop.svc.cluster.local"]);
    }
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "v", "namespace": namespace}, "spec": spec,
    })
}

/// One rule with an alternative for each of `matches`.
fn rules(list: &str, matches: Vec<Value>) -> Value {
    json!({list: [{
        "match": matches,
        "route": [{"destination": {"host": "many.shop.svc.cluster.local"}}],
    }]})
}

fn resolved(translator: &mut Translator, interest: &str) -> Resolved {
    let client = worlds::client(translator, "shop/web");
    let interest: Interest = interest.parse().expect("an interest");
    Resolved::clone(&translator.resolve(&client, &interest))
}

/// The rules for `host` on a port, and the bytes of the answer.
fn http(translator: &mut Translator, host: &str, port: usize) -> (Vec<Rule>, usize) {
    let resolved = resolved(translator, &format!("{host}:{port}"));
    let bytes = resolved.resources.iter().map(|piece| piece.json.len()).sum();
    (worlds::routes(&resolved).into_values().flat_map(|route| route.rules).collect(), bytes)
}

/// Fields that are reported because a virtual service is closed on further ports.
fn told(translator: &mut Translator) -> Vec<String> {
    let found = translator.diagnostics().into_iter();
    found.filter(|one| one.message.contains("8 MiB")).map(|one| one.field).collect()
}

fn paths(count: usize) -> Vec<Value> {
    (0..count).map(|at| json!({"uri": {"exact": format!("/{at}")}})).collect()
}

#[test]
fn what_ports_repeat_has_a_bound_and_further_ports_are_closed() {
    let mut translator = world(200, "http", rules("http", paths(2_000)));
    let too_many = Action::respond(500, "too_many_ports");
    let all: Vec<(Vec<Rule>, usize)> =
        (1000..1200).map(|port| http(&mut translator, "many", port)).collect();
    let served = all.iter().take_while(|(rules, _)| rules.len() == 2_000).count();
    assert!((10..40).contains(&served), "{served}");
    for (rules, _) in &all[served..] {
        assert_eq!(rules.iter().map(|rule| &rule.action).collect::<Vec<_>>(), [&too_many]);
    }
    let bytes: usize = all.iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes < 16 << 20, "{bytes} bytes");
    assert_eq!(told(&mut translator), ["spec.http"]);
    // Hosts that no Service defines have the ports of the one that is named beside them.
    let mut both = rules("http", paths(2_000));
    both["hosts"] = json!(["many", "api.example"]);
    let both = weft_api::read(virtual_service("shop", both)).expect("an object");
    translator.change([(both.key(), Some(both))]);
    assert_eq!(http(&mut translator, "api.example", 999 + served).0.len(), 2_000);
    let (rules_beyond, _) = http(&mut translator, "api.example", 1000 + served);
    assert_eq!(rules_beyond[0].action, too_many);
    // With fewer rules all ports are open.
    let few = weft_api::read(virtual_service("shop", rules("http", paths(20)))).expect("an object");
    translator.change([(few.key(), Some(few))]);
    assert_eq!(http(&mut translator, "many", 1199).0.len(), 20);
    assert_eq!(told(&mut translator), [""; 0]);
    assert!(translator.check(10_000).is_empty());
}

#[test]
fn rules_that_name_their_ports_close_none() {
    let one = |at: usize| json!({"port": 1000 + at % 200, "uri": {"exact": format!("/{at}")}});
    let mut translator = world(200, "http", rules("http", (0..20_000).map(one).collect()));
    assert_eq!(http(&mut translator, "many", 1199).0.len(), 100);
    assert_eq!(told(&mut translator), [""; 0]);
}

#[test]
fn rules_of_another_namespace_close_no_port_that_these_do_not_take() {
    let one = |at: usize| json!({"sourceLabels": {"a": "b"}, "uri": {"exact": format!("/{at}")}});
    let foreign = rules("http", (0..2_000).map(one).collect());
    let mut translator = world(200, "http", rules("http", paths(20)));
    let foreign = weft_api::read(virtual_service("evil", foreign)).expect("an object");
    translator.change([(foreign.key(), Some(foreign))]);
    // Those of the namespace are for everyone, so the others are never looked at.
    for port in [1000, 1199] {
        assert_eq!(http(&mut translator, "many", port).0.len(), 20, "{port}");
    }
}

#[test]
fn connections_have_the_same_bound_and_end_on_further_ports() {
    let one = |at: usize| json!({"sourceLabels": {"a": format!("{at}{}", "x".repeat(1000))}});
    let named = |at: usize| {
        let mut one = one(at);
        one["sniHosts"] = json!(["many.shop.svc.cluster.local"]);
        one
    };
    // For the clients of each alternative there is another target, for what no name is for.
    let lists = [("tcp", &one as &dyn Fn(usize) -> Value, 300), ("tls", &named, 600)];
    for (list, one, count) in lists {
        let spec = rules(list, (0..300).map(one).collect());
        let mut translator = world(200, list, spec);
        let targets: Vec<usize> = (1000..1200)
            .map(|port| {
                let resolved = resolved(&mut translator, &format!("10.96.0.1:{port}"));
                let Entry::Server(server) = &resolved.answer.entry else { panic!("{port}") };
                let is_closed = server.tcp.len() == 1;
                let black_hole = resolved.resources.iter().any(|piece| {
                    matches!(&*piece.resource, Resource::Backend(one)
                        if [(one.name.clone(), 1)] == server.tcp[0].backends[..])
                });
                assert!(!is_closed || black_hole, "{port}: {:?}", server.tcp);
                server.tcp.len()
            })
            .collect();
        let served = targets.iter().take_while(|found| **found == count + 1).count();
        assert!((10..40).contains(&served), "{served}");
        assert!(targets[served..].iter().all(|count| *count == 1), "{targets:?}");
        assert_eq!(told(&mut translator), [format!("spec.{list}")]);
    }
}

/// A processor's time to answer for 200 ports but the first, where `count` alternatives are for
/// others.
fn cost(list: &str, count: usize) -> u64 {
    let others =
        [json!({"port": 1}), json!({"sourceNamespace": "other"}), json!({"gateways": ["x"]})];
    let matches = others.iter().cycle().take(count).cloned().collect();
    let mut translator =
        world(201, if list == "http" { "http" } else { "tcp" }, rules(list, matches));
    let mut ask = |port: usize| match list {
        "http" => resolved(&mut translator, &format!("many:{port}")),
        _ => resolved(&mut translator, &format!("10.96.0.1:{port}")),
    };
    ask(1000);
    let begun = used();
    (1001..1201).for_each(|port| drop(ask(port)));
    used() - begun
}

#[test]
fn ports_do_not_read_what_is_for_others() {
    for (list, count) in [("http", 30_000), ("tcp", 6_000)] {
        let fastest = |count| (0..2).map(|_| cost(list, count)).min().unwrap_or_default();
        let (few, many) = (fastest(30), fastest(count));
        // To read all of them on each port takes many times as long.
        assert!(many < few * 3, "{list}: {few} and {many}");
    }
}

//! What the mesh's own objects may cost where many of one kind meet many of another: the sum of
//! both, not the product. Where only time shows it, four times as much of both must not take
//! about sixteen times as long.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weft_api::{Key, Object};
use weft_config::{Backend, Discovery, Interest, Resource};
use weft_translate::{Client, Resolved, Translator};

fn object(value: Value) -> (Key, Option<Object>) {
    let object = weft_api::check(&value).object.expect("an object");
    (object.key(), Some(object))
}

fn web() -> Client {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "app"}]},
    });
    match weft_api::read(pod) {
        Some(Object::Pod(pod)) => Client::of_pod(&pod),
        _ => unreachable!("a pod was made"),
    }
}

fn service(name: &str, address: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "clusterIP": format!("10.96.{}.{}", address / 250, address % 250),
            "ports": [{"name": "http", "port": 80}],
        },
    })
}

fn split(host: &str, destinations: &[Value]) -> Value {
    let route: Vec<Value> =
        destinations.iter().map(|one| json!({"destination": one, "weight": 1})).collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "split", "namespace": "shop"},
        "spec": {"hosts": [host], "http": [{"route": route}]},
    })
}

fn slice(number: usize, endpoints: usize) -> Value {
    let all = (0..endpoints).map(|at| json!({"addresses": [format!("10.1.{number}.{at}")]}));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("many-{number}"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "many"},
        },
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": all.collect::<Vec<_>>(),
    })
}

/// The names of the pieces, and the bytes of all of them with the answer.
fn pieces(resolved: &Resolved) -> (BTreeSet<(String, u64)>, usize) {
    let answer = serde_json::to_vec(&resolved.answer).expect("an answer is JSON").len();
    let bytes = resolved.resources.iter().map(|piece| piece.json.len()).sum::<usize>();
    let all = resolved.resources.iter().map(|piece| (piece.name.to_string(), piece.hash));
    (all.collect(), answer + bytes)
}

#[test]
fn subsets_and_endpoints_of_a_service_cost_their_sum() {
    const SUBSETS: usize = 1_000;
    let subset = |at| json!({"name": format!("s{at}"), "labels": {"version": format!("v{at}")}});
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "parts", "namespace": "shop"},
        "spec": {"host": "many", "subsets": (0..SUBSETS).map(subset).collect::<Vec<_>>()},
    });
    let destinations: Vec<Value> =
        (0..SUBSETS).map(|at| json!({"host": "many", "subset": format!("s{at}")})).collect();
    let mut translator = Translator::new();
    let objects = [service("many", 1), rule, split("many", &destinations)];
    translator.change(objects.into_iter().chain((0..10).map(|n| slice(n, 64))).map(object));
    let interest: Interest = "many:80".parse().expect("an interest");
    let (before, bytes) = pieces(&translator.resolve(&web(), &interest));
    let (chunks, rest): (Vec<_>, Vec<_>) =
        before.iter().partition(|(name, _)| name.starts_with("endpoints/"));
    assert!(chunks.len() >= 10 && rest.len() == SUBSETS + 3, "{} {}", chunks.len(), rest.len());
    assert!(bytes < 1_000_000, "{bytes} bytes");

    // An endpoint more changes one chunk, and perhaps cuts it in two.
    for (number, endpoints) in [(10, 1), (11, 1), (10, 30), (10, 0)] {
        let held = pieces(&translator.resolve(&web(), &interest)).0;
        translator.change([object(slice(number, endpoints))]);
        let resolved = translator.resolve(&web(), &interest);
        let now = pieces(&resolved).0;
        let new: Vec<&str> = now.difference(&held).map(|(name, _)| name.as_str()).collect();
        let others = new.iter().filter(|name| !name.starts_with("endpoints/"));
        assert!(others.clone().all(|name| name.starts_with("chunks/")), "{new:?}");
        assert!(others.count() <= 1 && new.len() <= 40, "{new:?}");
        is_closed(&resolved);
    }
}

/// Every name that a resource of the answer names is among those that it needs.
fn is_closed(resolved: &Resolved) {
    let needs: BTreeSet<&str> = resolved.answer.needs.iter().map(String::as_str).collect();
    let there: BTreeSet<&str> = resolved.resources.iter().map(|piece| &*piece.name).collect();
    assert_eq!(needs, there);
    for piece in &resolved.resources {
        match &*piece.resource {
            Resource::Backend(Backend { discovery: Discovery::Endpoints(list), .. }) => {
                assert!(needs.contains(&*format!("chunks/{list}")), "{list}");
            }
            Resource::ChunkList(list) => {
                for chunk in &list.chunks {
                    assert!(needs.contains(&*format!("endpoints/{chunk}")), "{chunk}");
                }
            }
            _ => {}
        }
    }
}

/// The time to answer for `count` destinations whose hosts one pattern covers, for which
/// there are `count` rules.
fn under_a_pattern(count: usize) -> Duration {
    let rule = |at| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": format!("r{at}"), "namespace": "shop"},
            "spec": {
                "host": "*.shop.svc.cluster.local",
                "subsets": [{"name": format!("s{at}"), "labels": {"version": format!("v{at}")}}],
            },
        })
    };
    let destinations: Vec<Value> = (0..count)
        .map(|at| json!({"host": format!("h{at}"), "subset": format!("s{at}")}))
        .collect();
    let services = (0..count).map(|at| service(&format!("h{at}"), at));
    let mut translator = Translator::new();
    translator.change(
        services.chain((0..count).map(rule)).chain([split("h0", &destinations)]).map(object),
    );
    let begun = Instant::now();
    let resolved = translator.resolve(&web(), &"h0:80".parse().expect("an interest"));
    let took = begun.elapsed();
    let subsets = resolved.resources.iter().filter(
        |piece| matches!(&*piece.resource, Resource::Backend(backend) if backend.subset.is_some()),
    );
    assert_eq!(subsets.count(), count);
    took
}

#[test]
fn hosts_and_rules_of_a_pattern_over_them_cost_their_sum() {
    let fastest = |count| (0..3).map(|_| under_a_pattern(count)).min().unwrap_or_default();
    let (few, many) = (fastest(300), fastest(1_200));
    // To read all rules for each host takes sixteen times as long.
    assert!(many < few * 9, "{few:?} and {many:?}");
}

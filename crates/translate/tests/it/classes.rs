//! Which clients share their answers.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_api::{Key, Object};
use weft_config::{Interest, Resource};
use weft_translate::{Changed, Client, Translator};

fn change(value: Value) -> (Key, Option<Object>) {
    let object = weft_api::check(&value).object.expect("an object");
    (object.key(), Some(object))
}

fn world() -> Translator {
    let mut translator = Translator::new();
    translator.change([
        change(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80}]},
        })),
        change(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {"hosts": ["cart"], "http": [
                {"match": [{"sourceLabels": {"version": "v2"}}],
                 "route": [{"destination": {"host": "cart"}}]},
                {"route": [{"destination": {"host": "cart"}}], "timeout": "1s"},
            ]},
        })),
    ]);
    translator
}

/// A destination rule for the workloads with `labels`.
fn rule(labels: Value) -> (Key, Option<Object>) {
    change(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {
            "host": "cart", "workloadSelector": {"matchLabels": labels},
            "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
        },
    }))
}

fn client(labels: Value) -> Client {
    let pod = json!({"metadata": {"name": "client", "namespace": "shop", "labels": labels}});
    Client::of_pod(&serde_json::from_value(pod).expect("a pod"))
}

fn cart() -> Interest {
    "cart.shop.svc.cluster.local:80".parse().expect("an interest")
}

/// Whether two pods with these labels get one answer, not two equal ones.
fn share(translator: &mut Translator, one: Value, other: Value) -> bool {
    let one = translator.resolve(&client(one), &cart());
    Arc::ptr_eq(&one, &translator.resolve(&client(other), &cart()))
}

#[test]
fn two_replica_sets_of_one_deployment_share_every_answer() {
    let before = json!({"app": "web", "pod-template-hash": "5d4c"});
    let after = json!({"app": "web", "pod-template-hash": "77f9"});
    assert!(share(&mut world(), before, after), "a rollout makes no new answers");
}

#[test]
fn two_deployments_of_which_rules_name_one_share_every_answer() {
    let named = json!({"app": "web", "version": "v2", "pod-template-hash": "5d4c"});
    let other = json!({"app": "till", "pod-template-hash": "77f9"});
    let mut world = world();
    assert!(share(&mut world, named.clone(), other), "the proxy decides by its own labels");
    let own = world.resolve(&client(named), &Interest::Own);
    let settings = own.resources.iter().find_map(|piece| match &*piece.resource {
        Resource::Settings(settings) => Some(settings),
        _ => None,
    });
    let labels = &settings.expect("a proxy has settings").labels;
    assert!(labels.contains(&("version".to_owned(), "v2".to_owned())), "{labels:?}");
}

#[test]
fn pods_of_a_stateful_set_and_of_jobs_share_every_answer() {
    let mut world = world();
    world.change([rule(json!({"app": "web"}))]);
    let pod = |number: usize| {
        json!({
            "app": "web", "controller-revision-hash": format!("web-{number}"),
            "statefulset.kubernetes.io/pod-name": format!("web-{number}"),
            "batch.kubernetes.io/job-name": format!("job-{number}"),
        })
    };
    assert!(share(&mut world, pod(0), pod(1)));
}

#[test]
fn a_selector_tells_apart_whom_it_matches() {
    let mut world = world();
    let (web, till) = (json!({"app": "web", "tier": "a"}), json!({"app": "till", "tier": "a"}));
    assert!(share(&mut world, web.clone(), till.clone()));
    let changed = world.change([rule(json!({"app": "web"}))]);
    assert!(changed.contains(&Changed::Group(client(web.clone()).labelled())));
    assert!(!changed.contains(&Changed::Group(client(till.clone()).labelled())));
    assert!(!share(&mut world, web.clone(), till.clone()));
    world.change([rule(json!({"tier": "a"}))]);
    assert!(share(&mut world, web, till));
}

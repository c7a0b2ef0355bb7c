//! Answers are made once, shared, and offered only when they change.

use serde_json::{Value, json};

use super::*;
use crate::shadow;

fn change(value: Value) -> (Key, Option<Object>) {
    let object = weft_api::check(&value).object.unwrap();
    (object.key(), Some(object))
}

fn service(name: &str, address: &str) -> (Key, Option<Object>) {
    change(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "a"},
        "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80}]},
    }))
}

fn client(name: &str) -> Client {
    let pod = json!({"metadata": {"name": name, "namespace": "a", "labels": {"app": "x"}}});
    Client::of_pod(&serde_json::from_value(pod).unwrap())
}

fn interest() -> Interest {
    "cart.a.svc.cluster.local:80".parse().unwrap()
}

#[test]
fn two_proxies_of_a_class_share_every_byte() {
    let mut answers = Answers::default();
    answers.change([service("cart", "10.96.0.5")]);
    let one = answers.subscribe(1, &client("one"), &interest());
    let two = answers.subscribe(2, &client("two"), &interest());
    assert_eq!(one.resource.body.as_ptr(), two.resource.body.as_ptr());
    assert!(Arc::ptr_eq(&one.pieces, &two.pieces));
    assert_eq!(answers.len(), 1);
    answers.unsubscribe(1, &client("one"), &interest());
    assert_eq!(answers.len(), 1);
    answers.unsubscribe(2, &client("two"), &interest());
    assert_eq!(answers.len(), 0);
}

#[test]
fn only_changed_answers_are_offered_and_only_to_those_who_asked() {
    let mut answers = Answers::default();
    answers.change([service("cart", "10.96.0.5"), service("till", "10.96.0.6")]);
    answers.subscribe(1, &client("one"), &interest());
    answers.subscribe(2, &client("two"), &"till.a.svc.cluster.local:80".parse().unwrap());
    assert!(answers.change([service("other", "10.96.0.7")]).is_empty());
    let rules = change(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "a"},
        "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "till"}}]}]},
    }));
    let offered = answers.change([rules]);
    let sessions: Vec<SessionId> = offered.iter().map(|one| one.session).collect();
    assert_eq!(sessions, [1]);
}

#[test]
fn a_rebuild_agrees_and_says_where_it_does_not() {
    let mut answers = Answers::default();
    answers.change([service("cart", "10.96.0.5")]);
    answers.subscribe(1, &client("one"), &interest());
    answers.change([service("till", "10.96.0.6")]);
    assert_eq!(shadow::differences(answers.snapshot()), Vec::<String>::new());
    assert!(answers.rebuild().is_empty(), "equal answers are not offered again");
    let mut broken = answers.snapshot();
    broken.objects.clear();
    assert_eq!(shadow::differences(broken), ["cart.a.svc.cluster.local:80"]);
}

//! Answers are made once, shared, and offered only when they change.

use serde_json::{Value, json};

use super::*;

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

fn subscribe(
    answers: &mut Answers,
    session: SessionId,
    name: &str,
    interest: &Interest,
) -> ResourceSet {
    let class = answers.class(&client(name), interest, &mut None);
    answers.subscribe(session, &class, interest).set
}

fn interest() -> Interest {
    "cart.a.svc.cluster.local:80".parse().unwrap()
}

#[test]
fn two_proxies_of_a_class_share_every_byte() {
    let mut answers = Answers::default();
    answers.change([service("cart", "10.96.0.5")]);
    let one = subscribe(&mut answers, 1, "one", &interest());
    let two = subscribe(&mut answers, 2, "two", &interest());
    assert_eq!(one.resource.body.as_ptr(), two.resource.body.as_ptr());
    assert!(Arc::ptr_eq(&one.pieces, &two.pieces));
    assert_eq!(answers.len(), 1);
    let class = answers.class(&client("one"), &interest(), &mut None);
    answers.unsubscribe(1, &class, &interest());
    assert_eq!(answers.len(), 1);
    answers.unsubscribe(2, &class, &interest());
    assert_eq!(answers.len(), 0);
}

#[test]
fn only_changed_answers_are_offered_and_only_to_those_who_asked() {
    let mut answers = Answers::default();
    answers.change([service("cart", "10.96.0.5"), service("till", "10.96.0.6")]);
    subscribe(&mut answers, 1, "one", &interest());
    subscribe(&mut answers, 2, "two", &"till.a.svc.cluster.local:80".parse().unwrap());
    assert!(answers.change([service("other", "10.96.0.7")]).offered.is_empty());
    let rules = change(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "a"},
        "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "till"}}]}]},
    }));
    let offered = answers.change([rules]).offered;
    let sessions: Vec<SessionId> = offered.iter().map(|one| one.session).collect();
    assert_eq!(sessions, [1]);
}

#[test]
fn remembered_values_are_what_the_objects_say_and_a_rebuild_offers_nothing() {
    let mut answers = Answers::default();
    answers.change([service("cart", "10.96.0.5")]);
    subscribe(&mut answers, 1, "one", &interest());
    answers.change([service("till", "10.96.0.6")]);
    for _ in 0..4 {
        assert_eq!(answers.check(16), Vec::<String>::new());
    }
    assert!(answers.rebuild().offered.is_empty(), "equal answers are not offered again");
}

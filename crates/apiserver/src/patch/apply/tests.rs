//! Who owns what after an apply.

use super::*;
use crate::registry::Registry;

fn deployments() -> Resource {
    Resource::clone(&Registry::built_in().find("apps", "deployments").unwrap())
}

fn writer(name: &str) -> Manager {
    Manager {
        name: name.into(),
        operation: ManagerOperation::Update,
        api_version: "apps/v1".into(),
        subresource: String::new(),
        time: "2026-01-01T00:00:00Z".into(),
        fields: FieldSet::default(),
    }
}

fn wish(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn applied(live: Option<&Value>, name: &str, spec: Value) -> Result<Value, Status> {
    apply(&deployments(), live, &wish(spec), writer(name), Conflicts::Refuse)
}

fn owners(object: &Value) -> Vec<String> {
    managers::read(object).into_iter().map(|manager| manager.name).collect()
}

fn containers(list: Value) -> Value {
    json!({"template": {"spec": {"containers": list}}})
}

#[test]
fn what_a_manager_no_longer_wants_goes() {
    let first = applied(None, "a", json!({"replicas": 2, "paused": true})).unwrap();
    let second = applied(Some(&first), "a", json!({"replicas": 2})).unwrap();
    assert_eq!(second["spec"], json!({"replicas": 2}));
}

#[test]
fn what_two_want_stays_until_neither_does() {
    let first = applied(None, "a", json!({"replicas": 2, "paused": true})).unwrap();
    let second = applied(Some(&first), "b", json!({"paused": true})).unwrap();
    let third = applied(Some(&second), "a", json!({"replicas": 2})).unwrap();
    assert_eq!(third["spec"]["paused"], true);
    let fourth = applied(Some(&third), "b", json!({"minReadySeconds": 1})).unwrap();
    assert_eq!(fourth["spec"], json!({"replicas": 2, "minReadySeconds": 1}));
}

#[test]
fn wanting_what_another_applied_otherwise_is_a_conflict() {
    let first = applied(None, "a", json!({"replicas": 2})).unwrap();
    let refused = applied(Some(&first), "b", json!({"replicas": 3})).unwrap_err();
    assert_eq!(refused.code, 409);
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas"
    );
    let cause = &refused.details["causes"][0];
    assert_eq!(
        (&cause["field"], &cause["reason"]),
        (&".spec.replicas".into(), &"FieldManagerConflict".into())
    );
}

#[test]
fn several_conflicts_are_told_by_manager() {
    let first = applied(None, "a", json!({"replicas": 2, "paused": true})).unwrap();
    let refused = applied(Some(&first), "b", json!({"replicas": 3, "paused": false})).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n- .spec.replicas"
    );
}

#[test]
fn force_takes_the_field_from_its_owner() {
    let first = applied(None, "a", json!({"replicas": 2})).unwrap();
    let forced = apply(
        &deployments(),
        Some(&first),
        &wish(json!({"replicas": 3})),
        writer("b"),
        Conflicts::Force,
    )
    .unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
    assert_eq!(owners(&forced), ["b"]);
}

#[test]
fn wanting_the_same_is_no_conflict_and_both_own_it() {
    let first = applied(None, "a", json!({"replicas": 2})).unwrap();
    let second = applied(Some(&first), "b", json!({"replicas": 2})).unwrap();
    assert_eq!(owners(&second), ["a", "b"]);
}

#[test]
fn a_plain_update_owns_what_it_changed_and_an_apply_meets_it() {
    let first = applied(None, "a", json!({"replicas": 2, "paused": true})).unwrap();
    let mut scaled = first.clone();
    scaled["spec"]["replicas"] = 5.into();
    managers::record(&deployments(), Some(&first), &mut scaled, writer("kubectl-scale"));
    assert_eq!(owners(&scaled), ["a", "kubectl-scale"]);
    let refused = applied(Some(&scaled), "a", json!({"replicas": 2, "paused": true})).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-scale\" using apps/v1: .spec.replicas"
    );
    let without = applied(Some(&scaled), "a", json!({"paused": true})).unwrap();
    assert_eq!(without["spec"]["replicas"], 5);
}

#[test]
fn containers_environment_and_ports_are_merged_by_key() {
    let first = applied(
        None,
        "a",
        containers(json!([{"name": "app", "image": "1", "env": [{"name": "X", "value": "1"}]}])),
    )
    .unwrap();
    let second = applied(
        Some(&first),
        "b",
        containers(json!([
            {"name": "app", "env": [{"name": "Y", "value": "2"}], "ports": [{"containerPort": 80}]},
            {"name": "side", "image": "2"}
        ])),
    )
    .unwrap();
    let list = &second["spec"]["template"]["spec"]["containers"];
    assert_eq!(list[0]["image"], "1");
    assert_eq!(list[0]["env"].as_array().unwrap().len(), 2);
    assert_eq!(list[1]["name"], "side");
    let third = applied(Some(&second), "b", containers(json!([{"name": "app"}]))).unwrap();
    let list = &third["spec"]["template"]["spec"]["containers"];
    assert_eq!(*list, json!([{"name": "app", "image": "1", "env": [{"name": "X", "value": "1"}]}]));
}

#[test]
fn an_apply_that_repeats_itself_changes_nothing() {
    let spec = || containers(json!([{"name": "app", "image": "1", "args": ["x"]}]));
    let first = applied(None, "a", spec()).unwrap();
    assert_eq!(applied(Some(&first), "a", spec()).unwrap(), first);
}

#[test]
fn elements_that_cannot_be_told_apart_are_refused() {
    for second in [json!({"image": "1"}), json!({"name": "app", "image": "2"})] {
        let spec = containers(json!([{"name": "app"}, second]));
        let refused = applied(None, "a", spec).unwrap_err();
        assert_eq!(refused.code, 400);
        assert!(refused.message.starts_with(".spec.template.spec.containers[1] "), "{refused}");
    }
}

//! Containers as JSON, variables as lines.

use serde_json::json;

use super::*;

struct Known;

impl Objects for Known {
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        (name == "settings").then(|| BTreeMap::from([("color".into(), b"red".to_vec())]))
    }

    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        (name == "keys").then(|| BTreeMap::from([("token".into(), b"s3cret".to_vec())]))
    }
}

/// `container` is the container's JSON; the result is its variables without
/// those that every container has, or the refusal.
#[track_caller]
fn check(container: Value, expected: &str) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u1",
            "labels": {"app": "web", "v": "1"}, "annotations": {"a/b": "say \"x\""},
        },
        "spec": {"nodeName": "weft", "serviceAccountName": "default"},
    }))
    .unwrap();
    let container: Container = serde_json::from_value(container).unwrap();
    let capacity = Capacity { cpus: 4, memory: 8 << 30 };
    let fields = Fields { pod: &pod, address: Ipv4Addr::new(10, 244, 0, 7), capacity };
    let found = match variables(fields, &container, &Known) {
        Ok(found) => found
            .into_list()
            .into_iter()
            .filter(|(name, _)| !name.starts_with("KUBERNETES_"))
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => format!("! {error}"),
    };
    assert_eq!(found, expected);
}

#[test]
fn earlier_variables_are_filled_in_and_unknown_ones_stay() {
    check(
        json!({"env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(C)-$$(A)-$x-$("},
            {"name": "C", "value": "$(B)"},
            {"name": "EMPTY"},
        ]}),
        "A=1\nB=1-$(C)-$(A)-$x-$(\nC=1-$(C)-$(A)-$x-$(\nEMPTY=",
    );
}

#[test]
fn the_pods_own_fields_are_text() {
    let from = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    check(
        json!({"env": [
            {"name": "NAME", "valueFrom": from("metadata.name")},
            {"name": "IP", "valueFrom": from("status.podIP")},
            {"name": "HOST", "valueFrom": from("status.hostIP")},
            {"name": "APP", "valueFrom": from("metadata.labels['app']")},
            {"name": "NONE", "valueFrom": from("metadata.annotations['x']")},
        ]}),
        "NAME=web-1\nIP=10.244.0.7\nHOST=10.244.0.1\nAPP=web\nNONE=",
    );
    check(
        json!({"env": [{"name": "X", "valueFrom": from("spec.colour")}]}),
        "! env X: no field \"spec.colour\"",
    );
}

#[test]
fn resources_are_divided_and_the_machine_is_the_limit() {
    let from = |resource: &str, divisor: &str| json!({"resourceFieldRef": {"resource": resource, "divisor": divisor}});
    check(
        json!({
            "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "128Mi"}},
            "env": [
                {"name": "CPU", "valueFrom": from("limits.cpu", "0")},
                {"name": "MILLI", "valueFrom": from("limits.cpu", "1m")},
                {"name": "MEMORY", "valueFrom": from("limits.memory", "1Gi")},
                {"name": "ASKED", "valueFrom": from("requests.memory", "1Mi")},
            ],
        }),
        "CPU=2\nMILLI=1500\nMEMORY=8\nASKED=128",
    );
}

#[test]
fn other_objects_give_values_and_a_missing_one_is_named() {
    check(
        json!({
            "envFrom": [{"prefix": "S_", "configMapRef": {"name": "settings"}}],
            "env": [
                {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
                {"name": "U", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": true}}},
            ],
        }),
        "S_color=red\nT=s3cret",
    );
    check(json!({"envFrom": [{"secretRef": {"name": "gone"}}]}), "! secret \"gone\" not found");
    check(
        json!({"env": [{"name": "T", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}]}),
        "! couldn't find key k in configmap \"settings\"",
    );
}

#[test]
fn the_api_server_can_be_found() {
    let pod = Pod::default();
    let capacity = Capacity { cpus: 1, memory: 1 };
    let fields = Fields { pod: &pod, address: Ipv4Addr::LOCALHOST, capacity };
    let found = variables(fields, &Container::default(), &Known).unwrap();
    assert_eq!(found.into_list()[0], ("KUBERNETES_SERVICE_HOST".into(), "10.96.0.1".into()));
}

#[test]
fn maps_become_lines_of_quoted_values() {
    let map = BTreeMap::from([("a".into(), "x \"y\"".into())]);
    assert_eq!(lines(&map), "a=\"x \\\"y\\\"\"\n");
}

/// Variables that each hold the one before them twice.
fn doubling(count: usize) -> Value {
    let value = |number: usize| match number {
        0 => "x".repeat(100),
        _ => format!("$(A{0})$(A{0})", number - 1),
    };
    (0..count).map(|number| json!({"name": format!("A{number}"), "value": value(number)})).collect()
}

#[test]
fn a_value_that_no_program_can_be_given_is_refused_before_it_is_made() {
    let long = "! env A11: the value is longer than 131072 bytes";
    check(json!({"env": doubling(60)}), long);
}

#[test]
fn variables_that_are_too_large_together_are_refused() {
    let of = |number: usize| json!({"name": format!("B{number}"), "value": "x".repeat(100_000)});
    let env: Vec<Value> = (0..30).map(of).collect();
    check(json!({"env": env}), "! command line and env are larger than 2097152 bytes together");
}

#[test]
fn a_command_line_that_no_program_can_be_given_is_refused() {
    let mut known = Variables::default();
    known.set("A".into(), "x".repeat(60_000)).unwrap();
    let line = |word: &str, count: usize| command_line(&vec![word.to_owned(); count], &known);
    assert_eq!(line("$(A)-$(B)", 1).unwrap()[0].len(), 60_005);
    let error = line("$(A)$(A)$(A)", 1).unwrap_err();
    assert_eq!(error, "word 0 of the command line is longer than 131072 bytes");
    let error = line("$(A)", 1_000).unwrap_err();
    assert_eq!(error, "command line and env are larger than 2097152 bytes together");
}

#[test]
fn a_variable_that_is_replaced_counts_once() {
    let mut known = Variables::default();
    for _ in 0..100 {
        known.set("A".into(), "x".repeat(100_000)).unwrap();
    }
    assert_eq!(known.into_list().len(), 1);
}

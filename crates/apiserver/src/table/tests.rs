//! Rows as kubectl prints them.

use super::*;
use crate::registry::Registry;

/// The cells of an object one minute after it was made, joined by bars.
#[track_caller]
fn check(plural: &str, mut object: Value, expected: &str) {
    let registry = Registry::built_in();
    let group = if matches!(plural, "deployments" | "replicasets") { "apps" } else { "" };
    let resource = registry.find(group, plural).unwrap();
    let made = jiff::Timestamp::from_second(1_000_000).unwrap();
    object["metadata"]["creationTimestamp"] = made.to_string().into();
    let now = jiff::Timestamp::from_second(1_000_060).unwrap();
    let (_, cells) = layout(&resource);
    let cells: Vec<String> = cells(&object, now)
        .iter()
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
        .collect();
    assert_eq!(cells.join("|"), expected);
}

fn pod(status: Value) -> Value {
    json!({"metadata": {"name": "p"}, "status": status, "spec": {
        "nodeName": "n", "containers": [{"name": "app"}],
        "initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}]}})
}

#[test]
fn a_pod_with_a_native_sidecar_counts_it() {
    let status = json!({"phase": "Running", "podIP": "10.244.0.2",
        "initContainerStatuses": [
            {"name": "init", "ready": true, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
            {"name": "side", "ready": true, "started": true, "restartCount": 0, "state": {"running": {}}}],
        "containerStatuses": [{"name": "app", "ready": true, "restartCount": 2, "state": {"running": {}}}]});
    check("pods", pod(status), "p|2/2|Running|2|60s|10.244.0.2|n|<none>|<none>");
}

#[test]
fn a_pod_says_what_holds_it_up() {
    let starting = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "init", "state": {"running": {}}}]});
    check("pods", pod(starting), "p|0/2|Init:0/2|0|60s|<none>|n|<none>|<none>");
    let unmapped = json!({"phase": "Pending",
        "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ErrImagePull"}}}]});
    check("pods", pod(unmapped), "p|0/2|ErrImagePull|0|60s|<none>|n|<none>|<none>");
    let mut ending = pod(json!({"phase": "Running"}));
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    check("pods", ending, "p|0/2|Terminating|0|60s|<none>|n|<none>|<none>");
}

#[test]
fn workloads_and_services_read_as_on_a_cluster() {
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": "w"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}});
    let status =
        json!({"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2, "replicas": 3});
    let object = json!({"metadata": {"name": "w"}, "spec": spec, "status": status});
    check("deployments", object.clone(), "w|2/3|3|2|60s|c|i:1|app=w");
    check("replicasets", object, "w|3|3|2|60s|c|i:1|app=w");
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer",
        "clusterIP": "10.96.1.1", "selector": {"app": "w"},
        "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    check("services", service, "s|LoadBalancer|10.96.1.1|<pending>|80/TCP,53/UDP|60s|app=w");
}

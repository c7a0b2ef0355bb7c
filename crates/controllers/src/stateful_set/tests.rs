//! A StatefulSet and its pods, written as `name[!] revision`, and the writes that follow.

use super::*;

fn set(replicas: u64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "n", "uid": "u"},
        "spec": {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                 "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": []}}}})
}

/// Pods by their state: `+` ready, `-` not ready, `x` terminating; `old` has another template.
fn check(set: &Value, pods: &str, expected: &str) {
    let made: Vec<Value> = pods
        .split_whitespace()
        .map(|word| {
            let (word, is_old) =
                word.strip_suffix("old").map_or((word, false), |word| (word, true));
            let (name, state) = word.split_at(word.len() - 1);
            let mut pod = pod(set, name.parse().unwrap(), &revision(set));
            let ready = if state == "+" { "True" } else { "False" };
            pod["status"] =
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
            if state == "x" {
                pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            if is_old {
                pod["metadata"]["labels"][REVISION] = "db-old".into();
            }
            pod
        })
        .collect();
    let pods: Vec<&Value> = made.iter().collect();
    let writes = step(set, &pods, "2026-01-01T00:00:00Z");
    let said: Vec<String> = writes
        .iter()
        .filter_map(|write| match write {
            Write::Create(pod) => Some(format!("create {}", object::name(pod))),
            Write::Delete(pod) => Some(format!("delete {}", object::name(pod))),
            _ => None,
        })
        .collect();
    assert_eq!(said.join(", "), expected, "{made:?}");
}

#[test]
fn pods_come_one_after_the_other() {
    check(&set(3), "", "create db-0");
    check(&set(3), "0-", "");
    check(&set(3), "0+", "create db-1");
    check(&set(3), "0+ 1+ 2+", "");
    check(&set(3), "0x 1+ 2+", "");
    check(&set(3), "1+ 2+", "create db-0");
    let mut parallel = set(3);
    parallel["spec"]["podManagementPolicy"] = "Parallel".into();
    check(&parallel, "1-", "create db-0, create db-2");
}

#[test]
fn pods_go_last_first() {
    check(&set(1), "0+ 1+ 2+", "delete db-2");
    check(&set(1), "0+ 1+ 2x", "");
    check(&set(0), "0+", "delete db-0");
}

#[test]
fn an_update_goes_from_the_last_to_the_first() {
    check(&set(3), "0+old 1+old 2+old", "delete db-2");
    check(&set(3), "0+old 1+old 2+", "delete db-1");
    check(&set(3), "0+old 1+old 2-", "");
    check(&set(2), "0-old 1+old", "delete db-0");
    let mut part = set(3);
    part["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    check(&part, "0+old 1+old 2+", "");
}

#[test]
fn a_pod_is_known_by_its_name() {
    let pods = pods(&set(2));
    let names: Vec<&str> = pods.iter().map(object::name).collect();
    assert_eq!(names, ["db-0", "db-1"]);
    assert_eq!(
        (&pods[1]["spec"]["hostname"], &pods[1]["spec"]["subdomain"]),
        (&json!("db-1"), &json!("db"))
    );
    assert_eq!(object::label(&pods[1], "statefulset.kubernetes.io/pod-name"), Some("db-1"));
}

#[test]
fn many_parallel_pods_are_made_in_bursts() {
    let mut many = set(u64::MAX);
    many["spec"]["podManagementPolicy"] = "Parallel".into();
    let writes = step(&many, &[], "2026-01-01T00:00:00Z");
    assert_eq!(writes.iter().filter(|write| matches!(write, Write::Create(_))).count(), 500);
}

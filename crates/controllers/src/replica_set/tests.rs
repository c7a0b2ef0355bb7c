//! What a ReplicaSet does with the pods it finds.

use super::*;

fn set(replicas: u64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web-abc", "namespace": "default", "uid": "s", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
                              "spec": {"containers": []}}},
    })
}

fn pod(name: &str, made: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}, "creationTimestamp": made,
                     "ownerReferences": [{"uid": "s", "controller": true}]},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status,
                   "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

/// What a step does, as words.
#[track_caller]
fn check(set: &Value, pods: &[Value], expected: &[&str]) {
    let mut letters = 'a'..='z';
    let views: Vec<&Value> = pods.iter().collect();
    let done: Vec<String> =
        step(set, &views, "2026-01-01T00:00:10Z", &mut || letters.next().unwrap().to_string())
            .into_iter()
            .map(|write| match write {
                Write::Create(pod) => format!("+{}", object::name(&pod)),
                Write::Delete(pod) => format!("-{}", object::name(&pod)),
                Write::Update(pod) => {
                    format!(
                        "{} owners={}",
                        object::name(&pod),
                        object::items(&pod["metadata"]["ownerReferences"]).count()
                    )
                }
                Write::Status(set) => format!(
                    "{}/{}/{}",
                    set["status"]["availableReplicas"].as_u64().unwrap_or(0),
                    set["status"]["readyReplicas"].as_u64().unwrap_or(0),
                    set["status"]["replicas"]
                ),
                other => format!("{other:?}"),
            })
            .collect();
    assert_eq!(done, expected);
}

#[test]
fn missing_pods_are_made_and_nothing_else() {
    check(&set(2), &[pod("p", "1", true)], &["+web-abc-a", "1/1/1"]);
    let made = pods::from_template(&set(1), "x");
    assert_eq!(made["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "s");
}

#[test]
fn surplus_goes_the_least_useful_first() {
    let mut unplaced = pod("unplaced", "1", false);
    unplaced["spec"] = json!({});
    let pods = [pod("old", "1", true), pod("new", "2", true), pod("unready", "1", false), unplaced];
    check(&set(1), &pods, &["-unplaced", "-unready", "-new", "2/2/4"]);
}

#[test]
fn ended_and_ending_pods_do_not_count() {
    let (mut failed, mut ending) = (pod("f", "1", false), pod("e", "1", true));
    failed["status"]["phase"] = "Failed".into();
    ending["metadata"]["deletionTimestamp"] = "now".into();
    check(&set(1), &[failed, ending], &["+web-abc-a", "0/0/0"]);
}

#[test]
fn a_pod_that_changes_its_label_is_let_go_and_an_orphan_is_taken_in() {
    let (mut strayed, mut orphan) = (pod("strayed", "1", true), pod("orphan", "1", true));
    strayed["metadata"]["labels"] = json!({"app": "debug"});
    orphan["metadata"]["ownerReferences"] = json!([]);
    check(&set(1), &[strayed, orphan], &["strayed owners=0", "orphan owners=1", "1/1/1"]);
}

#[test]
fn a_pod_is_available_after_its_rest() {
    let mut careful = set(1);
    careful["spec"]["minReadySeconds"] = 11.into();
    check(&careful, &[pod("p", "1", true)], &["0/1/1"]);
    careful["spec"]["minReadySeconds"] = 10.into();
    check(&careful, &[pod("p", "1", true)], &["1/1/1"]);
}

#[test]
fn a_large_number_of_replicas_is_made_in_bursts() {
    let set = set(u64::MAX);
    let writes = step(&set, &[], "2026-01-01T00:00:10Z", &mut || "a".into());
    let made: Vec<Value> = writes
        .into_iter()
        .filter_map(|write| match write {
            Write::Create(pod) => Some(pod),
            _ => None,
        })
        .collect();
    assert_eq!(made.len(), 500);
    let made: Vec<&Value> = made.iter().collect();
    let next = step(&set, &made, "2026-01-01T00:00:10Z", &mut || "a".into());
    assert!(!next.iter().any(|write| matches!(write, Write::Create(_))), "none of them runs yet");
}

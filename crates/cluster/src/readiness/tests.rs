//! Pods and Deployments as an API server has them.

use serde_json::json;

use super::*;

const RUN: &str = "2026-01-01T00:00:10Z";

/// The message about a container at ten seconds past the minute; `!` marks what
/// is not waited for.
#[track_caller]
fn check(status: Value, expected: &str) {
    let mut status = status;
    status["name"] = "app".into();
    let pod = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "status": {"containerStatuses": [status]},
    });
    let told: Vec<String> = troubles(&pod, RUN.parse().unwrap())
        .iter()
        .map(|trouble| {
            let mark = if trouble.is_hopeless() { "! " } else { "" };
            mark.to_owned() + &trouble.message("no config\nbye")
        })
        .collect();
    assert_eq!(told.join("\n"), expected);
}

fn ended(code: i32, signal: Option<i32>) -> Value {
    json!({"terminated": {
        "exitCode": code, "signal": signal,
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:03Z",
    }})
}

fn running_since(second: u32) -> Value {
    json!({"running": {"startedAt": format!("2026-01-01T00:00:{second:02}Z")}})
}

#[test]
fn a_container_that_runs_and_is_ready_has_no_trouble() {
    check(json!({"ready": true, "state": running_since(9), "lastState": {}}), "");
}

#[test]
fn a_crash_is_reported_with_its_exit_and_its_log() {
    let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
    check(
        json!({"state": back_off, "lastState": ended(3, None), "restartCount": 1}),
        "pod web, container app: exited with code 3, started again once; see weft logs web -c \
         app -p -n shop\n  | no config\n  | bye",
    );
    check(
        json!({"state": back_off, "lastState": ended(139, Some(11)), "restartCount": 3}),
        "! pod web, container app: killed by SIGSEGV, started again 3 times; see weft logs web \
         -c app -p -n shop\n  | no config\n  | bye",
    );
}

#[test]
fn a_container_between_two_crashes_is_not_ready() {
    let status = |since| {
        json!({
            "ready": true, "restartCount": 1,
            "state": running_since(since), "lastState": ended(1, None),
        })
    };
    // The last run took three seconds.
    check(
        status(6),
        "pod web, container app: exited with code 1, started again once; see weft logs web -c \
         app -p -n shop\n  | no config\n  | bye",
    );
    check(status(5), "");
}

#[test]
fn a_container_that_cannot_start_is_reported_with_its_status() {
    let waiting = |reason: &str, message: &str| json!({"state": {"waiting": {"reason": reason, "message": message}}, "lastState": {}});
    check(
        waiting("ErrImagePull", "no command is known"),
        "! pod web, container app: ErrImagePull: no command is known",
    );
    check(
        waiting("FailedCreatePodSandBox", "volume \"data\": hostPath is not served"),
        "! pod web, container app: FailedCreatePodSandBox: volume \"data\": hostPath is not served",
    );
    check(
        waiting("ContainerCreating", "configmap \"late\" not found"),
        "pod web, container app: ContainerCreating: configmap \"late\" not found",
    );
    check(
        waiting("CreateContainerConfigError", "secret \"late\" not found"),
        "pod web, container app: CreateContainerConfigError: secret \"late\" not found",
    );
    check(
        waiting("PodInitializing", ""),
        "pod web, container app: has not been started; see weft describe pod web -n shop",
    );
    check(
        json!({"ready": false, "state": running_since(1), "lastState": {}}),
        "pod web, container app: runs, but is not ready; see weft describe pod web -n shop",
    );
    check(json!({"state": ended(0, None), "lastState": {}}), "");
    check(
        json!({"state": ended(2, None), "lastState": {}}),
        "! pod web, container app: exited with code 2; see weft logs web -c app -n shop\n  | no \
         config\n  | bye",
    );
}

/// A Deployment that asks for `wanted` pods and has `available`.
fn deployment(wanted: u64, available: u64) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "generation": 2},
        "spec": {"replicas": wanted},
        "status": {"availableReplicas": available, "observedGeneration": 2},
    })
}

/// A pod with one container in `status`.
fn pod(status: Value) -> Value {
    let mut status = status;
    status["name"] = "app".into();
    json!({
        "metadata": {"name": "web", "namespace": "shop", "ownerReferences": [{}]},
        "status": {"containerStatuses": [status]},
    })
}

#[test]
fn a_start_is_complete_when_every_pod_is_ready() {
    let now = RUN.parse().unwrap();
    let ready = pod(json!({"ready": true, "state": running_since(9), "lastState": {}}));
    let starting = pod(json!({"ready": false, "state": running_since(9), "lastState": {}}));
    let of = |deployments: &[Value], pods: &[Value]| Readiness::of(deployments, pods, now);
    assert!(of(&[deployment(1, 1)], std::slice::from_ref(&ready)).is_complete());
    assert!(!of(&[deployment(1, 1)], std::slice::from_ref(&starting)).is_complete());
    assert!(!of(&[deployment(2, 1)], &[ready]).is_complete());
    let late = of(&[deployment(2, 1)], &[starting]);
    assert!(!late.is_hopeless());
    assert_eq!(late.short, ["deployment web has 1 of 2 pods; `weft get events -n shop` says why"]);
}

#[test]
fn a_start_is_hopeless_when_every_missing_pod_is() {
    let now = RUN.parse().unwrap();
    let held = json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}});
    let one = Readiness::of(&[deployment(1, 0)], &[pod(held.clone())], now);
    assert!(one.is_hopeless());
    let other_is_missing = Readiness::of(&[deployment(2, 0)], &[pod(held)], now);
    assert!(!other_is_missing.is_hopeless());
}

#[test]
fn pods_without_a_deployment_are_counted_beside_it() {
    let pod = |owner: Value, ready: &str| {
        json!({
            "metadata": {"name": "a", "ownerReferences": owner},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    let owned = |kind: &str| json!([{"kind": kind, "name": "x"}]);
    let pods = [
        pod(Value::Null, "True"),
        pod(owned("StatefulSet"), "False"),
        pod(owned("ReplicaSet"), "True"),
        json!({"metadata": {"name": "over"}, "status": {"phase": "Succeeded"}}),
    ];
    assert_eq!(ready_alone(&pods), (1, 2));
}

#[test]
fn what_holds_a_whole_pod_is_said_once() {
    let status = |name: &str, reason: &str| json!({"name": name, "state": {"waiting": {"reason": reason, "message": "no such volume"}}});
    let all = |reason: &str| {
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "status": {"containerStatuses": [status("a", reason), status("b", reason)]},
        });
        troubles(&pod, RUN.parse().unwrap()).len()
    };
    assert_eq!((all("FailedCreatePodSandBox"), all("ErrImagePull")), (1, 2));
}

//! Containers' states as words, a pod's status as one line.

use std::time::Duration;

use super::*;
use crate::state::Instances;

/// `states` has a word for each container: `wait`, `run`, `ready`, or an exit
/// code; the result is the phase and the conditions that are true.
#[track_caller]
fn check(policy: &str, states: &str, expected: &str) {
    let found = of(policy, states, &Value::Null);
    let conditions = found["conditions"].as_array().unwrap().iter();
    let held: Vec<&str> = conditions
        .filter(|condition| condition["status"] == "True")
        .map(|condition| condition["type"].as_str().unwrap())
        .collect();
    assert_eq!(format!("{} {}", found["phase"].as_str().unwrap(), held.join(" ")), expected);
}

fn of(policy: &str, states: &str, before: &Value) -> Value {
    let words: Vec<(String, &str)> = states
        .split_whitespace()
        .map(|word| word.split_once('=').map(|(name, state)| (name.to_owned(), state)).unwrap())
        .collect();
    let container = |name: &str| match name.starts_with("sidecar") {
        true => json!({"name": name, "restartPolicy": "Always"}),
        false => json!({"name": name}),
    };
    let (inits, apps): (Vec<_>, Vec<_>) =
        words.iter().partition(|(name, _)| !name.starts_with("app"));
    let pod: Pod = serde_json::from_value(json!({"spec": {
        "restartPolicy": policy,
        "initContainers": inits.iter().map(|(name, _)| container(name)).collect::<Vec<_>>(),
        "containers": apps.iter().map(|(name, _)| container(name)).collect::<Vec<_>>(),
    }}))
    .unwrap();
    let instances = Instances::new(words.iter().map(|(name, _)| name));
    for (name, state) in &words {
        instances.update(name, |instance| set(instance, state));
    }
    let facts = Facts {
        address: Some(Ipv4Addr::new(10, 244, 0, 9)),
        started: UNIX_EPOCH,
        before,
        now: UNIX_EPOCH + Duration::from_secs(60),
    };
    status(&pod, &instances.all(), facts)
}

fn set(instance: &mut Instance, state: &str) {
    match state {
        "wait" => {}
        "run" | "ready" => {
            instance.state = State::Running { since: UNIX_EPOCH };
            instance.started = true;
            instance.ready = state == "ready";
        }
        code => {
            instance.state = State::Terminated(Terminated {
                code: code.parse().unwrap(),
                signal: None,
                reason: "Error",
                message: String::new(),
                started: UNIX_EPOCH,
                finished: UNIX_EPOCH,
            });
        }
    }
}

#[test]
fn a_pod_is_pending_until_its_init_containers_are_done() {
    check("Always", "init=wait app=wait", "Pending PodScheduled");
    check("Always", "init=1 app=wait", "Pending PodScheduled");
    check("Never", "init=1 app=wait", "Failed PodScheduled");
    check("Always", "init=0 sidecar=run app=wait", "Pending PodScheduled Initialized");
}

#[test]
fn a_pod_is_ready_when_all_that_run_are() {
    check("Always", "init=0 sidecar=run app=ready", "Running PodScheduled Initialized");
    check(
        "Always",
        "init=0 sidecar=ready app=ready",
        "Running PodScheduled Initialized ContainersReady Ready",
    );
}

#[test]
fn a_pod_that_is_not_restarted_ends_with_its_containers() {
    check("Never", "app=0 app2=0", "Succeeded PodScheduled Initialized");
    check("Never", "app=0 app2=3", "Failed PodScheduled Initialized");
    check("OnFailure", "app=3", "Running PodScheduled Initialized");
    check("Always", "app=0", "Running PodScheduled Initialized");
}

#[test]
fn the_time_of_a_transition_stays_until_the_next() {
    let first = of("Always", "app=run", &Value::Null);
    let mut before = first.clone();
    for condition in before["conditions"].as_array_mut().unwrap() {
        condition["lastTransitionTime"] = "1970-01-01T00:00:07Z".into();
    }
    let time = |status: &Value, index: usize| {
        status["conditions"][index]["lastTransitionTime"].as_str().unwrap().to_owned()
    };
    let second = of("Always", "app=ready", &before);
    assert_eq!(time(&second, 0), "1970-01-01T00:00:07Z");
    assert_eq!(time(&second, 3), "1970-01-01T00:01:00Z");
}

#[test]
fn what_a_container_did_is_told_with_its_time() {
    let found = of("Never", "app=3", &json!({"qosClass": "Burstable"}));
    assert_eq!(found["qosClass"], "Burstable");
    assert_eq!(found["podIP"], "10.244.0.9");
    let ended = &found["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 3);
    assert_eq!(ended["finishedAt"], "1970-01-01T00:00:00Z");
}

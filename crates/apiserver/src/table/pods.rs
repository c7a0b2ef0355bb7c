//! Pods as rows. The status is the most telling thing about its containers.

use serde_json::Value;
use weft_controllers::object::{self, items};

use super::{age, aged, joined, name};

/// The columns of pods.
pub const COLUMNS: &str =
    "Name, Ready, Status, Restarts, Age, +IP, +Node, +Nominated Node, +Readiness Gates";

/// The cells of a pod.
pub fn cells(pod: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let status = &pod["status"];
    let sidecars: Vec<&str> = items(&pod["spec"]["initContainers"])
        .filter(|container| container["restartPolicy"] == "Always")
        .filter_map(|container| container["name"].as_str())
        .collect();
    let is_sidecar =
        |one: &&Value| one["name"].as_str().is_some_and(|name| sidecars.contains(&name));
    let running: Vec<&Value> = items(&status["initContainerStatuses"])
        .filter(is_sidecar)
        .chain(items(&status["containerStatuses"]))
        .collect();
    let total = sidecars.len() + items(&pod["spec"]["containers"]).count();
    let ready = running.iter().filter(|one| one["ready"] == true).count();
    let text = |value: &Value| match value.as_str() {
        Some(text) if !text.is_empty() => Value::from(text),
        _ => "<none>".into(),
    };
    let gates = items(&pod["spec"]["readinessGates"]).map(|gate| gate["conditionType"].to_string());
    vec![
        name(pod),
        format!("{ready}/{total}").into(),
        reason(pod, &sidecars).into(),
        restarts(&running, now).into(),
        aged(pod, now),
        text(&status["podIP"]),
        text(&pod["spec"]["nodeName"]),
        text(&status["nominatedNodeName"]),
        joined(gates, "<none>"),
    ]
}

fn restarts(containers: &[&Value], now: jiff::Timestamp) -> String {
    let count: i64 = containers.iter().filter_map(|one| one["restartCount"].as_i64()).sum();
    let last = containers
        .iter()
        .filter_map(|one| one["lastState"]["terminated"]["finishedAt"].as_str())
        .max();
    match (count, last) {
        (1.., Some(last)) => format!("{count} ({} ago)", age(Some(last), now)),
        (count, _) => count.to_string(),
    }
}

/// What kubectl shows as a pod's status.
fn reason(pod: &Value, sidecars: &[&str]) -> String {
    let status = &pod["status"];
    let own = status["reason"].as_str().or(status["phase"].as_str()).unwrap_or("Unknown");
    let mut reason = own.to_owned();
    let total = items(&pod["spec"]["initContainers"]).count();
    let mut is_starting = false;
    for (index, one) in items(&status["initContainerStatuses"]).enumerate() {
        let is_sidecar = one["name"].as_str().is_some_and(|name| sidecars.contains(&name));
        let state = &one["state"];
        let is_done = state["terminated"]["exitCode"] == 0;
        if is_done || (is_sidecar && one["started"] == true) {
            continue;
        }
        is_starting = true;
        reason = match why(state) {
            Some(why) if why != "PodInitializing" => format!("Init:{why}"),
            _ => format!("Init:{index}/{total}"),
        };
        break;
    }
    if !is_starting {
        let mut has_running = false;
        for one in items(&status["containerStatuses"]).rev() {
            match why(&one["state"]) {
                Some(why) => reason = why,
                None => has_running |= one["ready"] == true && one["state"]["running"].is_object(),
            }
        }
        if reason == "Completed" && has_running {
            let ready = object::is_true(pod, "Ready");
            reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
    let is_over = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
    if object::is_terminating(pod) && !is_over { "Terminating".to_owned() } else { reason }
}

/// Why a container waits or has ended.
fn why(state: &Value) -> Option<String> {
    let waiting = state["waiting"]["reason"].as_str().filter(|text| !text.is_empty());
    if let Some(reason) = waiting {
        return Some(reason.to_owned());
    }
    let terminated = state.get("terminated").filter(|state| state.is_object())?;
    match (terminated["reason"].as_str(), terminated["signal"].as_i64(), &terminated["exitCode"]) {
        (Some(reason), ..) if !reason.is_empty() => Some(reason.to_owned()),
        (_, Some(signal @ 1..), _) => Some(format!("Signal:{signal}")),
        (_, _, code) => Some(format!("ExitCode:{code}")),
    }
}

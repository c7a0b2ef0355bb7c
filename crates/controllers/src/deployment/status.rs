//! What a Deployment says about itself, in the fields that `rollout status` reads.

use serde_json::{Map, Value, json};

use super::rollout::count;
use crate::object;

/// The status of a Deployment, from its ReplicaSets.
pub fn of(deployment: &Value, newest: Option<&Value>, sets: &[&Value], now: &str) -> Value {
    let sum = |field: &str| sets.iter().map(|set| count(set, field)).sum::<i64>();
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let available = sum("availableReplicas");
    let updated = newest.map_or(0, |newest| count(newest, "replicas"));
    let total = sum("replicas");
    let mut status = Map::new();
    status.insert("observedGeneration".into(), object::generation(deployment).into());
    for (field, number) in [
        ("replicas", total),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted.max(total) - available).max(0)),
    ] {
        if number > 0 {
            status.insert(field.into(), number.into());
        }
    }
    let is_done = updated == wanted && total == wanted && available == wanted;
    status.insert(
        "conditions".into(),
        json!([
            availability(deployment, available, now),
            progress(deployment, newest, (is_done, &status), now)
        ]),
    );
    Value::Object(status)
}

fn availability(deployment: &Value, available: i64, now: &str) -> Value {
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"];
    let spare = match (rolling.as_i64(), rolling.as_str()) {
        (Some(number), _) => number,
        (None, Some(text)) => {
            text.trim_end_matches('%').parse::<i64>().unwrap_or(25).saturating_mul(wanted) / 100
        }
        (None, None) => 0,
    };
    let (status, reason, message) = match available >= wanted - spare {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        ),
    };
    let fresh =
        json!({"type": "Available", "status": status, "reason": reason, "message": message});
    condition(deployment, fresh, now)
}

fn progress(
    deployment: &Value,
    newest: Option<&Value>,
    (is_done, numbers): (bool, &Map<String, Value>),
    now: &str,
) -> Value {
    let name = newest.map_or_else(|| object::name(deployment), |newest| object::name(newest));
    let before = object::condition(deployment, "Progressing");
    let has_moved = before.is_none()
        || ["updatedReplicas", "replicas", "readyReplicas", "availableReplicas"]
            .iter()
            .any(|field| deployment["status"].get(field) != numbers.get(*field))
        || deployment["status"]["observedGeneration"] != numbers["observedGeneration"];
    let (status, reason, message) = if is_done {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        ("True", "NewReplicaSetAvailable", message)
    } else if !has_moved && is_late(deployment, before, now) {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        ("False", "ProgressDeadlineExceeded", message)
    } else {
        ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."))
    };
    let fresh =
        json!({"type": "Progressing", "status": status, "reason": reason, "message": message});
    let mut condition = condition(deployment, fresh, now);
    if has_moved {
        condition["lastUpdateTime"] = now.into();
    }
    condition
}

fn is_late(deployment: &Value, before: Option<&Value>, now: &str) -> bool {
    let Some(before) = before else { return false };
    if before["reason"] == "NewReplicaSetAvailable" {
        return false;
    }
    if before["reason"] == "ProgressDeadlineExceeded" {
        return true;
    }
    let limit = deployment["spec"]["progressDeadlineSeconds"].as_i64().unwrap_or(600);
    let (Some(since), Some(now)) = (
        before["lastUpdateTime"].as_str().and_then(crate::time::seconds),
        crate::time::seconds(now),
    ) else {
        return false;
    };
    now - since > limit
}

/// A condition with its times; those of an unchanged one are kept.
fn condition(deployment: &Value, mut fresh: Value, now: &str) -> Value {
    let kind = fresh["type"].as_str().unwrap_or_default();
    let before = object::condition(deployment, kind);
    let kept = |field: &str, same: &[&str]| {
        before
            .filter(|before| same.iter().all(|field| before[field] == fresh[field]))
            .map_or_else(|| now.into(), |before| before[field].clone())
    };
    let changed = kept("lastTransitionTime", &["status"]);
    let updated = kept("lastUpdateTime", &["status", "reason", "message"]);
    fresh["lastTransitionTime"] = changed;
    fresh["lastUpdateTime"] = updated;
    fresh
}

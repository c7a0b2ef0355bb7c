//! Deployments and ReplicaSets as rows.

use serde_json::Value;
use weft_controllers::object::items;

use super::{aged, joined, name, pairs};

/// The columns of Deployments.
pub const DEPLOYMENT: &str =
    "Name, Ready, Up-to-date, Available, Age, +Containers, +Images, +Selector";

/// The columns of ReplicaSets.
pub const REPLICA_SET: &str =
    "Name, Desired:integer, Current:integer, Ready:integer, Age, +Containers, +Images, +Selector";

fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

/// The cells of a Deployment.
pub fn deployment(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let mut cells = vec![
        name(object),
        format!("{}/{wanted}", count(object, "readyReplicas")).into(),
        count(object, "updatedReplicas").into(),
        count(object, "availableReplicas").into(),
        aged(object, now),
    ];
    cells.extend(wide(object));
    cells
}

/// The cells of a ReplicaSet.
pub fn replica_set(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        object["spec"]["replicas"].as_i64().unwrap_or(1).into(),
        count(object, "replicas").into(),
        count(object, "readyReplicas").into(),
        aged(object, now),
    ];
    cells.extend(wide(object));
    cells
}

fn wide(object: &Value) -> [Value; 3] {
    let containers = &object["spec"]["template"]["spec"]["containers"];
    let texts = |field: &str| {
        let texts = items(containers).filter_map(|one| one[field].as_str()).map(str::to_owned);
        joined(texts.collect::<Vec<_>>(), "<none>")
    };
    [texts("name"), texts("image"), pairs(&object["spec"]["selector"]["matchLabels"])]
}

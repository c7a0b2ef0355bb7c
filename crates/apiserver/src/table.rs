//! Objects as rows for people: what `kubectl get` prints.
//!
//! Columns are those of a real cluster; those of priority 1 are for `-o wide`.

mod custom;
mod duration;
mod pods;
mod services;
mod workloads;

use std::sync::Arc;

use serde_json::{Value, json};
use weft_controllers::object;

use crate::{
    resource::{Origin, Resource},
    server::Rows,
};
pub use duration::age;

/// A column: name, type, and whether it is for `-o wide` only.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    kind: String,
    priority: i64,
}

impl Column {
    fn new(name: &str, kind: &str, priority: i64) -> Self {
        Self { name: name.to_owned(), kind: kind.to_owned(), priority }
    }
}

/// Reads `Name`, `Ready:integer`, `+IP`: a plus is for `-o wide` only.
fn columns(text: &str) -> Vec<Column> {
    text.split(',')
        .map(|word| {
            let (priority, word) =
                word.trim().strip_prefix('+').map_or((0, word.trim()), |word| (1, word));
            let (name, kind) = word.split_once(':').unwrap_or((word, "string"));
            Column::new(name, kind, priority)
        })
        .collect()
}

/// A Table of objects of one resource.
pub fn of(resource: &Resource, objects: &[Arc<Value>], rows: Rows, version: Value) -> Value {
    let now = jiff::Timestamp::now();
    let (columns, cells) = layout(resource);
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let behind = match rows {
                Rows::Bare => Value::Null,
                Rows::Object => Value::clone(object),
                Rows::Metadata => json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": object["metadata"],
                }),
            };
            json!({"cells": cells(object, now), "object": behind})
        })
        .collect();
    let columns: Vec<Value> = columns
        .iter()
        .map(|column| {
            let format = if column.name == "Name" { "name" } else { "" };
            json!({"name": column.name, "type": column.kind, "format": format,
                   "description": column.name, "priority": column.priority})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
        "columnDefinitions": columns, "rows": rows,
    })
}

/// The cells of one object.
type Cells<'r> = Box<dyn Fn(&Value, jiff::Timestamp) -> Vec<Value> + 'r>;

/// The cells of one object of a built-in kind.
type BuiltIn = fn(&Value, jiff::Timestamp) -> Vec<Value>;

fn layout(resource: &Resource) -> (Vec<Column>, Cells<'_>) {
    if let Origin::Custom(custom) = &resource.origin {
        return custom::layout(&custom.columns);
    }
    let (text, cells): (&str, BuiltIn) = match resource.kind.as_str() {
        "Pod" => (pods::COLUMNS, pods::cells),
        "Deployment" => (workloads::DEPLOYMENT, workloads::deployment),
        "ReplicaSet" => (workloads::REPLICA_SET, workloads::replica_set),
        "StatefulSet" => (workloads::STATEFUL_SET, workloads::stateful_set),
        "DaemonSet" => (workloads::DAEMON_SET, workloads::daemon_set),
        "Job" => (workloads::JOB, workloads::job),
        "CronJob" => (workloads::CRON_JOB, workloads::cron_job),
        "Endpoints" => (services::ENDPOINTS, services::endpoints),
        "Service" => (services::SERVICE, services::service),
        "EndpointSlice" => (services::SLICE, services::slice),
        "Namespace" => ("Name, Status, Age", |object, now| {
            vec![name(object), text_of(&object["status"]["phase"]), aged(object, now)]
        }),
        "Node" => ("Name, Status, Roles, Age, Version, +Internal-IP, +OS-Image", node),
        "ConfigMap" => ("Name, Data, Age", |object, now| {
            let count = entries(&object["data"]) + entries(&object["binaryData"]);
            vec![name(object), count.into(), aged(object, now)]
        }),
        "Secret" => ("Name, Type, Data:integer, Age", |object, now| {
            let count = entries(&object["data"]);
            vec![name(object), text_of(&object["type"]), count.into(), aged(object, now)]
        }),
        "ServiceAccount" => ("Name, Secrets, Age", |object, now| {
            let count = object::items(&object["secrets"]).count();
            vec![name(object), count.into(), aged(object, now)]
        }),
        "Event" => ("Last Seen, Type, Reason, Object, Message, +Count, +Name", event),
        "CustomResourceDefinition" => ("Name, Created At", |object, _| {
            vec![name(object), object["metadata"]["creationTimestamp"].clone()]
        }),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            ("Name, Webhooks:integer, Age", |object, now| {
                let count = object::items(&object["webhooks"]).count();
                vec![name(object), count.into(), aged(object, now)]
            })
        }
        "Lease" => ("Name, Holder, Age", |object, now| {
            vec![name(object), text_of(&object["spec"]["holderIdentity"]), aged(object, now)]
        }),
        _ => ("Name, Age", |object, now| vec![name(object), aged(object, now)]),
    };
    (columns(text), Box::new(cells))
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn aged(object: &Value, now: jiff::Timestamp) -> Value {
    age(object["metadata"]["creationTimestamp"].as_str(), now).into()
}

fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn text_of(value: &Value) -> Value {
    value.as_str().unwrap_or_default().into()
}

/// Joins texts as tables do; `<none>` for nothing.
fn joined(parts: impl IntoIterator<Item = String>, empty: &str) -> Value {
    let parts: Vec<String> = parts.into_iter().collect();
    if parts.is_empty() { empty.into() } else { parts.join(",").into() }
}

/// A label map as a selector's text.
fn pairs(labels: &Value) -> Value {
    let pairs = labels.as_object().into_iter().flatten();
    joined(
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())),
        "<none>",
    )
}

fn node(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let ready = if object::is_true(object, "Ready") { "Ready" } else { "NotReady" };
    let info = &object["status"]["nodeInfo"];
    let address = object::items(&object["status"]["addresses"])
        .find(|address| address["type"] == "InternalIP")
        .map_or_else(|| "<none>".into(), |address| address["address"].clone());
    let roles = object["metadata"]["labels"].as_object().into_iter().flatten();
    let roles = roles.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"));
    vec![
        name(object),
        ready.into(),
        joined(roles.map(str::to_owned), "<none>"),
        aged(object, now),
        text_of(&info["kubeletVersion"]),
        address,
        text_of(&info["osImage"]),
    ]
}

fn event(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let about = &object["involvedObject"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let seen = ["lastTimestamp", "eventTime"].iter().find_map(|field| object[field].as_str());
    let seen = seen.or(object["metadata"]["creationTimestamp"].as_str());
    vec![
        age(seen, now).into(),
        text_of(&object["type"]),
        text_of(&object["reason"]),
        format!("{}/{}", text(&about["kind"]).to_ascii_lowercase(), text(&about["name"])).into(),
        text(&object["message"]).trim().into(),
        object["count"].as_i64().unwrap_or(1).into(),
        name(object),
    ]
}

#[cfg(test)]
mod tests;

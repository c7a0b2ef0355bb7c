//! Events: what the controllers and the node did and could not do, for `describe`.
//!
//! The same happening is one Event with a count. Only the latest are kept.

use serde_json::{Value, json};
use weft_controllers::object;

use crate::store::{Deletion, Store, suffix, timestamp};

/// Events that are kept in a namespace.
const KEPT: usize = 300;

/// Whether a happening is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is.
    Normal,
    /// It is not.
    Warning,
}

/// Something that happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happening<'a> {
    /// Whether it is as it should be.
    pub tone: Tone,
    /// One word, such as `Started`.
    pub reason: &'a str,
    /// A sentence.
    pub message: &'a str,
    /// Who tells it, such as `kubelet`.
    pub component: &'a str,
    /// The part of the object, such as `spec.containers{app}`; empty for the whole.
    pub field: &'a str,
}

/// Records a happening to an object.
pub fn record(store: &Store, about: &Value, happening: Happening<'_>) {
    let Some(events) = store.resource("", "events") else { return };
    let namespace = object::namespace(about);
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let known = store.list(&events, Some(namespace)).items;
    let same = known.iter().find(|event| {
        event["involvedObject"]["uid"] == about["metadata"]["uid"]
            && event["reason"] == happening.reason
            && event["message"] == happening.message
            && event["involvedObject"]["fieldPath"].as_str().unwrap_or_default() == happening.field
    });
    let done = match same {
        Some(event) => {
            let mut again = Value::clone(event);
            again["count"] = (event["count"].as_i64().unwrap_or(1) + 1).into();
            again["lastTimestamp"] = timestamp().into();
            store.update(&events, again)
        }
        None => store.create(&events, event(about, namespace, happening)),
    };
    if let Err(refused) = done {
        // An event is a courtesy: its namespace may be ending.
        tracing::debug!("an event was not kept: {refused}");
    }
    for old in oldest(&known) {
        let _ = store.delete(&events, namespace, object::name(old), &Deletion::now());
    }
}

fn event(about: &Value, namespace: &str, happening: Happening<'_>) -> Value {
    let Happening { tone, reason, message, component, field } = happening;
    let now = timestamp();
    let kind = match tone {
        Tone::Normal => "Normal",
        Tone::Warning => "Warning",
    };
    let mut event = json!({
        "metadata": {
            "name": format!("{}.{}", object::name(about), suffix()), "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"], "kind": about["kind"], "name": object::name(about),
            "namespace": object::namespace(about), "uid": object::uid(about),
            "resourceVersion": about["metadata"]["resourceVersion"],
        },
        "type": kind, "reason": reason, "message": message, "count": 1,
        "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": component}, "reportingComponent": component,
        "reportingInstance": "",
    });
    if !field.is_empty() {
        event["involvedObject"]["fieldPath"] = field.into();
    }
    event
}

/// The Events beyond those that are kept, longest ago first.
fn oldest(known: &[std::sync::Arc<Value>]) -> Vec<&Value> {
    let mut by_age: Vec<&Value> = known.iter().map(AsRef::as_ref).collect();
    // Timestamps are whole seconds; among Events of one second the versions tell.
    let version = |event: &Value| -> Option<u64> {
        event["metadata"]["resourceVersion"].as_str()?.parse().ok()
    };
    by_age.sort_by_key(|event| (event["lastTimestamp"].as_str(), version(event)));
    by_age.truncate(known.len().saturating_sub(KEPT));
    by_age
}

//! Events: what the controllers did and what they could not do, for `describe`.
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

/// Records a happening to an object.
pub fn record(store: &Store, about: &Value, tone: Tone, (reason, message): (&str, &str)) {
    let Some(events) = store.resource("", "events") else { return };
    let namespace = object::namespace(about);
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let known = store.list(&events, Some(namespace)).items;
    let same = known.iter().find(|event| {
        event["involvedObject"]["uid"] == about["metadata"]["uid"]
            && event["reason"] == reason
            && event["message"] == message
    });
    let done = match same {
        Some(event) => {
            let mut again = Value::clone(event);
            again["count"] = (event["count"].as_i64().unwrap_or(1) + 1).into();
            again["lastTimestamp"] = timestamp().into();
            store.update(&events, again)
        }
        None => store.create(&events, event(about, namespace, tone, (reason, message))),
    };
    if let Err(refused) = done {
        // An event is a courtesy: its namespace may be ending.
        tracing::debug!("an event was not kept: {refused}");
    }
    for old in oldest(&known) {
        let _ = store.delete(&events, namespace, object::name(old), &Deletion::now());
    }
}

fn event(about: &Value, namespace: &str, tone: Tone, (reason, message): (&str, &str)) -> Value {
    let now = timestamp();
    let kind = match tone {
        Tone::Normal => "Normal",
        Tone::Warning => "Warning",
    };
    let component = match object::kind(about) {
        "Deployment" => "deployment-controller",
        _ => "replicaset-controller",
    };
    json!({
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
    })
}

/// The Events beyond those that are kept, longest ago first.
fn oldest(known: &[std::sync::Arc<Value>]) -> Vec<&Value> {
    let mut by_age: Vec<&Value> = known.iter().map(AsRef::as_ref).collect();
    by_age.sort_by_key(|event| event["lastTimestamp"].as_str());
    by_age.truncate(known.len().saturating_sub(KEPT));
    by_age
}

//! Sidecars for whole objects, as `weft inject -f` adds them.

use std::fmt;

use serde_json::{Value, json};

use crate::{Decision, Owner, Settings, decision::require, patch::patch};

/// What an object asks for cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The object, as `Kind/name`.
    pub object: String,
    /// Why, and what to do.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.why)
    }
}

/// The pod that `object` is, or that it is a template of.
pub fn pod_of(object: &Value) -> Option<&Value> {
    object.pointer(template(object)?)
}

/// `object` with sidecars in its pods, and in today's API version; other objects unchanged.
///
/// The labels of the object's namespace do not matter, since a user asked for it.
pub fn document(object: &Value, settings: &Settings) -> Result<Value, Refused> {
    let mut object = object.clone();
    if object["kind"] == "List" {
        if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
            for item in items {
                *item = document(item, settings)?;
            }
        }
        return Ok(object);
    }
    let Some(template) = template(&object) else { return Ok(object) };
    modernise(&mut object);
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace = match text("/metadata/namespace") {
        "" => "default".to_owned(),
        namespace => namespace.to_owned(),
    };
    let owner = Owner::new(text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let Some(pod) = object.pointer_mut(template) else { return Ok(object) };
    match require(pod, &namespace, settings) {
        Decision::Inject => {
            let changes = patch(pod, &owner, &namespace, settings);
            json_patch::patch(pod, &changes).expect("a patch can be applied to the pod it is for");
            Ok(object)
        }
        Decision::Skip(_) => Ok(object),
        Decision::Refuse(why) => {
            Err(Refused { object: format!("{}/{}", owner.kind, owner.name), why })
        }
    }
}

/// Where the pod is in an object of this kind.
fn template(object: &Value) -> Option<&'static str> {
    match object["kind"].as_str()? {
        "Pod" => Some(""),
        "Deployment"
        | "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicationController" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Rewrites API versions that Kubernetes no longer has to `apps/v1`.
///
/// The selector has to come from the template's own labels, before the sidecar's are added.
fn modernise(object: &mut Value) {
    let old = ["extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"];
    if !object["apiVersion"].as_str().is_some_and(|version| old.contains(&version)) {
        return;
    }
    object["apiVersion"] = "apps/v1".into();
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for gone in ["rollbackTo", "templateGeneration"] {
        spec.remove(gone);
    }
    if let Some(labels) = labels
        && spec.get("selector").is_none_or(Value::is_null)
    {
        spec.insert("selector".to_owned(), json!({"matchLabels": labels}));
    }
}

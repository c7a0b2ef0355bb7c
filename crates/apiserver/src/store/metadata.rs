//! What a write may and may not do to an object's identity and life.
//!
//! Pure functions from the old object and the wish to the new one; names,
//! versions, generations, deletion marks. Nothing here stores anything.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use weft_controllers::object;

use super::{Deletion, Part, Propagation};
use crate::{
    resource::{Builtin, Resource},
    status::{Cause, Status},
    validate,
};

/// Fields of the metadata that no update may change.
const FIXED: &[&str] =
    &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];

/// The letters of random names: no vowels, so no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// This second, as Kubernetes writes it.
pub fn timestamp() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Five random letters as in the names of pods.
pub fn suffix() -> String {
    let letter = |_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]);
    (0..5).map(letter).collect()
}

/// Gives an object that asks for a generated name, and has none, such a name.
pub fn name(object: &mut Value) {
    // So that the whole is a DNS label.
    const LONGEST: usize = 58;
    let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
    if object::name(object).is_empty() && !prefix.is_empty() {
        let prefix: String = prefix.chars().take(LONGEST).collect();
        object["metadata"]["name"] = format!("{prefix}{}", suffix()).into();
    }
}

/// Gives a new object its identity; refuses a name that cannot be.
pub fn identify(resource: &Resource, object: &mut Value) -> Result<(), Status> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    name(object);
    let name = object::name(object).to_owned();
    if let Some(cause) = validate::name(resource, &name) {
        return Err(Status::invalid(&resource.group, &resource.kind, &name, &[cause]));
    }
    let metadata = object["metadata"].as_object_mut().expect("made an object above");
    for field in FIXED.iter().chain(&["resourceVersion"]) {
        metadata.remove(*field);
    }
    if !resource.namespaced {
        metadata.remove("namespace");
    }
    metadata.insert("uid".into(), uid().into());
    metadata.insert("creationTimestamp".into(), timestamp().into());
    metadata.insert("generation".into(), 1.into());
    object["kind"] = resource.kind.clone().into();
    // A creator has no say in the status. A node is made by what runs on it, which knows.
    match resource.builtin() {
        Some(Builtin::Node) => {}
        Some(Builtin::Pod) => {
            let class = object["status"]["qosClass"].take();
            object["status"] = json!({"phase": "Pending", "qosClass": class});
        }
        _ if resource.has("status") => {
            object.as_object_mut().expect("has metadata").remove("status");
        }
        _ => {}
    }
    Ok(())
}

/// A random identity.
pub fn uid() -> String {
    let mut bytes = fastrand::u128(..);
    // RFC 9562, section 5.4: version 4, variant 10.
    bytes = bytes & !(0xf << 76) | (0x4 << 76);
    bytes = bytes & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{bytes:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Refuses a write that was made from another version than the one stored.
pub fn expect_version(resource: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    let conflict =
        |why| Err(Status::conflict(&resource.group, &resource.plural, object::name(old), why));
    let uid = object::uid(new);
    if !uid.is_empty() && uid != object::uid(old) {
        return conflict("the UID in the object is not that of the stored one");
    }
    match new["metadata"]["resourceVersion"].as_str() {
        None | Some("" | "0") => Ok(()),
        Some(version) if old["metadata"]["resourceVersion"] == version => Ok(()),
        Some(_) => conflict(
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
    }
}

/// Refuses the deletion of another object than the one meant.
pub fn expect_identity(resource: &Resource, old: &Value, wish: &Deletion) -> Result<(), Status> {
    let is = |field: &str, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| old["metadata"][field] == wanted.as_str())
    };
    if is("uid", &wish.uid) && is("resourceVersion", &wish.version) {
        return Ok(());
    }
    let why = "the object stored is not the one that the precondition names";
    Err(Status::conflict(&resource.group, &resource.plural, object::name(old), why))
}

/// The object after an update of one part.
pub fn merge(
    resource: &Resource,
    old: &Arc<Value>,
    new: Value,
    part: Part,
) -> Result<Value, Status> {
    let mut merged = match part {
        Part::Main => new,
        Part::Status => {
            let mut merged = Value::clone(old);
            merged["status"] = new["status"].clone();
            let managed = &new["metadata"]["managedFields"];
            if managed.is_array() {
                merged["metadata"]["managedFields"] = managed.clone();
            }
            return Ok(merged);
        }
        Part::Finalizers => {
            let mut merged = Value::clone(old);
            merged["spec"]["finalizers"] = new["spec"]["finalizers"].clone();
            return Ok(merged);
        }
    };
    merged["kind"] = resource.kind.clone().into();
    if resource.has("status") {
        replace(&mut merged, "status", old.get("status"));
    }
    for field in FIXED.iter().chain(&["namespace"]) {
        replace(&mut merged["metadata"], field, old["metadata"].get(*field));
    }
    let known: HashSet<&Value> = object::items(&old["metadata"]["finalizers"]).collect();
    let late =
        object::items(&merged["metadata"]["finalizers"]).find(|wanted| !known.contains(wanted));
    if let Some(late) = late.filter(|_| object::is_terminating(old)) {
        let message = "no new finalizers can be added if the object is being deleted";
        let cause = Cause::invalid("metadata.finalizers", late, message);
        return Err(Status::invalid(&resource.group, &resource.kind, object::name(old), &[cause]));
    }
    let step = i64::from(differs(old, &merged));
    merged["metadata"]["generation"] = (object::generation(old).max(1) + step).into();
    Ok(merged)
}

fn replace(target: &mut Value, field: &str, value: Option<&Value>) {
    let Some(target) = target.as_object_mut() else { return };
    match value {
        Some(value) => target.insert(field.to_owned(), value.clone()),
        None => target.remove(field),
    };
}

/// Whether anything but metadata and status differs.
fn differs(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| {
        let mut rest = object.as_object().cloned().unwrap_or_default();
        for field in ["metadata", "status", "apiVersion", "kind"] {
            rest.remove(field);
        }
        rest
    };
    rest(old) != rest(new)
}

/// Whether two objects are the same but for their versions.
pub fn same(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut bare = object.clone();
        bare["metadata"]["resourceVersion"] = Value::Null;
        // The time at which a manager last repeated itself is not a change.
        for entry in bare["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
        bare
    };
    bare(old) == bare(new)
}

/// The object after a request to delete it: terminating, with its grace period.
pub fn terminate(resource: &Resource, old: &Arc<Value>, wish: &Deletion) -> Value {
    let mut marked = Value::clone(old);
    let grace = grace(resource, old, wish.grace);
    let known = old["metadata"]["deletionGracePeriodSeconds"].as_u64();
    if known.is_none_or(|known| grace < known) {
        let end = jiff::Timestamp::now().as_second().saturating_add_unsigned(grace);
        let end = jiff::Timestamp::from_second(end).unwrap_or(jiff::Timestamp::MAX);
        marked["metadata"]["deletionTimestamp"] = end.to_string().into();
        marked["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    }
    let finalizer = match wish.propagation {
        Some(Propagation::Foreground) => Some("foregroundDeletion"),
        Some(Propagation::Orphan) => Some("orphan"),
        _ => None,
    };
    let listed = |name: &str| object::items(&old["metadata"]["finalizers"]).any(|one| one == name);
    if let Some(finalizer) = finalizer.filter(|name| !listed(name)) {
        match marked["metadata"]["finalizers"].as_array_mut() {
            Some(list) => list.push(finalizer.into()),
            None => marked["metadata"]["finalizers"] = json!([finalizer]),
        }
    }
    if resource.is(Builtin::Namespace) {
        marked["status"]["phase"] = "Terminating".into();
    }
    marked
}

/// Seconds that the object's node has to end it; only pods have a node.
fn grace(resource: &Resource, old: &Value, wish: Option<Duration>) -> u64 {
    let runs = old["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty())
        && !matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !resource.is(Builtin::Pod) || !runs {
        return 0;
    }
    let own = || old["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    wish.map_or_else(own, |wish| wish.as_secs())
}

/// Whether a terminating object has nothing left to wait for.
pub fn is_finished(resource: &Resource, object: &Value) -> bool {
    object::is_terminating(object)
        && object::items(&object["metadata"]["finalizers"]).next().is_none()
        && object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) == 0
        && (!resource.is(Builtin::Namespace)
            || object::items(&object["spec"]["finalizers"]).next().is_none())
}

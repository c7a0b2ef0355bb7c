//! Server-side apply: a manager says what it wants, and owns that.
//!
//! A field that the manager no longer wants is removed, unless another manager
//! owns it, too. A field that another manager owns with another value is a conflict.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    Conflicts,
    fields::{self, FieldSet, SchemaNode},
    lists::ListType,
    managers::{self, Manager, ManagerOperation},
};
use crate::{resource::Resource, status::Status};

/// The object after an apply. `live` is the stored object, if it exists; `writer`
/// brings its name, version, subresource and time.
pub fn apply(
    resource: &Resource,
    live: Option<&Value>,
    wanted: &Value,
    mut writer: Manager,
    conflicts: Conflicts,
) -> Result<Value, Status> {
    if wanted["metadata"]["managedFields"].is_array() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    writer.operation = ManagerOperation::Apply;
    let place = SchemaNode::top(managers::schema(resource));
    let part = managers::owned_part(wanted);
    if let Some(path) = unkeyed(&part, place, "") {
        return Err(Status::bad_request(format!(
            "{path} cannot be applied: elements of this list are told apart by their keys, and this \
             one has not all of them, or those of another"
        )));
    }
    let mut claimed = fields::of(&part, place);
    claimed.here = false;
    let mut owners = live.map(managers::read).unwrap_or_default();
    let mut result = live.cloned().unwrap_or_else(|| json!({}));
    if let Some(live) = live {
        settle(&mut owners, &writer, &disputed(live, &part, &claimed, place), conflicts)?;
    }
    let known = owners.iter().position(|one| one.is_same(&writer));
    if let Some(index) = known {
        let others = owners.iter().enumerate().filter(|(other, _)| *other != index);
        let held =
            others.fold(FieldSet::default(), |held, (_, manager)| held.union(&manager.fields));
        let given_up = owners[index].fields.minus(&claimed).minus(&held);
        remove(&mut result, &given_up, place);
    }
    merge(&mut result, &part, place);
    for field in ["apiVersion", "kind"] {
        result[field] = wanted[field].clone();
    }
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        if let Some(value) = wanted["metadata"].get(field).filter(|value| value.is_string()) {
            result["metadata"][field] = value.clone();
        }
    }
    writer.fields = claimed;
    match known {
        Some(index) if owners[index].fields == writer.fields => {}
        Some(index) => owners[index] = writer,
        None => owners.push(writer),
    }
    managers::prune(&mut owners, &managers::owned_part(&result), place);
    managers::write(&mut result, &owners);
    Ok(result)
}

/// The first element that cannot be told apart in its list, which is merged by key.
fn unkeyed(wanted: &Value, place: SchemaNode<'_>, path: &str) -> Option<String> {
    match wanted {
        Value::Object(fields) if !place.is_atomic_map() => fields
            .iter()
            .find_map(|(name, value)| unkeyed(value, place.enter(name), &format!("{path}.{name}"))),
        Value::Array(items) if place.list() != ListType::Atomic => {
            let (list, mut seen) = (place.list(), BTreeSet::new());
            items.iter().enumerate().find_map(|(index, item)| {
                let path = format!("{path}[{index}]");
                match fields::step(&list, item).is_some_and(|step| seen.insert(step)) {
                    true => unkeyed(item, place.element(), &path),
                    false => Some(path),
                }
            })
        }
        _ => None,
    }
}

/// The claimed fields whose value would change.
fn disputed(live: &Value, part: &Value, claimed: &FieldSet, place: SchemaNode<'_>) -> FieldSet {
    let mut merged = managers::owned_part(live);
    let before = merged.clone();
    merge(&mut merged, part, place);
    let mut changes = fields::changed(Some(&before), &merged, place);
    changes.here = false;
    changes.both(claimed)
}

/// Refuses what belongs to others, or takes it from them.
fn settle(
    owners: &mut [Manager],
    writer: &Manager,
    disputed: &FieldSet,
    conflicts: Conflicts,
) -> Result<(), Status> {
    let mut found: Vec<(String, String)> = Vec::new();
    for owner in owners.iter_mut().filter(|one| !one.is_same(writer)) {
        let clash = owner.fields.both(disputed);
        match conflicts {
            Conflicts::Force => owner.fields = owner.fields.minus(&clash),
            Conflicts::Refuse => {
                let described = owner.described();
                found.extend(clash.paths().into_iter().map(|(_, path)| (described.clone(), path)));
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(refusal(found)) }
}

fn refusal(mut found: Vec<(String, String)>) -> Status {
    found.sort();
    let message = match found.as_slice() {
        [(manager, path)] => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {path}")
        }
        many => {
            let mut lines = Vec::new();
            for (index, (manager, path)) in many.iter().enumerate() {
                if index == 0 || many[index - 1].0 != *manager {
                    lines.push(format!("conflicts with {manager}:"));
                }
                lines.push(format!("- {path}"));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let causes: Vec<Value> = found
        .iter()
        .map(|(manager, path)| {
            let message = format!("conflict with {manager}");
            json!({"reason": "FieldManagerConflict", "message": message, "field": path})
        })
        .collect();
    let mut status = Status::new(409, "Conflict", message);
    status.details = json!({"causes": causes});
    status
}

/// Puts what is wanted into the object, list elements by their keys.
fn merge(target: &mut Value, wanted: &Value, place: SchemaNode<'_>) {
    match (target, wanted) {
        (Value::Object(target), Value::Object(wanted)) if !place.is_atomic_map() => {
            for (field, value) in wanted {
                match target.get_mut(field) {
                    Some(place_of) => merge(place_of, value, place.enter(field)),
                    None => {
                        target.insert(field.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(target), Value::Array(wanted)) if place.list() != ListType::Atomic => {
            merge_list(target, wanted, place);
        }
        (target, wanted) => *target = wanted.clone(),
    }
}

fn merge_list(target: &mut Vec<Value>, wanted: &[Value], place: SchemaNode<'_>) {
    let list = place.list();
    let mut places = fields::by_step(&list, target);
    for item in wanted {
        let step = fields::step(&list, item);
        match step.as_ref().and_then(|step| places.get(step)) {
            Some(index) => merge(&mut target[*index], item, place.element()),
            None => {
                places.extend(step.map(|step| (step, target.len())));
                target.push(item.clone());
            }
        }
    }
}

/// Takes fields out of the object, and what is then empty.
fn remove(target: &mut Value, gone: &FieldSet, place: SchemaNode<'_>) {
    match target {
        Value::Object(map) => remove_fields(map, gone, place),
        Value::Array(items) => {
            let list = place.list();
            items.retain_mut(|item| {
                let Some(fields) = fields::step(&list, item).and_then(|step| gone.below.get(&step))
                else {
                    return true;
                };
                if fields.here {
                    return false;
                }
                remove(item, fields, place.element());
                true
            });
        }
        _ => {}
    }
}

fn remove_fields(map: &mut Map<String, Value>, gone: &FieldSet, place: SchemaNode<'_>) {
    for (step, fields) in &gone.below {
        let Some(field) = step.strip_prefix("f:") else { continue };
        let Some(value) = map.get_mut(field) else { continue };
        if fields.here && fields.below.is_empty() {
            map.remove(field);
            continue;
        }
        remove(value, fields, place.enter(field));
        let is_empty = match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if is_empty {
            map.remove(field);
        }
    }
}

#[cfg(test)]
mod tests;

//! Who owns which field of an object: `metadata.managedFields`.
//!
//! Every write leaves a trace of what it changed under its manager's name; the
//! fields of an apply are those it names. Fields that are gone have no manager.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weft_controllers::object;

use super::fields::{self, FieldSet, SchemaNode};
use crate::resource::{Origin, Resource};

/// Whether fields are owned because they were applied or because they were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagerOperation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// One manager's share of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Manager {
    /// What it calls itself.
    pub name: String,
    /// How it came to its fields.
    pub operation: ManagerOperation,
    /// The version of the API it used.
    pub api_version: String,
    /// The subresource it wrote through, or nothing.
    pub subresource: String,
    /// When it last changed something.
    pub time: String,
    /// Its fields.
    pub fields: FieldSet,
}

impl Manager {
    /// How the text of a conflict names it.
    pub fn described(&self) -> String {
        match self.operation {
            ManagerOperation::Apply => format!("{:?}", self.name),
            ManagerOperation::Update if self.subresource.is_empty() => {
                format!("{:?} using {}", self.name, self.api_version)
            }
            ManagerOperation::Update => format!(
                "{:?} with subresource {:?} using {}",
                self.name, self.subresource, self.api_version
            ),
        }
    }

    /// Whether both are entries of the same manager.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == ManagerOperation::Apply || self.api_version == other.api_version)
    }
}

/// The managers of an object.
pub fn read(object: &Value) -> Vec<Manager> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    object::items(&object["metadata"]["managedFields"])
        .map(|entry| Manager {
            name: text(&entry["manager"]),
            operation: match entry["operation"].as_str() {
                Some("Apply") => ManagerOperation::Apply,
                _ => ManagerOperation::Update,
            },
            api_version: text(&entry["apiVersion"]),
            subresource: text(&entry["subresource"]),
            time: text(&entry["time"]),
            fields: FieldSet::read(&entry["fieldsV1"]),
        })
        .collect()
}

/// Puts managers into an object, without those who have nothing.
pub fn write(object: &mut Value, managers: &[Manager]) {
    let list: Vec<Value> = managers
        .iter()
        .filter(|manager| !manager.fields.is_empty())
        .map(|manager| {
            let operation = match manager.operation {
                ManagerOperation::Apply => "Apply",
                ManagerOperation::Update => "Update",
            };
            let mut entry = json!({
                "manager": manager.name, "operation": operation, "apiVersion": manager.api_version,
                "time": manager.time, "fieldsType": "FieldsV1", "fieldsV1": manager.fields.write(),
            });
            if !manager.subresource.is_empty() {
                entry["subresource"] = manager.subresource.clone().into();
            }
            entry
        })
        .collect();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        match list.is_empty() {
            true => metadata.remove("managedFields"),
            false => metadata.insert("managedFields".into(), list.into()),
        };
    }
}

/// Records what a write other than an apply changed.
///
/// `writer` brings its name, version, subresource and time; its fields are found.
pub fn record(resource: &Resource, old: Option<&Value>, new: &mut Value, mut writer: Manager) {
    let before = old.map(owned_part);
    let after = owned_part(new);
    let place = SchemaNode::top(schema(resource));
    let mut changed = fields::changed(before.as_ref(), &after, place);
    changed.here = false;
    // A client that sends other managedFields than those stored means it.
    let stored = old.map_or(&Value::Null, |old| &old["metadata"]["managedFields"]);
    let sent = &new["metadata"]["managedFields"];
    let mut managers = match sent.is_array() && sent != stored {
        true => read(new),
        false => old.map(read).unwrap_or_default(),
    };
    if !changed.is_empty() {
        for manager in &mut managers {
            manager.fields = manager.fields.minus(&changed);
        }
        let known = managers.iter().position(|one| one.is_same(&writer));
        match known {
            Some(index) => {
                managers[index].fields =
                    std::mem::take(&mut managers[index].fields).union(&changed);
                managers[index].time = writer.time;
            }
            None => {
                writer.fields = changed;
                managers.push(writer);
            }
        }
    }
    prune(&mut managers, &after, place);
    write(new, &managers);
}

/// Takes fields that the object no longer has from everybody.
pub fn prune(managers: &mut [Manager], object: &Value, place: SchemaNode<'_>) {
    let present = with_parents(fields::of(object, place));
    for manager in managers {
        manager.fields = manager.fields.both(&present);
    }
}

/// A set in which every step on the way to a field counts as well.
fn with_parents(mut fields: FieldSet) -> FieldSet {
    fields.here = true;
    fields.below =
        fields.below.into_iter().map(|(step, below)| (step, with_parents(below))).collect();
    fields
}

/// The part of an object that a manager can own.
pub fn owned_part(object: &Value) -> Value {
    let mut part = object.clone();
    if let Some(fields) = part.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
        let unowned: BTreeSet<&str> = [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "managedFields",
        ]
        .into();
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|field, _| !unowned.contains(field.as_str()));
            if metadata.is_empty() {
                fields.remove("metadata");
            }
        }
    }
    part
}

/// The schema by which a resource's lists are merged.
pub fn schema(resource: &Resource) -> Option<&Value> {
    match &resource.origin {
        Origin::Custom(custom) => Some(&custom.schema),
        Origin::BuiltIn => None,
    }
}

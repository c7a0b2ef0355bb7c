//! Which fields and variants a place in a resource may have: what the reader says that it
//! expects when it finds something else there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weft_config::decode;

/// A name that no field and no variant has.
pub const UNKNOWN: &str = "ofNextYear";

/// What may stand at a place.
#[derive(Debug)]
pub enum Form {
    /// A struct with these fields.
    Fields(BTreeSet<String>),
    /// One of these variants.
    Variants(BTreeSet<String>),
}

/// The form of the place at `pointer` of a resource; none where a text, a number or a list is.
pub fn of(resource: &Value, pointer: &str) -> Option<Form> {
    let mut spoilt = resource.clone();
    *spoilt.pointer_mut(pointer)? = UNKNOWN.into();
    if let Some(variants) = expected(&spoilt, "variant") {
        return Some(Form::Variants(variants));
    }
    let mut spoilt = resource.clone();
    spoilt.pointer_mut(pointer)?.as_object_mut()?.insert(UNKNOWN.to_owned(), Value::Bool(true));
    expected(&spoilt, "field").map(Form::Fields)
}

/// The names that are expected in place of the unknown one.
fn expected(spoilt: &Value, what: &str) -> Option<BTreeSet<String>> {
    let error = decode(spoilt.to_string().as_bytes()).err()?.to_string();
    let (_, names) = error.split_once(&format!("unknown {what} `{UNKNOWN}`, expected "))?;
    Some(names.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

/// The pointers of everything in `value`, itself included.
pub fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                pointers(value, &format!("{here}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                pointers(value, &format!("{here}/{at}"), found);
            }
        }
        _ => {}
    }
}

/// The names that the value at a place has: its fields, or its variant.
fn names(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(entries) => entries.keys().cloned().collect(),
        Value::String(text) => BTreeSet::from([text.clone()]),
        _ => BTreeSet::new(),
    }
}

/// Fields and variants that some struct or enum has and that stand in none of `resources`,
/// with all fields or variants of it.
pub fn missing(resources: &[Value]) -> Vec<String> {
    let mut seen: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    for resource in resources {
        let mut places = Vec::new();
        pointers(resource, "", &mut places);
        for place in places {
            let Some(Form::Fields(all) | Form::Variants(all)) = of(resource, &place) else {
                continue;
            };
            seen.entry(all)
                .or_default()
                .extend(resource.pointer(&place).map(names).into_iter().flatten());
        }
    }
    let missing = seen
        .iter()
        .flat_map(|(all, seen)| all.difference(seen).map(move |name| format!("{name} of {all:?}")));
    missing.collect()
}

/// The path of the place at `pointer`, in which all items of a list are one.
pub fn path(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).filter(|part| part.parse::<usize>().is_err());
    parts.map(|part| format!("/{part}")).collect()
}

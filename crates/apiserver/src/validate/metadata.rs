//! What every object's metadata has to be.

use serde_json::Value;
use weft_controllers::object::items;

use super::{causes::Causes, names};

/// The most that all annotations of an object may hold, keys and values.
const ANNOTATIONS: usize = 256 << 10;

/// Checks a whole object's metadata.
pub fn check(object: &Value, causes: &mut Causes) {
    let metadata = &object["metadata"];
    labels(&metadata["labels"], "metadata.labels", causes);
    annotations(&metadata["annotations"], "metadata.annotations", causes);
    for (index, owner) in items(&metadata["ownerReferences"]).enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let field = format!("metadata.ownerReferences[{index}].{field}");
                causes.invalid(field, &owner_value(owner), "must not be empty");
            }
        }
    }
    for (index, finalizer) in items(&metadata["finalizers"]).enumerate() {
        causes.follows(format!("metadata.finalizers[{index}]"), finalizer, names::qualified);
    }
}

fn owner_value(owner: &Value) -> Value {
    owner["name"].as_str().unwrap_or_default().into()
}

/// Checks labels, wherever they stand.
pub fn labels(labels: &Value, field: &str, causes: &mut Causes) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(wrong) = names::qualified(key) {
            causes.invalid(field, &key.as_str().into(), &wrong);
        }
        causes.follows(field, value, names::label_value);
    }
}

/// Checks annotations, wherever they stand.
pub fn annotations(annotations: &Value, field: &str, causes: &mut Causes) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Unlike those of labels, their prefixes may have upper case letters.
        if let Some(wrong) = names::qualified(&key.to_lowercase()) {
            causes.invalid(field, &key.as_str().into(), &wrong);
        }
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS {
        causes.too_long(field, ANNOTATIONS);
    }
}

/// Checks a selector with `matchLabels` and `matchExpressions`.
pub fn selector(selector: &Value, field: &str, causes: &mut Causes) {
    labels(&selector["matchLabels"], &format!("{field}.matchLabels"), causes);
    for (index, one) in items(&selector["matchExpressions"]).enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        causes.follows(format!("{field}.key"), &one["key"], names::qualified);
        let has_values = items(&one["values"]).next().is_some();
        match one["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if !has_values => causes.required(
                format!("{field}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "Exists" | "DoesNotExist" if has_values => causes.forbidden(
                format!("{field}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => causes.invalid(
                format!("{field}.operator"),
                &one["operator"],
                "not a valid selector operator",
            ),
        }
    }
}

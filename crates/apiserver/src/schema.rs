//! Custom resources against the schema of their definition.
//!
//! Structural OpenAPI v3 as Kubernetes reads it: types, bounds, enumerations,
//! combinations, defaults, pruning. Rules in CEL are not evaluated; a mesh's
//! own webhook says more than they could.

use std::{cell::RefCell, collections::HashMap};

use regex::Regex;
use serde_json::{Value, json};

use crate::status::Cause;

/// Fills in the schema's defaults, and drops nulls where the schema does not allow them.
pub fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                if property["nullable"] != true && map.get(field).is_some_and(Value::is_null) {
                    map.remove(field);
                }
                if let Some(default) = property.get("default") {
                    map.entry(field).or_insert_with(|| default.clone());
                }
                if let Some(value) = map.get_mut(field) {
                    fill(property, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

/// Takes out fields that the schema does not know, and says which they were.
pub fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if schema["type"] == "object" || schema["properties"].is_object() {
        prune_at(schema, object, "", &mut unknown);
    }
    unknown
}

fn prune_at(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true
                || schema["additionalProperties"] == true;
            let others = &schema["additionalProperties"];
            let is_top = path.is_empty();
            map.retain(|field, value| {
                let at = join(path, field);
                if is_top && matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                if let Some(property) = schema["properties"].get(field) {
                    prune_at(property, value, &at, unknown);
                    return true;
                }
                if others.is_object() {
                    prune_at(others, value, &at, unknown);
                    return true;
                }
                if !keeps {
                    unknown.push(at);
                }
                keeps
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune_at(&schema["items"], item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// The patterns of a schema, each read once however many texts have to match it.
#[derive(Default)]
struct Patterns(RefCell<HashMap<String, Option<Regex>>>);

impl Patterns {
    /// Whether a text matches. A pattern that this engine cannot read refuses nothing: the
    /// definition's author meant another dialect, and the webhook still looks.
    fn allow(&self, pattern: &str, text: &str) -> bool {
        let mut known = self.0.borrow_mut();
        if !known.contains_key(pattern) {
            known.insert(pattern.to_owned(), Regex::new(pattern).ok());
        }
        known.get(pattern).and_then(Option::as_ref).is_none_or(|pattern| pattern.is_match(text))
    }
}

/// What is wrong with an object by its schema.
pub fn check(schema: &Value, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if schema.is_object() {
        check_at(schema, object, "", &Patterns::default(), &mut causes);
    }
    causes
}

fn check_at(
    schema: &Value,
    value: &Value,
    path: &str,
    patterns: &Patterns,
    causes: &mut Vec<Cause>,
) {
    if value.is_null() && (schema["nullable"] == true || path.is_empty()) {
        return;
    }
    if !is_of_type(schema, value) {
        let wanted = schema["type"].as_str().unwrap_or_default();
        let found = type_name(value);
        causes.push(Cause {
            field: path.to_owned(),
            message: format!(
                "Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\""
            ),
            reason: "FieldValueTypeInvalid",
        });
        return;
    }
    if let Some(allowed) = schema["enum"].as_array().filter(|list| !list.contains(value)) {
        let names: Vec<String> = allowed.iter().map(Value::to_string).collect();
        causes.push(Cause {
            field: path.to_owned(),
            message: format!("Unsupported value: {value}: supported values: {}", names.join(", ")),
            reason: "FieldValueNotSupported",
        });
    }
    match value {
        Value::Object(_) => check_object(schema, value, path, patterns, causes),
        Value::Array(items) => {
            bounds(schema, path, ("minItems", "maxItems", "items"), items.len(), causes);
            for (index, item) in items.iter().enumerate() {
                check_at(&schema["items"], item, &format!("{path}[{index}]"), patterns, causes);
            }
        }
        Value::String(text) => check_text(schema, text, path, patterns, causes),
        Value::Number(_) => check_number(schema, value, path, causes),
        _ => {}
    }
    combinations(schema, value, path, patterns, causes);
}

fn check_object(
    schema: &Value,
    value: &Value,
    path: &str,
    patterns: &Patterns,
    causes: &mut Vec<Cause>,
) {
    for field in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(field).is_none() {
            causes.push(Cause::required(join(path, field), ""));
        }
    }
    for (field, value) in value.as_object().into_iter().flatten() {
        let is_known_anyway =
            path.is_empty() && matches!(field.as_str(), "apiVersion" | "kind" | "metadata");
        let property = schema["properties"].get(field);
        let property = property.or_else(|| schema.get("additionalProperties"));
        if let Some(property) = property.filter(|one| one.is_object() && !is_known_anyway) {
            check_at(property, value, &join(path, field), patterns, causes);
        }
    }
}

fn check_text(
    schema: &Value,
    text: &str,
    path: &str,
    patterns: &Patterns,
    causes: &mut Vec<Cause>,
) {
    bounds(schema, path, ("minLength", "maxLength", "chars"), text.chars().count(), causes);
    let Some(pattern) = schema["pattern"].as_str() else { return };
    if !patterns.allow(pattern, text) {
        let rule = format!("{path} in body should match '{pattern}'");
        causes.push(Cause::invalid(path, &text.into(), &rule));
    }
}

fn check_number(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(number) = value.as_f64() else { return };
    let strict = |field: &str| schema[field] == true;
    let least = schema["minimum"]
        .as_f64()
        .filter(|least| number < *least || (strict("exclusiveMinimum") && number <= *least));
    if let Some(least) = least {
        let rule = format!("{path} in body should be greater than or equal to {least}");
        causes.push(Cause::invalid(path, value, &rule));
    }
    let most = schema["maximum"]
        .as_f64()
        .filter(|most| number > *most || (strict("exclusiveMaximum") && number >= *most));
    if let Some(most) = most {
        let rule = format!("{path} in body should be less than or equal to {most}");
        causes.push(Cause::invalid(path, value, &rule));
    }
}

fn bounds(
    schema: &Value,
    path: &str,
    (least, most, unit): (&str, &str, &str),
    count: usize,
    causes: &mut Vec<Cause>,
) {
    let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
    if let Some(least) = limit(least).filter(|least| count < *least) {
        let rule = format!("{path} in body should have at least {least} {unit}");
        causes.push(Cause::invalid(path, &json!(count), &rule));
    }
    if let Some(most) = limit(most).filter(|most| count > *most) {
        let rule = format!("must have at most {most} {unit}");
        causes.push(Cause::invalid(path, &json!(count), &rule));
    }
}

fn combinations(
    schema: &Value,
    value: &Value,
    path: &str,
    patterns: &Patterns,
    causes: &mut Vec<Cause>,
) {
    let fits = |part: &Value| {
        let mut found = Vec::new();
        check_at(part, value, path, patterns, &mut found);
        found.is_empty()
    };
    let parts = |name: &str| schema[name].as_array().map(Vec::as_slice).unwrap_or_default();
    for part in parts("allOf") {
        check_at(part, value, path, patterns, causes);
    }
    let refuse = |rule: &str| Cause::invalid(path, value, &format!("{path} in body {rule}"));
    let any = parts("anyOf");
    if !any.is_empty() && !any.iter().any(fits) {
        causes.push(refuse("must validate at least one schema (anyOf)"));
    }
    let one = parts("oneOf");
    if !one.is_empty() && one.iter().filter(|part| fits(part)).count() != 1 {
        causes.push(refuse("must validate one and only one schema (oneOf)"));
    }
    if schema["not"].is_object() && fits(&schema["not"]) {
        causes.push(refuse("must not validate the schema (not)"));
    }
}

fn is_of_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_i64() || value.is_string();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => is_integer(schema, value),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    }
}

/// A whole number of 64 bits with a sign, which is what Kubernetes' clients read.
fn is_integer(schema: &Value, value: &Value) -> bool {
    // 2^53: beyond it, a fraction cannot be told from none.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(whole) = value.as_i64() else {
        return value.as_f64().is_some_and(|it| it.fract() == 0.0 && it.abs() <= EXACT);
    };
    schema["format"] != "int32" || i32::try_from(whole).is_ok()
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {"spec": {
            "type": "object", "required": ["host"], "properties": {
                "host": {"type": "string", "pattern": "^[a-z.]+$"},
                "weight": {"type": "integer", "minimum": 0, "maximum": 100, "default": 1},
                "mode": {"enum": ["A", "B"]},
                "count": {"type": "integer"},
                "small": {"type": "integer", "format": "int32"},
                "port": {"x-kubernetes-int-or-string": true},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }, "not": {"required": ["both"]}
        }}})
    }

    #[track_caller]
    fn check_spec(spec: Value, expected: &[&str]) {
        let causes = check(&schema(), &json!({"spec": spec}));
        let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(fields, expected, "{causes:?}");
    }

    #[test]
    fn every_kind_of_mistake_is_found_where_it_is() {
        check_spec(json!({"host": "a.b", "weight": 5, "mode": "A", "port": "http"}), &[]);
        check_spec(json!({}), &["spec.host"]);
        check_spec(json!({"host": 5}), &["spec.host"]);
        check_spec(json!({"host": "A"}), &["spec.host"]);
        check_spec(json!({"host": "a", "weight": 101}), &["spec.weight"]);
        check_spec(json!({"host": "a", "mode": "C"}), &["spec.mode"]);
        check_spec(json!({"host": "a", "port": true}), &["spec.port"]);
        check_spec(json!({"host": "a", "port": u64::MAX}), &["spec.port"]);
        check_spec(json!({"host": "a", "count": i64::MAX, "small": i32::MAX}), &[]);
        check_spec(json!({"host": "a", "count": u64::MAX}), &["spec.count"]);
        check_spec(json!({"host": "a", "count": 1e300}), &["spec.count"]);
        check_spec(json!({"host": "a", "small": 1_i64 << 31}), &["spec.small"]);
        check_spec(json!({"host": "a", "both": 1}), &["spec"]);
    }

    /// Reading a pattern takes far longer than matching it.
    #[test]
    fn a_pattern_is_read_once_for_all_texts() {
        let patterns = Patterns::default();
        let schema = json!({"items": {"type": "string", "pattern": "^[a-z]{1,60}$"}});
        let texts: Value = vec!["a"; 1000].into();
        let mut causes = Vec::new();
        check_at(&schema, &texts, "hosts", &patterns, &mut causes);
        assert_eq!((patterns.0.borrow().len(), causes), (1, Vec::new()));
    }

    #[test]
    fn unknown_fields_go_and_are_named_where_the_schema_does_not_keep_them() {
        let mut object = json!({"kind": "X", "metadata": {"name": "n"},
            "spec": {"host": "a", "hots": "b", "free": {"any": 1}}});
        assert_eq!(prune(&schema(), &mut object), ["spec.hots"]);
        assert_eq!(object["spec"], json!({"host": "a", "free": {"any": 1}}));
        fill(&schema(), &mut object);
        assert_eq!(object["spec"]["weight"], 1);
    }
}

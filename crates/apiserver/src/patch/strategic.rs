//! Kubernetes' strategic merge: lists are merged by the keys of their elements.
//!
//! The directives `$patch`, `$retainKeys`, `$setElementOrder/FIELD` and
//! `$deleteFromPrimitiveList/FIELD` are obeyed and never stored.

use serde_json::{Map, Value};

use super::lists;
use crate::status::Status;

/// Merges `patch` into `object`.
pub fn merge(object: &mut Value, patch: &Value) -> Result<(), Status> {
    let Value::Object(patch) = patch else {
        return Err(Status::bad_request("a strategic merge patch must be an object"));
    };
    merge_map(object, patch, "")
}

fn merge_map(target: &mut Value, patch: &Map<String, Value>, above: &str) -> Result<(), Status> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(without_directives(patch));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(Status::bad_request(format!("unknown $patch directive {other:?}")));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let fields = target.as_object_mut().expect("made an object above");
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|field, _| kept.iter().any(|one| one == field));
    }
    for (field, value) in patch {
        if let Some(list) = field.strip_prefix("$deleteFromPrimitiveList/") {
            delete_values(fields, list, value);
        } else if !field.starts_with('$') {
            merge_field(fields, field, value, above)?;
        }
    }
    for (field, order) in patch {
        if let Some(list) = field.strip_prefix("$setElementOrder/") {
            let key = lists::merge_key(above, list);
            if let Some(found) = fields.get_mut(list).and_then(Value::as_array_mut) {
                arrange(found, order, key);
            }
        }
    }
    Ok(())
}

fn merge_field(
    fields: &mut Map<String, Value>,
    field: &str,
    value: &Value,
    above: &str,
) -> Result<(), Status> {
    match value {
        Value::Null => {
            fields.remove(field);
        }
        Value::Object(patch) => {
            let place = fields.entry(field).or_insert(Value::Null);
            merge_map(place, patch, field)?;
            if patch.get("$patch").is_some_and(|directive| directive == "delete") {
                fields.remove(field);
            }
        }
        Value::Array(patch) => {
            let place = fields.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            merge_list(place, patch, (above, field))?;
        }
        scalar => {
            fields.insert(field.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

fn merge_list(
    target: &mut Value,
    patch: &[Value],
    (above, field): (&str, &str),
) -> Result<(), Status> {
    let replaces = patch.iter().any(|one| one["$patch"] == "replace" && one.is_object());
    let key = lists::merge_key(above, field);
    let Some(items) = target.as_array_mut().filter(|_| !replaces) else {
        *target = clean(patch);
        return Ok(());
    };
    if lists::is_set(field) {
        for value in patch {
            if !items.contains(value) {
                items.push(value.clone());
            }
        }
        return Ok(());
    }
    let Some(key) = key else {
        *target = clean(patch);
        return Ok(());
    };
    for element in patch {
        let Value::Object(change) = element else {
            return Err(Status::bad_request(format!("elements of {field} must be objects")));
        };
        let wanted = change.get(key).ok_or_else(|| {
            let text = format!("map: {element} does not contain declared merge key: {key}");
            Status::bad_request(text)
        })?;
        let position = items.iter().position(|item| item.get(key) == Some(wanted));
        match (position, change.get("$patch").and_then(Value::as_str)) {
            (Some(index), Some("delete")) => {
                items.remove(index);
            }
            (None, Some("delete")) => {}
            (Some(index), _) => merge_map(&mut items[index], change, field)?,
            (None, _) => {
                let mut fresh = Value::Object(Map::new());
                merge_map(&mut fresh, change, field)?;
                items.push(fresh);
            }
        }
    }
    Ok(())
}

fn delete_values(fields: &mut Map<String, Value>, list: &str, values: &Value) {
    let Some(items) = fields.get_mut(list).and_then(Value::as_array_mut) else { return };
    let gone = values.as_array().map(Vec::as_slice).unwrap_or_default();
    items.retain(|item| !gone.contains(item));
}

/// Puts elements named by `order` into that order; others keep their place behind
/// the element that they stood behind.
fn arrange(items: &mut [Value], order: &Value, key: Option<&str>) {
    let order = order.as_array().map(Vec::as_slice).unwrap_or_default();
    let rank = |item: &Value| match key {
        Some(key) => order.iter().position(|one| one.get(key) == item.get(key)),
        None => order.iter().position(|one| one == item),
    };
    let mut last = None;
    let ranks: Vec<_> = items
        .iter()
        .map(|item| {
            last = rank(item).or(last);
            last
        })
        .collect();
    let mut paired: Vec<_> = items.iter().cloned().zip(ranks).collect();
    paired.sort_by_key(|(_, rank)| *rank);
    for (place, (item, _)) in items.iter_mut().zip(paired) {
        *place = item;
    }
}

fn clean(patch: &[Value]) -> Value {
    let directive = |item: &&Value| item.get("$patch").is_some();
    patch.iter().filter(|item| !directive(item)).map(stripped).collect()
}

fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(items) => items.iter().map(stripped).collect(),
        other => other.clone(),
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(field, value)| !field.starts_with('$') && !value.is_null())
        .map(|(field, value)| (field.clone(), stripped(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(object: Value, patch: Value, expected: Value) {
        let mut merged = object;
        merge(&mut merged, &patch).unwrap();
        assert_eq!(merged, expected, "{patch}");
    }

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn containers_are_found_by_name_and_their_lists_by_their_own_keys() {
        check(
            pod(json!([{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}],
                        "ports": [{"containerPort": 80, "name": "http"}]}, {"name": "b"}])),
            pod(json!([{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}],
                        "ports": [{"containerPort": 80, "name": "web"}]}])),
            pod(json!([{"name": "a", "image": "2",
                        "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
                        "ports": [{"containerPort": 80, "name": "web"}]}, {"name": "b"}])),
        );
    }

    #[test]
    fn service_ports_are_found_by_port() {
        let service = |ports: Value| json!({"spec": {"ports": ports}});
        check(
            service(json!([{"port": 80, "name": "a"}, {"port": 81}])),
            service(json!([{"port": 81, "$patch": "delete"}, {"port": 80, "targetPort": 8080}])),
            service(json!([{"port": 80, "name": "a", "targetPort": 8080}])),
        );
    }

    #[test]
    fn directives_are_obeyed_and_never_stored() {
        check(
            pod(json!([{"name": "a"}, {"name": "b"}])),
            json!({"spec": {"containers": [{"name": "b", "$patch": "delete"}, {"name": "c"}],
                            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}),
            pod(json!([{"name": "c"}, {"name": "a"}])),
        );
        check(
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        );
        check(
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
        );
        check(
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"$patch": "replace", "c": "3"}}),
            json!({"data": {"c": "3"}}),
        );
    }

    #[test]
    fn null_removes_and_lists_without_keys_are_replaced() {
        check(
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "args": ["x", "y"]}),
            json!({"metadata": {"labels": {"a": null}}, "args": ["z"]}),
            json!({"metadata": {"labels": {"b": "2"}}, "args": ["z"]}),
        );
    }

    #[test]
    fn an_element_without_its_key_is_refused() {
        let mut object = pod(json!([{"name": "a"}]));
        let refused = merge(&mut object, &pod(json!([{"image": "x"}]))).unwrap_err();
        assert!(refused.message.contains("does not contain declared merge key: name"), "{refused}");
    }
}

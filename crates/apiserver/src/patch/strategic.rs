//! Kubernetes' strategic merge: lists are merged by the keys of their elements.
//!
//! The directives `$patch`, `$retainKeys`, `$setElementOrder/FIELD` and
//! `$deleteFromPrimitiveList/FIELD` are obeyed and never stored.

use std::collections::{HashMap, HashSet};

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
        let kept: HashSet<&str> = kept.iter().filter_map(Value::as_str).collect();
        fields.retain(|field, _| kept.contains(field.as_str()));
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
        let mut known: HashSet<Value> = items.iter().cloned().collect();
        items.extend(patch.iter().filter(|value| known.insert(Value::clone(value))).cloned());
        return Ok(());
    }
    let Some(key) = key else {
        *target = clean(patch);
        return Ok(());
    };
    let mut elements = Elements::of(std::mem::take(items), key);
    for element in patch {
        let Value::Object(change) = element else {
            return Err(Status::bad_request(format!("elements of {field} must be objects")));
        };
        let wanted = change.get(key).ok_or_else(|| {
            let text = format!("map: {element} does not contain declared merge key: {key}");
            Status::bad_request(text)
        })?;
        match change.get("$patch").and_then(Value::as_str) {
            Some("delete") => elements.remove(wanted),
            _ => merge_map(elements.get_or_add(wanted), change, field)?,
        }
    }
    *items = elements.rest();
    Ok(())
}

/// A list while it is merged: each element is found at once, however long the list is.
struct Elements {
    items: Vec<Option<Value>>,
    /// The places of the elements with a key, in order.
    places: HashMap<Value, Vec<usize>>,
}

impl Elements {
    fn of(items: Vec<Value>, key: &str) -> Self {
        let mut places: HashMap<Value, Vec<usize>> = HashMap::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Some(value) = item.get(key) {
                places.entry(value.clone()).or_default().push(index);
            }
        }
        Self { items: items.into_iter().map(Some).collect(), places }
    }

    /// Takes out every element with a key, as Kubernetes does.
    fn remove(&mut self, key: &Value) {
        for index in self.places.remove(key).into_iter().flatten() {
            self.items[index] = None;
        }
    }

    /// The first element with a key, or a new one at the end.
    fn get_or_add(&mut self, key: &Value) -> &mut Value {
        let end = self.items.len();
        let known = self.places.get(key).and_then(|places| places.first().copied());
        let index = known.unwrap_or_else(|| {
            self.items.push(None);
            self.places.insert(key.clone(), vec![end]);
            end
        });
        self.items[index].get_or_insert_with(|| Value::Object(Map::new()))
    }

    fn rest(self) -> Vec<Value> {
        self.items.into_iter().flatten().collect()
    }
}

fn delete_values(fields: &mut Map<String, Value>, list: &str, values: &Value) {
    let Some(items) = fields.get_mut(list).and_then(Value::as_array_mut) else { return };
    let gone: HashSet<&Value> = values.as_array().into_iter().flatten().collect();
    items.retain(|item| !gone.contains(item));
}

/// Puts elements named by `order` into that order; others keep their place behind
/// the element that they stood behind.
fn arrange(items: &mut Vec<Value>, order: &Value, key: Option<&str>) {
    let mut ranks: HashMap<Value, usize> = HashMap::new();
    for (rank, one) in order.as_array().into_iter().flatten().enumerate() {
        if let Some(name) = key.map_or(Some(one), |key| one.get(key)) {
            ranks.entry(name.clone()).or_insert(rank);
        }
    }
    let mut last = None;
    let ranked = std::mem::take(items).into_iter().map(|item| {
        let name = key.map_or(Some(&item), |key| item.get(key));
        last = name.and_then(|name| ranks.get(name).copied()).or(last);
        (last, item)
    });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    items.extend(ranked.into_iter().map(|(_, item)| item));
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

    /// The same list of many elements in another order, with others, and gone: each is looked
    /// up, not searched for.
    #[test]
    fn long_lists_are_merged_in_one_pass() {
        const MANY: usize = 20_000;
        let names = |from: usize| -> Value {
            (from..from + MANY).map(|one| json!({"name": format!("e{one}")})).collect()
        };
        let mut object = pod(json!([{"name": "c", "env": names(0)}]));
        let order: Vec<Value> = names(0).as_array().unwrap().iter().rev().cloned().collect();
        let patch = json!({"name": "c", "env": names(MANY / 2), "$setElementOrder/env": order});
        merge(&mut object, &pod(json!([patch]))).unwrap();
        let env = object["spec"]["containers"][0]["env"].as_array().unwrap();
        assert_eq!(env.len(), MANY * 3 / 2);
        let gone: Value = names(0)
            .as_array()
            .unwrap()
            .iter()
            .map(|one| json!({"name": one["name"], "$patch": "delete"}))
            .collect();
        merge(&mut object, &pod(json!([{"name": "c", "env": gone}]))).unwrap();
        let env = object["spec"]["containers"][0]["env"].as_array().unwrap();
        assert_eq!((env.len(), &env[0]["name"]), (MANY / 2, &json!(format!("e{MANY}"))));
        let texts = |from: usize| (from..=MANY).map(|one| one.to_string()).collect::<Value>();
        check(
            json!({"finalizers": texts(0)}),
            json!({"finalizers": texts(1), "$deleteFromPrimitiveList/finalizers": texts(1)}),
            json!({"finalizers": texts(0)}),
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

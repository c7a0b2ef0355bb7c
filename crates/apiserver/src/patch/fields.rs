//! Sets of fields, in the form in which `managedFields` keeps them (FieldsV1).
//!
//! A set is a tree whose steps are FieldsV1's own words (`f:name`, `k:{…}`,
//! `v:…`, and `.` for the place itself), so reading and writing is copying.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::lists::{self, ListType};

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the place itself is in the set.
    pub here: bool,
    /// What is in the set below it, by step.
    pub below: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Reads FieldsV1; a leaf (`{}`) is the place itself.
    pub fn read(value: &Value) -> Self {
        let map = value.as_object();
        let steps = map.into_iter().flatten().filter(|(step, _)| step.as_str() != ".");
        let below: BTreeMap<_, _> =
            steps.map(|(step, value)| (step.clone(), Self::read(value))).collect();
        let here = map.is_some_and(|map| map.contains_key(".")) || below.is_empty();
        Self { here, below }
    }

    /// Writes FieldsV1.
    pub fn write(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.below.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, fields) in &self.below {
            map.insert(step.clone(), fields.write());
        }
        Value::Object(map)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Self::is_empty)
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.here |= other.here;
        for (step, fields) in &other.below {
            let mine = self.below.remove(step).unwrap_or_default();
            self.below.insert(step.clone(), mine.union(fields));
        }
        self
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    /// What is in both.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let nothing = Self::default();
        let below = self
            .below
            .iter()
            .map(|(step, fields)| {
                let theirs = other.below.get(step).unwrap_or(&nothing);
                (step.clone(), fields.combine(theirs, keep))
            })
            .filter(|(_, fields)| !fields.is_empty())
            .collect();
        Self { here: keep(self.here, other.here), below }
    }

    /// Every place in the set as a path such as `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<(Vec<String>, String)> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, steps: &mut Vec<String>, paths: &mut Vec<(Vec<String>, String)>) {
        if self.here {
            paths.push((steps.clone(), steps.iter().map(|step| readable(step)).collect()));
        }
        for (step, fields) in &self.below {
            steps.push(step.clone());
            fields.collect(steps, paths);
            steps.pop();
        }
    }
}

fn readable(step: &str) -> String {
    match step.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> =
                keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        _ => format!("[{step}]"),
    }
}

/// Where in an object one stands, as far as merging lists needs to know.
#[derive(Clone, Copy)]
pub struct SchemaNode<'s> {
    /// The schema of a custom resource; absent for built-in kinds.
    schema: Option<&'s Value>,
    /// The field that was entered last.
    field: &'s str,
    above: &'s str,
}

impl<'s> SchemaNode<'s> {
    /// The top of an object.
    pub fn top(schema: Option<&'s Value>) -> Self {
        Self { schema, field: "", above: "" }
    }

    /// One field down. Metadata is built in, whatever the kind.
    #[must_use]
    pub fn enter(self, field: &'s str) -> Self {
        let schema = match (self.schema, field) {
            (Some(_), "metadata") if self.field.is_empty() => None,
            (Some(schema), field) => Some(match schema["properties"].get(field) {
                Some(property) => property,
                None => &schema["additionalProperties"],
            }),
            (None, _) => None,
        };
        Self { schema, field, above: self.field }
    }

    /// Into an element of the list at this place.
    #[must_use]
    pub fn element(self) -> Self {
        Self { schema: self.schema.map(|schema| &schema["items"]), ..self }
    }

    /// How the list at this place is merged.
    pub fn list(self) -> ListType {
        match self.schema {
            Some(schema) => lists::by_schema(schema),
            None => lists::built_in(self.above, self.field),
        }
    }

    /// Whether the map at this place is one value.
    pub fn is_atomic_map(self) -> bool {
        match self.schema {
            Some(schema) => schema["x-kubernetes-map-type"] == "atomic",
            None => {
                matches!(self.field, "selector" if self.above == "spec")
                    || matches!(
                        self.field,
                        "fieldRef"
                            | "configMapKeyRef"
                            | "secretKeyRef"
                            | "resourceFieldRef"
                            | "namespaceSelector"
                            | "objectSelector"
                            | "labelSelector"
                    )
            }
        }
    }
}

/// The step to an element of a keyed list or set; absent when keys are missing.
pub fn step(list: &ListType, element: &Value) -> Option<String> {
    match list {
        ListType::Atomic => None,
        ListType::Set => Some(format!("v:{element}")),
        ListType::Keyed(keys) => {
            let mut found = BTreeMap::new();
            for key in keys {
                let value = element.get(key).cloned();
                // A port's protocol counts as TCP where it is not written.
                let value = value.or_else(|| (key == "protocol").then(|| "TCP".into()))?;
                found.insert(key, value);
            }
            serde_json::to_string(&found).ok().map(|keys| format!("k:{keys}"))
        }
    }
}

/// Where the elements of a keyed list or set are, by the step to each; the first of several
/// with the same.
pub fn by_step(list: &ListType, items: &[Value]) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if let Some(step) = step(list, item) {
            places.entry(step).or_insert(index);
        }
    }
    places
}

/// The fields that an object or a part of it consists of.
pub fn of(value: &Value, place: SchemaNode<'_>) -> FieldSet {
    let leaf = FieldSet { here: true, below: BTreeMap::new() };
    match value {
        Value::Object(map) if !map.is_empty() && !place.is_atomic_map() => {
            let below = map
                .iter()
                .map(|(field, value)| (format!("f:{field}"), of(value, place.enter(field))))
                .collect();
            FieldSet { here: false, below }
        }
        Value::Array(items) if !items.is_empty() => {
            let list = place.list();
            let mut below = BTreeMap::new();
            for item in items {
                let Some(step) = step(&list, item) else { return leaf };
                let mut fields = of(item, place.element());
                fields.here = true;
                below.insert(step, fields);
            }
            FieldSet { here: false, below }
        }
        _ => leaf,
    }
}

/// The fields of `new` that are not in `old` or have another value there.
pub fn changed(old: Option<&Value>, new: &Value, place: SchemaNode<'_>) -> FieldSet {
    let Some(old) = old else {
        let mut all = of(new, place);
        all.here |= new.is_object();
        return all;
    };
    match (old, new) {
        (Value::Object(before), Value::Object(after)) if !place.is_atomic_map() => {
            let below = after
                .iter()
                .map(|(field, value)| {
                    let fields = changed(before.get(field), value, place.enter(field));
                    (format!("f:{field}"), fields)
                })
                .filter(|(_, fields)| !fields.is_empty())
                .collect();
            FieldSet { here: false, below }
        }
        (Value::Array(before), Value::Array(after)) if place.list() != ListType::Atomic => {
            let list = place.list();
            let known = by_step(&list, before);
            let mut below = BTreeMap::new();
            for item in after {
                let Some(step_to) = step(&list, item) else { return of(new, place) };
                let known = known.get(&step_to).map(|index| &before[*index]);
                let mut fields = changed(known, item, place.element());
                fields.here |= known.is_none();
                if !fields.is_empty() {
                    below.insert(step_to, fields);
                }
            }
            FieldSet { here: false, below }
        }
        (old, new) if old == new => FieldSet::default(),
        _ => of(new, place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_written_as_kubernetes_writes_them() {
        let object = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [
            {"name": "c", "ports": [{"containerPort": 80}], "args": ["x"]}], "selector": {"a": "b"}}});
        let written = of(&object, SchemaNode::top(None)).write();
        let expected = json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:selector": {}, "f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:args": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}});
        assert_eq!(written, expected);
        assert_eq!(FieldSet::read(&expected).write(), expected);
    }

    #[test]
    fn a_path_reads_as_in_the_text_of_a_conflict() {
        let set = of(
            &json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
            SchemaNode::top(None),
        );
        let paths: Vec<String> = set.paths().into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            paths,
            [
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image",
                ".spec.containers[name=\"c\"].name"
            ]
        );
    }

    #[test]
    fn only_what_changed_is_new() {
        let old = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "1"}]}});
        let new = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "2"}, {"name": "b"}]}});
        let expected = json!({"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {"f:image": {}}, "k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}}});
        assert_eq!(changed(Some(&old), &new, SchemaNode::top(None)).write(), expected);
    }

    /// Each element is looked up in the list before, not searched for.
    #[test]
    fn long_lists_are_compared_in_one_pass() {
        const MANY: usize = 20_000;
        let env = |letter: &str| -> Value {
            (0..MANY).map(|one| json!({"name": format!("{letter}{one}")})).collect()
        };
        let object = |env: Value| json!({"spec": {"containers": [{"name": "a", "env": env}]}});
        let found = changed(Some(&object(env("a"))), &object(env("b")), SchemaNode::top(None));
        let container = &found.below["f:spec"].below["f:containers"].below["k:{\"name\":\"a\"}"];
        assert_eq!(container.below["f:env"].below.len(), MANY);
    }

    #[test]
    fn lists_of_custom_resources_are_merged_as_their_schema_says() {
        let schema = json!({"properties": {"spec": {"properties": {
            "hosts": {"type": "array"},
            "rules": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]}}}}});
        let object = json!({"spec": {"hosts": ["a"], "rules": [{"id": 1, "to": "x"}]}});
        let written = of(&object, SchemaNode::top(Some(&schema))).write();
        let rules = json!({"k:{\"id\":1}": {".": {}, "f:id": {}, "f:to": {}}});
        assert_eq!(written, json!({"f:spec": {"f:hosts": {}, "f:rules": rules}}));
    }
}

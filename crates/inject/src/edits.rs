//! A JSON patch under construction.

use std::collections::BTreeSet;

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, jsonptr::PointerBuf,
};
use serde_json::{Value, json};

/// Collects operations on `target`, making the lists and maps that they need.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    target: &'a Value,
    made: BTreeSet<String>,
    operations: Vec<PatchOperation>,
}

impl<'a> Edits<'a> {
    /// No operations yet.
    pub(crate) fn new(target: &'a Value) -> Self {
        Self { target, made: BTreeSet::new(), operations: Vec::new() }
    }

    /// Puts `values` in front of the list at `path`.
    pub(crate) fn prepend(&mut self, path: &[&str], values: impl IntoIterator<Item = Value>) {
        self.make(path, json!([]));
        for (index, value) in values.into_iter().enumerate() {
            let index = index.to_string();
            self.add(&[path, &[&index]].concat(), value);
        }
    }

    /// Puts `values` at the end of the list at `path`.
    pub(crate) fn append(&mut self, path: &[&str], values: impl IntoIterator<Item = Value>) {
        self.make(path, json!([]));
        for value in values {
            self.add(&[path, &["-"]].concat(), value);
        }
    }

    /// Sets the entry `key` of the map at `path`, unless it is there.
    pub(crate) fn fill(&mut self, path: &[&str], key: &str, value: impl Into<Value>) {
        if self.find(path).and_then(|map| map.get(key)).is_none_or(Value::is_null) {
            self.set(path, key, value);
        }
    }

    /// Sets the entry `key` of the map at `path`.
    pub(crate) fn set(&mut self, path: &[&str], key: &str, value: impl Into<Value>) {
        self.make(path, json!({}));
        self.add(&[path, &[key]].concat(), value.into());
    }

    /// Replaces what is at `path`.
    pub(crate) fn replace(&mut self, path: &[&str], value: Value) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.operations.push(PatchOperation::Replace(ReplaceOperation { path, value }));
    }

    /// Removes what is at `path`.
    pub(crate) fn remove(&mut self, path: &[&str]) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.operations.push(PatchOperation::Remove(RemoveOperation { path }));
    }

    /// The patch.
    pub(crate) fn finish(self) -> Patch {
        Patch(self.operations)
    }

    fn add(&mut self, path: &[&str], value: Value) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
    }

    /// Sees to it that there is something at `path`, `empty` if nothing is.
    fn make(&mut self, path: &[&str], empty: Value) {
        for depth in 1..=path.len() {
            let prefix = &path[..depth];
            let there = self.find(prefix).is_some_and(|value| !value.is_null());
            if !there && self.made.insert(prefix.join("/")) {
                let value = if depth == path.len() { empty.clone() } else { json!({}) };
                self.add(prefix, value);
            }
        }
    }

    fn find(&self, path: &[&str]) -> Option<&'a Value> {
        path.iter().try_fold(self.target, |value, key| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => value.get(key),
        })
    }
}

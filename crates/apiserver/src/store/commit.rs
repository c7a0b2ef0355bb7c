//! The only places where the objects, the version and the history change.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use weft_controllers::object;

use super::{HISTORY, HISTORY_BYTES, Mode, State, key, watch::Change, watch::Record};
use crate::{resource::Resource, status::Status};

impl State {
    pub(super) fn find(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        let objects = self.objects.get(&key(resource))?;
        objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Whether a new object may come into a namespace now.
    pub(super) fn admit_into(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<(), Status> {
        if !resource.namespaced {
            return Ok(());
        }
        let namespaces = self.objects.get(&(String::new(), "namespaces".to_owned()));
        let found = namespaces.and_then(|all| all.get(&(String::new(), namespace.to_owned())));
        match found {
            None => Err(Status::not_found("", "namespaces", namespace)),
            Some(found) if object::is_terminating(found) => {
                let message = format!(
                    "{} \"{name}\" is forbidden: unable to create new content in namespace \
                     {namespace} because it is being terminated",
                    resource.qualified()
                );
                Err(Status::forbidden(message).about(&resource.group, &resource.plural, name))
            }
            Some(_) => Ok(()),
        }
    }

    /// Stores an object under the next version.
    pub(super) fn put(
        &mut self,
        resource: &Resource,
        mut object: Value,
        previous: Option<Arc<Value>>,
        mode: Mode,
    ) -> Arc<Value> {
        if mode == Mode::DryRun {
            return Arc::new(object);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        self.addresses.note(resource, previous.as_deref(), Some(&object));
        if resource.plural == "customresourcedefinitions" {
            Arc::make_mut(&mut self.registry).define(&object);
        }
        let name = (object::namespace(&object).to_owned(), object::name(&object).to_owned());
        self.objects.entry(key(resource)).or_default().insert(name, Arc::clone(&object));
        let change = match previous {
            None => Change::Added,
            Some(_) => Change::Modified,
        };
        self.record(resource, change, Arc::clone(&object), previous);
        object
    }

    /// Ends an object; a definition takes the objects of its kind with it.
    pub(super) fn remove(&mut self, resource: &Resource, last: Value, mode: Mode) -> Arc<Value> {
        if mode == Mode::DryRun {
            return Arc::new(last);
        }
        let removed = self.take(resource, last);
        if resource.plural == "customresourcedefinitions" {
            let name = object::name(&removed).to_owned();
            self.remove_all_of(&removed["spec"]);
            Arc::make_mut(&mut self.registry).undefine(&name);
        }
        removed
    }

    fn take(&mut self, resource: &Resource, mut last: Value) -> Arc<Value> {
        self.version += 1;
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        let last = Arc::new(last);
        let name = (object::namespace(&last).to_owned(), object::name(&last).to_owned());
        let previous = self.objects.get_mut(&key(resource)).and_then(|all| all.remove(&name));
        self.addresses.note(resource, previous.as_deref(), None);
        self.record(resource, Change::Deleted, Arc::clone(&last), previous);
        last
    }

    fn remove_all_of(&mut self, definition: &Value) {
        let group = definition["group"].as_str().unwrap_or_default();
        let plural = definition["names"]["plural"].as_str().unwrap_or_default();
        let Some(resource) = self.registry.find(group, plural) else { return };
        let orphans: BTreeMap<_, _> = self.objects.remove(&key(&resource)).unwrap_or_default();
        for object in orphans.into_values() {
            self.take(&resource, Arc::unwrap_or_clone(object));
        }
    }

    fn record(
        &mut self,
        resource: &Resource,
        change: Change,
        object: Arc<Value>,
        previous: Option<Arc<Value>>,
    ) {
        // The object itself lives in the store, until a later record replaces it.
        let ended = (change == Change::Deleted).then_some(&object);
        let size = previous.iter().chain(ended).map(|kept| footprint(kept)).sum();
        self.history_bytes += size;
        let key = key(resource);
        let version = self.version;
        self.history.push_back(Record { key, change, object, previous, version, size });
        while self.history.len() > HISTORY || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes -= oldest.size;
        }
    }
}

/// About how much memory a value takes.
fn footprint(value: &Value) -> usize {
    // A node of a map or list has spare places; half as many again on average.
    const NODE: usize = size_of::<Value>() * 3 / 2;
    let below = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() + 16,
        Value::Array(items) => items.iter().map(footprint).sum(),
        Value::Object(fields) => {
            let entry = |(name, value): (&String, &Value)| name.len() + 40 + footprint(value);
            fields.iter().map(entry).sum()
        }
    };
    NODE + below
}

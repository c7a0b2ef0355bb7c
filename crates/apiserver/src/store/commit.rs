//! The only places where the objects, the version and the history change.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use weft_controllers::object;

use super::{HISTORY, HISTORY_BYTES, Mode, State, key, watch::Change, watch::Record};
use crate::{
    registry::Registry,
    resource::{Builtin, Resource},
    size::Extent,
    status::Status,
};

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
        let version = self.version + 1;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let object = Arc::new(object);
        let change = match previous {
            None => Change::Added,
            Some(_) => Change::Modified,
        };
        let record =
            Record::new(resource, change, (Arc::clone(&object), previous.clone()), version);
        let registry = resource.is(Builtin::Definition).then(|| {
            let mut registry = Registry::clone(&self.registry);
            registry.define(&object);
            Arc::new(registry)
        });
        let name = (object::namespace(&object).to_owned(), object::name(&object).to_owned());
        // From here on, nothing reads what a client has sent.
        self.version = version;
        self.objects.entry(key(resource)).or_default().insert(name, Arc::clone(&object));
        if let Some(registry) = registry {
            self.registry = registry;
        }
        self.addresses.note(resource, previous.as_deref(), Some(&object));
        self.record(record);
        object
    }

    /// Ends an object; a definition takes the objects of its kind with it.
    pub(super) fn remove(&mut self, resource: &Resource, last: Value, mode: Mode) -> Arc<Value> {
        if mode == Mode::DryRun {
            return Arc::new(last);
        }
        let removed = self.take(resource, last);
        if resource.is(Builtin::Definition) {
            let name = object::name(&removed).to_owned();
            self.remove_all_of(&name);
            Arc::make_mut(&mut self.registry).undefine(&name);
        }
        removed
    }

    fn take(&mut self, resource: &Resource, mut last: Value) -> Arc<Value> {
        let version = self.version + 1;
        last["metadata"]["resourceVersion"] = version.to_string().into();
        let last = Arc::new(last);
        let name = (object::namespace(&last).to_owned(), object::name(&last).to_owned());
        let objects = self.objects.get(&key(resource));
        let previous = objects.and_then(|all| all.get(&name)).cloned();
        let pair = (Arc::clone(&last), previous.clone());
        let record = Record::new(resource, Change::Deleted, pair, version);
        self.version = version;
        self.objects.get_mut(&key(resource)).and_then(|all| all.remove(&name));
        self.addresses.note(resource, previous.as_deref(), None);
        self.record(record);
        last
    }

    fn remove_all_of(&mut self, definition: &str) {
        let Some(resource) = self.registry.brought_by(definition) else { return };
        let orphans: BTreeMap<_, _> = self.objects.remove(&key(&resource)).unwrap_or_default();
        for object in orphans.into_values() {
            self.take(&resource, Arc::unwrap_or_clone(object));
        }
    }

    fn record(&mut self, record: Record) {
        self.history_bytes += record.size;
        self.history.push_back(record);
        while self.history.len() > HISTORY || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes -= oldest.size;
        }
    }
}

impl Record {
    fn new(
        resource: &Resource,
        change: Change,
        (object, previous): (Arc<Value>, Option<Arc<Value>>),
        version: u64,
    ) -> Self {
        // The object itself lives in the store, until a later record replaces it.
        let ended = (change == Change::Deleted).then_some(&object);
        let size = previous.iter().chain(ended).map(|kept| Extent::of(kept).memory).sum();
        Self { key: key(resource), change, object, previous, version, size }
    }
}

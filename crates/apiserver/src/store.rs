//! Every object, in memory, under one ever-growing version.
//!
//! Writers are serialised by one lock and never wait for readers or watchers;
//! a watcher that is too slow gets an error and lists again. The store enforces
//! the rules that hold for every writer (identity, generations, optimistic
//! concurrency, finalizers, addresses). Admission and permissions are decided
//! before a write comes here.

mod addresses;
mod commit;
mod metadata;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use weft_controllers::{job, object};

use crate::{
    defaults, form,
    registry::Registry,
    resource::{Builtin, Resource},
    status::Status,
};
use addresses::Addresses;
pub use metadata::{name, suffix, timestamp, uid};
pub use watch::{Change, Event, Watch};

/// Changes that are kept for watchers; one that falls further behind lists again.
const HISTORY: usize = 4096;

/// The memory that these changes may keep alive: objects that have been replaced.
const HISTORY_BYTES: usize = 32 << 20;

/// The objects of a mesh; clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: tokio::sync::watch::Sender<u64>,
}

/// Group and plural under which a resource's objects are kept.
type Key = (String, String);

struct State {
    version: u64,
    registry: Arc<Registry>,
    objects: BTreeMap<Key, BTreeMap<(String, String), Arc<Value>>>,
    history: VecDeque<watch::Record>,
    /// What the history keeps alive.
    history_bytes: usize,
    addresses: Addresses,
}

/// Objects and the version of the store when they were read.
#[derive(Debug, Clone)]
pub struct List {
    /// The objects, by namespace and name.
    pub items: Vec<Arc<Value>>,
    /// The version to watch from.
    pub version: u64,
}

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Commit,
    /// Only its result is wanted.
    DryRun,
}

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// How an object is to be deleted.
#[derive(Debug, Clone, Default)]
pub struct Deletion {
    /// How long it may take to end; the object's own wish when absent.
    pub grace: Option<Duration>,
    /// What becomes of what it owns; in the background when absent.
    pub propagation: Option<Propagation>,
    /// Delete only this very object.
    pub uid: Option<String>,
    /// Delete only this version of it.
    pub version: Option<String>,
}

impl Deletion {
    /// At once, without grace.
    pub fn now() -> Self {
        Self { grace: Some(Duration::ZERO), ..Self::default() }
    }
}

/// What a deletion came to.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Value>),
    /// It ends when its node and its finalizers have finished.
    Terminating(Arc<Value>),
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store that serves the built-in resources.
    pub fn new() -> Self {
        let state = State {
            version: 1,
            registry: Arc::new(Registry::built_in()),
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            addresses: Addresses::default(),
        };
        let (changed, _) = tokio::sync::watch::channel(1);
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed }) }
    }

    /// The resources that are served now.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.state().registry)
    }

    /// The preferred version of a resource, such as `("apps", "deployments")`.
    pub fn resource(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        self.state().registry.find(group, plural)
    }

    /// The version that the next write will exceed.
    pub fn version(&self) -> u64 {
        self.state().version
    }

    /// One object; `namespace` is empty for cluster-scoped resources.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let found = self.state().find(resource, namespace, name)?;
        Some(present(resource, found))
    }

    /// The objects of one namespace, or of all.
    pub fn list(&self, resource: &Resource, namespace: Option<&str>) -> List {
        let state = self.state();
        let all = state.objects.get(&key(resource));
        let items = all
            .into_iter()
            .flatten()
            .filter(|((within, _), _)| namespace.is_none_or(|wanted| wanted == within))
            .map(|(_, object)| present(resource, Arc::clone(object)))
            .collect();
        List { items, version: state.version }
    }

    /// The objects of one namespace whose names begin with `prefix` and a dash.
    pub(crate) fn begun(
        &self,
        resource: &Resource,
        namespace: &str,
        prefix: &str,
    ) -> Vec<Arc<Value>> {
        let state = self.state();
        let bound = |end: char| (namespace.to_owned(), format!("{prefix}{end}"));
        // A dot is the character behind the dash.
        let Some(all) = state.objects.get(&key(resource)) else { return Vec::new() };
        let range = all.range(bound('-')..bound('.'));
        range.map(|(_, object)| present(resource, Arc::clone(object))).collect()
    }

    /// What happens to a resource's objects after version `since`.
    pub fn watch(&self, resource: &Resource, since: u64) -> Watch {
        Watch::new(self.clone(), Some(resource.clone()), since)
    }

    /// What happens to any object after version `since`.
    pub fn watch_all(&self, since: u64) -> Watch {
        Watch::new(self.clone(), None, since)
    }

    /// Stores a new object, brought into the form of its kind.
    ///
    /// Its namespace must exist and not be ending.
    pub fn create(&self, resource: &Resource, mut object: Value) -> Result<Arc<Value>, Status> {
        form::decode(resource, &mut object)?;
        defaults::apply(resource, &mut object);
        self.insert(resource, object, Mode::Commit)
    }

    /// Stores a new object that has the form of its kind, perhaps as a trial.
    pub(crate) fn insert(
        &self,
        resource: &Resource,
        mut object: Value,
        mode: Mode,
    ) -> Result<Arc<Value>, Status> {
        let mut state = self.state();
        metadata::identify(resource, &mut object)?;
        let (namespace, name) =
            (object::namespace(&object).to_owned(), object::name(&object).to_owned());
        state.admit_into(resource, &namespace, &name)?;
        if state.find(resource, &namespace, &name).is_some() {
            return Err(Status::already_exists(&resource.group, &resource.plural, &name));
        }
        match resource.builtin() {
            Some(Builtin::Service) => state.addresses.assign(&mut object)?,
            // Its uid, which is its pods' label, is known only now.
            Some(Builtin::Job) => job::select(&mut object),
            _ => {}
        }
        object["apiVersion"] = resource.storage_version().into();
        let stored = state.put(resource, object, None, mode);
        self.announce(state);
        Ok(present(resource, stored))
    }

    /// Replaces an object except its status, if it has that subresource.
    ///
    /// With a `resourceVersion` in the object, only that version is replaced.
    pub fn update(&self, resource: &Resource, mut object: Value) -> Result<Arc<Value>, Status> {
        form::decode(resource, &mut object)?;
        defaults::apply(resource, &mut object);
        self.replace(resource, object, Part::Main, Mode::Commit)
    }

    /// Replaces nothing but an object's status.
    pub fn update_status(
        &self,
        resource: &Resource,
        mut object: Value,
    ) -> Result<Arc<Value>, Status> {
        form::decode(resource, &mut object)?;
        self.replace(resource, object, Part::Status, Mode::Commit)
    }

    /// Replaces one part of an object that has the form of its kind, perhaps as a trial.
    pub(crate) fn replace(
        &self,
        resource: &Resource,
        mut object: Value,
        part: Part,
        mode: Mode,
    ) -> Result<Arc<Value>, Status> {
        let mut state = self.state();
        let (namespace, name) =
            (object::namespace(&object).to_owned(), object::name(&object).to_owned());
        let old = state
            .find(resource, &namespace, &name)
            .ok_or_else(|| Status::not_found(&resource.group, &resource.plural, &name))?;
        metadata::expect_version(resource, &old, &object)?;
        object["apiVersion"] = resource.storage_version().into();
        let mut new = metadata::merge(resource, &old, object, part)?;
        if resource.is(Builtin::Service) && part == Part::Main {
            state.addresses.keep(&old, &mut new)?;
        }
        if metadata::same(&old, &new) {
            return Ok(present(resource, old));
        }
        let stored = match metadata::is_finished(resource, &new) {
            true => state.remove(resource, new, mode),
            false => state.put(resource, new, Some(old), mode),
        };
        self.announce(state);
        Ok(present(resource, stored))
    }

    /// Begins an object's end, or ends it where nothing has to happen first.
    pub fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        deletion: &Deletion,
    ) -> Result<Deleted, Status> {
        self.delete_as(resource, (namespace, name), deletion, Mode::Commit)
    }

    /// [`Store::delete`], perhaps as a trial; the object is namespace and name.
    pub fn delete_as(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        deletion: &Deletion,
        mode: Mode,
    ) -> Result<Deleted, Status> {
        let mut state = self.state();
        let old = state
            .find(resource, namespace, name)
            .ok_or_else(|| Status::not_found(&resource.group, &resource.plural, name))?;
        metadata::expect_identity(resource, &old, deletion)?;
        let marked = metadata::terminate(resource, &old, deletion);
        let deleted = if metadata::is_finished(resource, &marked) {
            Deleted::Gone(present(resource, state.remove(resource, marked, mode)))
        } else if metadata::same(&old, &marked) {
            Deleted::Terminating(present(resource, old))
        } else {
            Deleted::Terminating(present(resource, state.put(resource, marked, Some(old), mode)))
        };
        self.announce(state);
        Ok(deleted)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held cannot leave a half-made write: what can panic is
        // done before the first change (`commit`).
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, state: MutexGuard<'_, State>) {
        let version = state.version;
        drop(state);
        self.shared.changed.send_if_modified(|last| {
            let news = *last < version;
            *last = version.max(*last);
            news
        });
    }
}

/// The part of an object that a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// Only the status.
    Status,
    /// Only a namespace's `spec.finalizers`.
    Finalizers,
}

/// The group and plural under which objects of a resource are kept.
fn key(resource: &Resource) -> Key {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("extensions", "deployments") => ("apps".to_owned(), "deployments".to_owned()),
        (group, plural) => (group.to_owned(), plural.to_owned()),
    }
}

/// An object as one version of its resource shows it.
fn present(resource: &Resource, object: Arc<Value>) -> Arc<Value> {
    let wanted = resource.api_version();
    if object["apiVersion"] == wanted.as_str() {
        return object;
    }
    let mut shown = Arc::unwrap_or_clone(object);
    shown["apiVersion"] = wanted.into();
    Arc::new(shown)
}

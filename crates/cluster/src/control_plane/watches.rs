//! Objects as they change, in the order in which the translator may see them.

mod left_out;

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream::select_all};
use kube::{
    Api, Resource, ResourceExt,
    api::ApiResource,
    runtime::watcher::{self, Event},
};
use tokio::sync::mpsc;
use weft_api::{Key, Kind};
use weft_control::Change;

use self::left_out::LeftOut;
use super::{events::events, injection_inputs::InjectionInputs};
use crate::{client::Cluster, stored::StoredObject};

/// Sends everything that happens to `changes`, until its receiver is gone, and what
/// injection depends on to `inputs`. `namespace` is the mesh's own.
pub(super) async fn run(
    cluster: Cluster,
    namespace: String,
    changes: mpsc::Sender<Change>,
    inputs: Arc<InjectionInputs>,
) {
    let streams = Kind::deciding().map(|kind| {
        let events = events(api(&cluster, kind, &namespace), watcher::Config::default());
        events.map(move |event| (kind, event)).boxed()
    });
    let mut all = select_all(streams);
    let mut known_objects = KnownObjects::default();
    while let Some((kind, event)) = all.next().await {
        let listed = matches!(event, Ok(Event::InitDone));
        let found = match event {
            Ok(event) => known_objects.take(kind, event),
            Err(error) => {
                tracing::warn!("watching {}: {error}", kind.plural());
                if !is_undefined(&error) {
                    continue;
                }
                known_objects.undefined(kind)
            }
        };
        for change in found {
            match &change {
                Change::Apply(object, _) => inputs.applied(object),
                Change::Delete(key, _) => inputs.deleted(key),
                Change::Synced => {}
            }
            if changes.send(change).await.is_err() {
                return;
            }
        }
        if listed {
            inputs.listed(kind);
        }
    }
}

/// All objects of a kind; of ConfigMaps only the mesh's own.
fn api(cluster: &Cluster, kind: Kind, namespace: &str) -> Api<StoredObject> {
    let resource = ApiResource {
        group: kind.group().to_owned(),
        version: kind.versions()[0].to_owned(),
        api_version: kind.api_version(),
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    };
    match kind {
        Kind::ConfigMap => Api::namespaced_with(cluster.kube().clone(), namespace, &resource),
        _ => Api::all_with(cluster.kube().clone(), &resource),
    }
}

/// Whether the API server does not know the kind at all. One that may not be
/// read is not meant: the world would look complete without it.
fn is_undefined(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        _ => return false,
    };
    status.code == 404
}

/// The objects reported so far, so that a deletion during an interruption of the
/// watch is reported, too.
#[derive(Default)]
struct KnownObjects {
    known: BTreeSet<Key>,
    /// Keys of the list that is being read, by kind.
    listed: BTreeSet<Key>,
    complete: BTreeSet<Kind>,
    left_out: LeftOut,
}

impl KnownObjects {
    fn take(&mut self, kind: Kind, event: Event<StoredObject>) -> Vec<Change> {
        match event {
            Event::Init => {
                self.listed.retain(|key| key.kind != kind);
                self.left_out.list(kind);
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.insert(key(kind, &object));
                self.apply(kind, object)
            }
            Event::Apply(object) => self.apply(kind, object),
            Event::Delete(object) => {
                let key = key(kind, &object);
                self.known.remove(&key);
                vec![Change::Delete(key, version(&object))]
            }
            Event::InitDone => {
                if let Some(said) = self.left_out.listed(kind) {
                    tracing::error!("{said}");
                }
                self.done(kind)
            }
        }
    }

    fn apply(&mut self, kind: Kind, object: StoredObject) -> Vec<Change> {
        let (key, version) = (key(kind, &object), version(&object));
        if key.name.is_empty() {
            self.leave_out(&key, "has no name");
            return Vec::new();
        }
        // A server leaves the type out of the items of a list of a built-in kind.
        let value = object.value.map(|mut value| {
            value["apiVersion"] = kind.api_version().into();
            value["kind"] = kind.name().into();
            value
        });
        let why = match &value {
            None => "goes too deep",
            Some(_) => "cannot be read",
        };
        // The object is stored, so its owner has been told what is wrong with it.
        match value.and_then(weft_api::read) {
            Some(object) => {
                self.known.insert(key);
                vec![Change::Apply(Box::new(object), version)]
            }
            None => {
                self.known.remove(&key);
                self.leave_out(&key, why);
                vec![Change::Delete(key, version)]
            }
        }
    }

    fn leave_out(&mut self, key: &Key, why: &str) {
        if let Some(said) = self.left_out.add(key, why) {
            tracing::error!("{said}");
        }
    }

    /// The kind is not defined, for now: it has no objects, and the start does not wait for it.
    fn undefined(&mut self, kind: Kind) -> Vec<Change> {
        self.listed.retain(|key| key.kind != kind);
        self.done(kind)
    }

    fn done(&mut self, kind: Kind) -> Vec<Change> {
        let gone: Vec<Key> = self
            .known
            .iter()
            .filter(|key| key.kind == kind && !self.listed.contains(*key))
            .cloned()
            .collect();
        let mut changes = Vec::new();
        self.listed.retain(|key| key.kind != kind);
        for key in gone {
            self.known.remove(&key);
            changes.push(Change::Delete(key, String::new()));
        }
        if self.complete.insert(kind) && self.complete.len() == Kind::deciding().count() {
            changes.push(Change::Synced);
        }
        changes
    }
}

fn key(kind: Kind, object: &StoredObject) -> Key {
    let metadata = object.meta();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Key::new(kind, text(&metadata.namespace), text(&metadata.name))
}

fn version(object: &StoredObject) -> String {
    object.resource_version().unwrap_or_default()
}

#[cfg(test)]
mod tests;

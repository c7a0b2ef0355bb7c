//! Objects as they change, in the order in which the translator may see them.

use std::collections::BTreeSet;

use futures::{StreamExt, stream::select_all};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tokio::sync::mpsc;
use weft_api::{Key, Kind};
use weft_control::Change;

use crate::client::Cluster;

/// The kinds that decide something about traffic.
const KINDS: [Kind; 8] = [
    Kind::Namespace,
    Kind::Pod,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::ConfigMap,
    Kind::Gateway,
    Kind::VirtualService,
    Kind::DestinationRule,
];

/// Tells `changes` everything that happens, until nobody listens.
pub(super) async fn run(cluster: Cluster, namespace: String, changes: mpsc::Sender<Change>) {
    let streams = KINDS.into_iter().map(|kind| {
        let api = api(&cluster, kind, &namespace);
        let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
        events.map(move |event| (kind, event)).boxed()
    });
    let mut all = select_all(streams);
    let mut seen = Seen::default();
    while let Some((kind, event)) = all.next().await {
        let told = match event {
            Ok(event) => seen.take(kind, event),
            Err(error) => {
                tracing::warn!("watching {}: {error}", kind.plural());
                if !is_undefined(&error) {
                    continue;
                }
                seen.undefined(kind)
            }
        };
        for change in told {
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

/// All objects of a kind; of ConfigMaps only the mesh's own.
fn api(cluster: &Cluster, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let version = kind.versions()[0];
    let api_version = match kind.group() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    let resource = ApiResource {
        group: kind.group().to_owned(),
        version: version.to_owned(),
        api_version,
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

/// What has been told, so that what vanishes during an interruption is told, too.
#[derive(Default)]
struct Seen {
    known: BTreeSet<Key>,
    /// Keys of the list that is being read, by kind.
    listed: BTreeSet<Key>,
    complete: BTreeSet<Kind>,
}

impl Seen {
    fn take(&mut self, kind: Kind, event: Event<DynamicObject>) -> Vec<Change> {
        match event {
            Event::Init => {
                self.listed.retain(|key| key.kind != kind);
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
            Event::InitDone => self.done(kind),
        }
    }

    fn apply(&mut self, kind: Kind, object: DynamicObject) -> Vec<Change> {
        let (key, version) = (key(kind, &object), version(&object));
        let value = match serde_json::to_value(&object) {
            Ok(value) => value,
            Err(error) => {
                tracing::error!("{key} cannot be read: {error}");
                return Vec::new();
            }
        };
        match weft_api::check(&value).object {
            Some(object) => {
                self.known.insert(key);
                vec![Change::Apply(Box::new(object), version)]
            }
            // What cannot be read at all counts for nothing, as if it were gone.
            None => {
                self.known.remove(&key);
                tracing::warn!("{key} cannot be read and is left out");
                vec![Change::Delete(key, version)]
            }
        }
    }

    /// There is no such kind, for now: it has no objects, and nobody waits for it.
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
        for key in gone {
            self.known.remove(&key);
            changes.push(Change::Delete(key, String::new()));
        }
        if self.complete.insert(kind) && self.complete.len() == KINDS.len() {
            changes.push(Change::Synced);
        }
        changes
    }
}

fn key(kind: Kind, object: &DynamicObject) -> Key {
    let metadata = &object.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Key::new(kind, text(&metadata.namespace), text(&metadata.name))
}

fn version(object: &DynamicObject) -> String {
    object.metadata.resource_version.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": "7"},
            "spec": {"clusterIP": "10.96.0.7"},
        }))
        .unwrap()
    }

    /// `+KEY` for something applied, `-KEY` for something gone, `synced`.
    fn told(seen: &mut Seen, event: Event<DynamicObject>) -> String {
        let word = |change: Change| match change {
            Change::Apply(object, _) => format!("+{}", object.key()),
            Change::Delete(key, _) => format!("-{key}"),
            Change::Synced => "synced".to_owned(),
        };
        seen.take(Kind::Service, event).into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_vanished_while_nobody_looked_is_told_as_gone() {
        let mut seen = Seen::default();
        assert_eq!(told(&mut seen, Event::Init), "");
        assert_eq!(told(&mut seen, Event::InitApply(service("a"))), "+Service/shop/a");
        assert_eq!(told(&mut seen, Event::InitDone), "");
        assert_eq!(told(&mut seen, Event::Apply(service("b"))), "+Service/shop/b");
        told(&mut seen, Event::Init);
        told(&mut seen, Event::InitApply(service("b")));
        assert_eq!(told(&mut seen, Event::InitDone), "-Service/shop/a");
        assert_eq!(told(&mut seen, Event::Delete(service("b"))), "-Service/shop/b");
    }

    #[test]
    fn a_kind_that_is_not_defined_holds_nobody_up_and_may_come_later() {
        let mut seen = Seen::default();
        for kind in KINDS.into_iter().filter(|kind| *kind != Kind::Service) {
            seen.take(kind, Event::Init);
            assert!(seen.take(kind, Event::InitDone).is_empty());
        }
        assert_eq!(seen.undefined(Kind::Service), [Change::Synced]);
        assert!(seen.undefined(Kind::Service).is_empty(), "once is enough");
        told(&mut seen, Event::Init);
        assert_eq!(told(&mut seen, Event::InitApply(service("a"))), "+Service/shop/a");
        assert_eq!(told(&mut seen, Event::InitDone), "");
        let gone = seen.undefined(Kind::Service);
        assert!(matches!(gone.as_slice(), [Change::Delete(..)]), "with its kind it goes");
    }

    #[test]
    fn only_an_unknown_kind_is_undefined() {
        let refused = |code: u16| {
            let mut status = kube::core::Status::failure("no", "Any");
            status.code = code;
            watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
        };
        assert!(is_undefined(&refused(404)));
        assert!(!is_undefined(&refused(403)));
        assert!(!is_undefined(&refused(503)));
        assert!(!is_undefined(&watcher::Error::NoResourceVersion));
    }

    #[test]
    fn the_start_is_complete_when_every_kind_is() {
        let mut seen = Seen::default();
        let mut last = String::new();
        for kind in KINDS {
            assert_eq!(last, "");
            seen.take(kind, Event::Init);
            let changes = seen.take(kind, Event::InitDone);
            last = if changes == [Change::Synced] { "synced".to_owned() } else { String::new() };
        }
        assert_eq!(last, "synced");
        assert!(seen.take(Kind::Pod, Event::InitDone).is_empty(), "once is enough");
    }
}

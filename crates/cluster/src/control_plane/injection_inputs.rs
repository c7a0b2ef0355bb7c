//! What decides about injection, as the watches see it: the labels of namespaces and
//! the mesh's settings.
//!
//! Read by the webhook for each pod, so that no review costs a request to the API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;
use weft_api::{Key, Kind, Object};
use weft_inject::{INJECTOR, MESH, Namespace, Settings, Texts};

/// Namespaces and settings; the watches write them, the webhook reads them.
#[derive(Debug)]
pub(super) struct InjectionInputs {
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    namespaces: BTreeMap<String, Arc<Namespace>>,
    config_maps: BTreeMap<String, BTreeMap<String, String>>,
    settings: Arc<Settings>,
    listed: BTreeSet<Kind>,
}

impl State {
    fn is_complete(&self) -> bool {
        [Kind::Namespace, Kind::ConfigMap].iter().all(|kind| self.listed.contains(kind))
    }

    /// Reads the settings anew. What is wrong with them is logged once for each change.
    fn read_settings(&mut self) {
        let text = |name: &str, key: &str| Some(self.config_maps.get(name)?.get(key)?.as_str());
        let (settings, warnings) = Settings::read(Texts::find(text));
        for warning in warnings {
            tracing::warn!("{}: {}", warning.field, warning.message);
        }
        self.settings = Arc::new(settings);
    }
}

impl InjectionInputs {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// An object is there, or is different. ConfigMaps are those of the root namespace.
    pub(super) fn applied(&self, object: &Object) {
        match object {
            Object::Namespace(namespace) => self.state.send_modify(|state| {
                let name = namespace.metadata.name.clone();
                let labels = namespace.metadata.labels.clone();
                let known = Namespace { name: name.clone(), labels };
                state.namespaces.insert(name, Arc::new(known));
            }),
            Object::ConfigMap(map) => self.change_settings(&map.metadata.name, Some(&map.data)),
            _ => {}
        }
    }

    /// An object is gone.
    pub(super) fn deleted(&self, key: &Key) {
        match key.kind {
            Kind::Namespace => self.state.send_modify(|state| {
                state.namespaces.remove(&key.name);
            }),
            Kind::ConfigMap => self.change_settings(&key.name, None),
            _ => {}
        }
    }

    /// Every object of a kind has been seen.
    pub(super) fn listed(&self, kind: Kind) {
        if matches!(kind, Kind::Namespace | Kind::ConfigMap) {
            self.state.send_if_modified(|state| state.listed.insert(kind));
        }
    }

    /// Waits until all that exists has been seen.
    pub(super) async fn complete(&self) {
        // The sender is this object's own, so the wait cannot fail.
        let _ = self.state.subscribe().wait_for(State::is_complete).await;
    }

    /// The namespace called `name`, if it has been seen.
    pub(super) fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.state.borrow().namespaces.get(name).cloned()
    }

    /// The mesh's settings.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.state.borrow().settings)
    }

    fn change_settings(&self, name: &str, data: Option<&BTreeMap<String, String>>) {
        if !matches!(name, MESH | INJECTOR) {
            return;
        }
        self.state.send_if_modified(|state| {
            if state.config_maps.get(name) == data {
                return false;
            }
            match data {
                Some(data) => state.config_maps.insert(name.to_owned(), data.clone()),
                None => state.config_maps.remove(name),
            };
            state.read_settings();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, rest: serde_json::Value) -> Object {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        if let (Some(object), Some(rest)) = (object.as_object_mut(), rest.as_object()) {
            object.extend(rest.clone());
        }
        weft_api::read(object).unwrap()
    }

    #[tokio::test]
    async fn settings_and_labels_follow_the_watches() {
        let inputs = InjectionInputs::new();
        let default = inputs.settings();
        let mesh = json!({"data": {"mesh": "defaultConfig: {concurrency: 7}\n"}});
        inputs.applied(&object("ConfigMap", "istio", mesh));
        assert_ne!(inputs.settings(), default);
        inputs.applied(&object("ConfigMap", "other", json!({"data": {"mesh": "x"}})));
        inputs.deleted(&Key::new(Kind::ConfigMap, "istio-system", "istio"));
        assert_eq!(inputs.settings(), default);

        inputs.applied(&object("Namespace", "shop", json!({})));
        assert!(inputs.namespace("shop").is_some_and(|shop| shop.labels.is_empty()));
        inputs.deleted(&Key::new(Kind::Namespace, "", "shop"));
        assert!(inputs.namespace("shop").is_none());
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_both_kinds_are_listed() {
        let inputs = InjectionInputs::new();
        let mut waiting = std::pin::pin!(inputs.complete());
        assert!(futures::poll!(&mut waiting).is_pending());
        inputs.listed(Kind::Pod);
        inputs.listed(Kind::Namespace);
        assert!(futures::poll!(&mut waiting).is_pending());
        inputs.listed(Kind::ConfigMap);
        waiting.await;
    }
}

//! Distributes the mesh's root certificate: to the pods of every namespace, and to
//! the API server, which calls the webhooks.
//!
//! Copies that others change or delete are restored.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, Patch, PatchParams},
    runtime::watcher::{self, Event},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{events::events, upkeep::keep_up};
use crate::{
    client::{Cluster, MANAGER},
    install::{INJECTOR, VALIDATOR},
    stored::StoredObject,
};

/// The ConfigMap in which pods find the root, as Istio names it.
const CONFIG_MAP: &str = "istio-ca-root-cert";
/// The key of the ConfigMap that has it.
const KEY: &str = "root-cert.pem";

/// Keeps the root in every namespace.
pub(super) async fn distribute(cluster: Cluster, ca_pem: Arc<str>) {
    let namespaces = watched::<Namespace>(&cluster, None);
    let copies = watched::<ConfigMap>(&cluster, Some(CONFIG_MAP));
    let events =
        stream::select(namespaces.map(WatchEvent::Namespace), copies.map(WatchEvent::Copy));
    let mut copies = Copies::default();
    let lacking = events.flat_map(|event| stream::iter(copies.lacking(event, &ca_pem)));
    keep_up("putting the root into namespace", lacking, |namespace| {
        give(&cluster, namespace, &ca_pem)
    })
    .await;
}

/// An event about namespaces or about their copies of the root.
enum WatchEvent {
    Namespace(Event<Namespace>),
    Copy(Event<ConfigMap>),
}

/// Which namespaces there are, and which have their copy of the root.
#[derive(Debug, Default)]
struct Copies {
    /// The namespaces that exist.
    known: BTreeSet<String>,
    /// Those whose copy is right.
    right: BTreeSet<String>,
    /// Whether all copies have been listed once; until then nothing is known to be missing.
    listed: bool,
}

impl Copies {
    /// The namespaces whose copy is missing, or not right, after what was seen.
    fn lacking(&mut self, event: WatchEvent, ca_pem: &str) -> Vec<String> {
        let concerned = match event {
            WatchEvent::Namespace(event) => self.namespace(event),
            WatchEvent::Copy(event) => self.copy(event, ca_pem),
        };
        let lacks = |name: &String| self.known.contains(name) && !self.right.contains(name);
        concerned.into_iter().filter(|name| self.listed && lacks(name)).collect()
    }

    /// The namespaces that an event about namespaces is about.
    fn namespace(&mut self, event: Event<Namespace>) -> Vec<String> {
        match event {
            Event::Apply(namespace) | Event::InitApply(namespace) => {
                let name = namespace.name_any();
                if namespace.metadata.deletion_timestamp.is_some() {
                    self.known.remove(&name);
                    return Vec::new();
                }
                // Its labels may change as they like.
                if self.known.insert(name.clone()) { vec![name] } else { Vec::new() }
            }
            Event::Delete(namespace) => {
                self.known.remove(&namespace.name_any());
                Vec::new()
            }
            // What is listed from here on is all there is.
            Event::Init => {
                self.known.clear();
                Vec::new()
            }
            Event::InitDone => Vec::new(),
        }
    }

    /// The namespaces that an event about copies is about.
    fn copy(&mut self, event: Event<ConfigMap>, ca_pem: &str) -> Vec<String> {
        match event {
            Event::Apply(copy) | Event::InitApply(copy) => {
                let Some(name) = copy.namespace() else { return Vec::new() };
                match is_right(&copy, ca_pem) {
                    true => self.right.insert(name.clone()),
                    false => self.right.remove(&name),
                };
                vec![name]
            }
            Event::Delete(copy) => {
                let name = copy.namespace();
                name.iter().for_each(|name| {
                    self.right.remove(name);
                });
                name.into_iter().collect()
            }
            // What vanished during an interruption has no event of its own.
            Event::Init => {
                self.right.clear();
                self.listed = false;
                Vec::new()
            }
            Event::InitDone => {
                self.listed = true;
                self.known.iter().cloned().collect()
            }
        }
    }
}

fn is_right(copy: &ConfigMap, ca_pem: &str) -> bool {
    let data = copy.data.as_ref().and_then(|data| data.get(KEY));
    data.is_some_and(|pem| pem == ca_pem)
}

async fn give(cluster: &Cluster, namespace: String, ca_pem: &str) -> Result<(), kube::Error> {
    let config_map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": CONFIG_MAP,
            "namespace": namespace,
            "labels": {"istio.io/config": "true"},
        },
        "data": {KEY: ca_pem},
    });
    let api: Api<ConfigMap> = Api::namespaced(cluster.kube().clone(), &namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    match api.patch(CONFIG_MAP, &parameters, &Patch::Apply(&config_map)).await {
        // The namespace went, or is going.
        Err(kube::Error::Api(status)) if status.code == 404 || is_ending(&status) => Ok(()),
        done => done.map(|_| ()),
    }
}

fn is_ending(status: &kube::core::Status) -> bool {
    status.code == 403 && status.message.contains("being terminated")
}

/// Keeps the root certificate in the configurations of the webhooks. Changes by
/// others are undone.
pub(super) async fn inject_bundle(cluster: Cluster, ca_pem: Arc<str>, namespace: String) {
    let bundle = STANDARD.encode(ca_pem.as_bytes());
    let validator = format!("{VALIDATOR}-{namespace}");
    let injecting = keep::<MutatingWebhookConfiguration>(&cluster, INJECTOR, &bundle);
    let validating = keep::<ValidatingWebhookConfiguration>(&cluster, &validator, &bundle);
    futures::join!(injecting, validating);
}

async fn keep<K>(cluster: &Cluster, name: &str, bundle: &str)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    K: Default + Send + Sync + 'static,
{
    let api: Api<K> = Api::all(cluster.kube().clone());
    let changed = watched::<K>(cluster, Some(name)).filter_map(|event| async {
        match event {
            Event::Apply(one) | Event::InitApply(one) => Some(one.name_any()),
            Event::Delete(_) | Event::Init | Event::InitDone => None,
        }
    });
    keep_up("correcting webhook configuration", changed, |name| correct(&api, name, bundle)).await;
}

async fn correct<K>(api: &Api<K>, name: String, bundle: &str) -> Result<(), CorrectError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let Some(configuration) = api.get_opt(&name).await? else { return Ok(()) };
    let operations = corrections(&serde_json::to_value(&configuration)?, bundle);
    if operations.is_empty() {
        return Ok(());
    }
    let patch = Patch::<K>::Json(serde_json::from_value(Value::Array(operations))?);
    api.patch(&name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Why a webhook configuration was not corrected.
#[derive(Debug, thiserror::Error)]
enum CorrectError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What happens to objects of a kind, or to the one called `name`; a watch that
/// breaks is taken up again.
fn watched<K>(cluster: &Cluster, name: Option<&str>) -> impl Stream<Item = Event<K>> + use<K>
where
    K: Resource<DynamicType = ()> + Default + DeserializeOwned + Send + 'static,
{
    let resource = ApiResource::erase::<K>(&());
    let api = Api::<StoredObject>::all_with(cluster.kube().clone(), &resource);
    let config = match name {
        Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        None => watcher::Config::default(),
    };
    events(api, config).filter_map(|event| async {
        match event {
            Ok(event) => Some(typed(event)),
            Err(error) => {
                tracing::warn!("watching {}: {error}", K::plural(&()));
                None
            }
        }
    })
}

/// The event with what was stored as a `K`. What is invalid has nothing but its name, so it is
/// not right, and is put right.
fn typed<K: Resource + Default + DeserializeOwned>(event: Event<StoredObject>) -> Event<K> {
    let typed = |object: StoredObject| {
        let value = object.value.clone().unwrap_or_default();
        serde_json::from_value(value).unwrap_or_else(|_| {
            let mut named = K::default();
            *named.meta_mut() = object.meta().clone();
            named
        })
    };
    match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(typed(object)),
        Event::Apply(object) => Event::Apply(typed(object)),
        Event::Delete(object) => Event::Delete(typed(object)),
    }
}

/// JSON patch operations that make every hook trust `bundle`. The webhooks answer
/// now, so validation may no longer be skipped.
fn corrections(configuration: &Value, bundle: &str) -> Vec<Value> {
    let hooks = configuration["webhooks"].as_array().into_iter().flatten();
    let mut operations = Vec::new();
    // Hooks are named by their places, which hold for this version only.
    let version = &configuration["metadata"]["resourceVersion"];
    operations.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
    for (index, hook) in hooks.enumerate() {
        if hook["clientConfig"]["caBundle"] != bundle {
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": bundle}));
        }
        if hook["failurePolicy"] == "Ignore" {
            let path = format!("/webhooks/{index}/failurePolicy");
            operations.push(json!({"op": "replace", "path": path, "value": "Fail"}));
        }
    }
    if operations.len() == 1 {
        operations.clear();
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_corrected() {
        let configuration = json!({"metadata": {"resourceVersion": "7"}, "webhooks": [
            {"clientConfig": {"caBundle": "us"}, "failurePolicy": "Fail"},
            {"clientConfig": {}, "failurePolicy": "Ignore"},
        ]});
        let paths: Vec<_> = corrections(&configuration, "us")
            .iter()
            .map(|operation| operation["path"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            paths,
            [
                "/metadata/resourceVersion",
                "/webhooks/1/clientConfig/caBundle",
                "/webhooks/1/failurePolicy"
            ]
        );
        let right = json!({"webhooks": [{"clientConfig": {"caBundle": "us"}}]});
        assert!(corrections(&right, "us").is_empty());
    }

    fn namespace(name: &str) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    fn copy(namespace: &str, pem: &str) -> ConfigMap {
        let metadata = json!({"name": CONFIG_MAP, "namespace": namespace});
        serde_json::from_value(json!({"metadata": metadata, "data": {KEY: pem}})).unwrap()
    }

    #[test]
    fn a_copy_that_is_changed_or_deleted_comes_back_at_once() {
        let mut copies = Copies::default();
        let mut after = |seen| copies.lacking(seen, "root").join(" ");
        assert_eq!(after(WatchEvent::Namespace(Event::InitApply(namespace("shop")))), "");
        assert_eq!(after(WatchEvent::Copy(Event::Init)), "");
        assert_eq!(after(WatchEvent::Copy(Event::InitDone)), "shop");
        assert_eq!(after(WatchEvent::Copy(Event::Apply(copy("shop", "root")))), "");
        assert_eq!(after(WatchEvent::Copy(Event::Apply(copy("shop", "other")))), "shop");
        assert_eq!(after(WatchEvent::Copy(Event::Delete(copy("shop", "root")))), "shop");
        assert_eq!(after(WatchEvent::Namespace(Event::Apply(namespace("shop")))), "");
        assert_eq!(after(WatchEvent::Copy(Event::Init)), "");
        assert_eq!(after(WatchEvent::Copy(Event::InitDone)), "shop", "it may have gone unseen");
        let mut ending = namespace("shop");
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(after(WatchEvent::Namespace(Event::Apply(ending))), "");
        assert_eq!(
            after(WatchEvent::Copy(Event::Delete(copy("shop", "root")))),
            "",
            "it goes with it"
        );
        assert_eq!(
            after(WatchEvent::Namespace(Event::Apply(namespace("shop")))),
            "shop",
            "a new one"
        );
    }

    #[test]
    fn copies_that_are_right_are_not_written_again_when_all_is_listed_anew() {
        let mut copies = Copies::default();
        let mut after = |seen| copies.lacking(seen, "root").join(" ");
        for _ in 0..2 {
            assert_eq!(after(WatchEvent::Copy(Event::Init)), "");
            assert_eq!(after(WatchEvent::Copy(Event::InitApply(copy("shop", "root")))), "");
            assert_eq!(after(WatchEvent::Copy(Event::InitDone)), "");
            assert_eq!(after(WatchEvent::Namespace(Event::Init)), "");
            assert_eq!(after(WatchEvent::Namespace(Event::InitApply(namespace("shop")))), "");
            assert_eq!(after(WatchEvent::Namespace(Event::InitDone)), "");
        }
    }
}

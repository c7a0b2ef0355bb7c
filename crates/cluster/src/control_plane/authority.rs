//! Who has to know the mesh's root: every namespace's pods, and the API server
//! that asks the webhooks.
//!
//! Both are kept as they have to be, whoever changes or deletes them.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::upkeep::keep_up;
use crate::{
    client::{Cluster, MANAGER},
    install::{INJECTOR, VALIDATOR},
};

/// The ConfigMap in which pods find the root, as Istio names it.
const CONFIG_MAP: &str = "istio-ca-root-cert";
/// The key of the ConfigMap that has it.
const KEY: &str = "root-cert.pem";

/// Keeps the root in every namespace.
pub(super) async fn hand_out(cluster: Cluster, ca_pem: Arc<str>) {
    let namespaces = watched(Api::<Namespace>::all(cluster.kube().clone()), None);
    let copies = watched(Api::<ConfigMap>::all(cluster.kube().clone()), Some(CONFIG_MAP));
    let events = stream::select(namespaces.map(Seen::Namespace), copies.map(Seen::Copy));
    let mut known = BTreeSet::new();
    let lacking = events.flat_map(|seen| stream::iter(lacking(&mut known, seen, &ca_pem)));
    keep_up("putting the root into namespace", lacking, |namespace| {
        give(&cluster, namespace, &ca_pem)
    })
    .await;
}

/// Something that was seen of namespaces or of their copies of the root.
enum Seen {
    Namespace(Event<Namespace>),
    Copy(Event<ConfigMap>),
}

/// The namespaces whose copy is not there, or not right, after what was seen;
/// `known` are those that exist.
fn lacking(known: &mut BTreeSet<String>, seen: Seen, ca_pem: &str) -> Vec<String> {
    match seen {
        Seen::Namespace(Event::Apply(namespace) | Event::InitApply(namespace)) => {
            let name = namespace.name_any();
            if namespace.metadata.deletion_timestamp.is_some() {
                known.remove(&name);
                return Vec::new();
            }
            // Its labels may change as they like.
            if known.insert(name.clone()) { vec![name] } else { Vec::new() }
        }
        Seen::Namespace(Event::Delete(namespace)) => {
            known.remove(&namespace.name_any());
            Vec::new()
        }
        Seen::Copy(Event::Apply(copy) | Event::InitApply(copy)) => {
            let data = copy.data.as_ref();
            let right = data.and_then(|data| data.get(KEY)).is_some_and(|pem| pem == ca_pem);
            copy.namespace().filter(|name| !right && known.contains(name)).into_iter().collect()
        }
        Seen::Copy(Event::Delete(copy)) => {
            copy.namespace().filter(|name| known.contains(name)).into_iter().collect()
        }
        // What vanished while nobody looked is not told.
        Seen::Copy(Event::InitDone) => known.iter().cloned().collect(),
        // What is told from here on is all there is.
        Seen::Namespace(Event::Init) => {
            known.clear();
            Vec::new()
        }
        Seen::Copy(Event::Init) | Seen::Namespace(Event::InitDone) => Vec::new(),
    }
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

/// Keeps the webhooks' authority what it is, whoever writes over it.
pub(super) async fn vouch(cluster: Cluster, ca_pem: Arc<str>, namespace: String) {
    let bundle = STANDARD.encode(ca_pem.as_bytes());
    let validator = format!("{VALIDATOR}-{namespace}");
    let injecting = keep::<MutatingWebhookConfiguration>(&cluster, INJECTOR, &bundle);
    let validating = keep::<ValidatingWebhookConfiguration>(&cluster, &validator, &bundle);
    futures::join!(injecting, validating);
}

async fn keep<K>(cluster: &Cluster, name: &str, bundle: &str)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    K: Send + Sync + 'static,
{
    let api: Api<K> = Api::all(cluster.kube().clone());
    let changed = watched(api.clone(), Some(name)).filter_map(|event| async {
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
fn watched<K>(api: Api<K>, name: Option<&str>) -> impl Stream<Item = Event<K>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let config = match name {
        Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        None => watcher::Config::default(),
    };
    watcher::watcher(api, config).default_backoff().filter_map(|event| async {
        match event {
            Ok(event) => Some(event),
            Err(error) => {
                tracing::warn!("watching {}: {error}", K::plural(&()));
                None
            }
        }
    })
}

/// JSON patch operations that make every hook trust `bundle`. Now that there is
/// somebody to ask, validation may no longer be skipped.
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
        let mut known = BTreeSet::new();
        let mut after = |seen| lacking(&mut known, seen, "root").join(" ");
        assert_eq!(after(Seen::Namespace(Event::InitApply(namespace("shop")))), "shop");
        assert_eq!(after(Seen::Copy(Event::Apply(copy("shop", "root")))), "");
        assert_eq!(after(Seen::Copy(Event::Apply(copy("shop", "other")))), "shop");
        assert_eq!(after(Seen::Copy(Event::Delete(copy("shop", "root")))), "shop");
        assert_eq!(after(Seen::Namespace(Event::Apply(namespace("shop")))), "");
        assert_eq!(after(Seen::Copy(Event::InitDone)), "shop", "it may have gone unseen");
        let mut ending = namespace("shop");
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(after(Seen::Namespace(Event::Apply(ending))), "");
        assert_eq!(after(Seen::Copy(Event::Delete(copy("shop", "root")))), "", "it goes with it");
        assert_eq!(after(Seen::Namespace(Event::Apply(namespace("shop")))), "shop", "a new one");
    }
}

//! Who has to know the mesh's root: every namespace's pods, and the API server
//! that asks the webhooks.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::StreamExt;
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::Namespace,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    client::{Cluster, MANAGER},
    install::{INJECTOR, VALIDATOR},
};

/// The ConfigMap in which pods find the root, as Istio names it.
const CONFIG_MAP: &str = "istio-ca-root-cert";
/// The key of the ConfigMap that has it.
const KEY: &str = "root-cert.pem";
/// How often something that failed is tried again.
const TRIES: u32 = 5;
/// Rest before the first of them.
const REST: Duration = Duration::from_millis(100);

/// Puts the root into every namespace, as namespaces come.
pub(super) async fn hand_out(cluster: Cluster, ca_pem: Arc<str>) {
    let api: Api<Namespace> = Api::all(cluster.kube().clone());
    let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let namespaces = std::pin::pin!(events.applied_objects());
    namespaces
        .for_each_concurrent(8, |namespace| async {
            match namespace {
                Ok(namespace) if namespace.metadata.deletion_timestamp.is_none() => {
                    give(&cluster, &namespace.name_any(), &ca_pem).await;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("watching namespaces: {error}"),
            }
        })
        .await;
}

async fn give(cluster: &Cluster, namespace: &str, ca_pem: &str) {
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
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::namespaced(cluster.kube().clone(), namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    for attempt in 0..TRIES {
        match api.patch(CONFIG_MAP, &parameters, &Patch::Apply(&config_map)).await {
            Ok(_) => return,
            // The namespace went in the meantime.
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Err(error) => tracing::warn!("writing {CONFIG_MAP} in {namespace}: {error}"),
        }
        tokio::time::sleep(REST * 2u32.pow(attempt)).await;
    }
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
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher::watcher(api.clone(), only).default_backoff();
    let mut configurations = std::pin::pin!(events.applied_objects());
    while let Some(configuration) = configurations.next().await {
        let value = match configuration {
            Ok(configuration) => serde_json::to_value(&configuration).unwrap_or_default(),
            Err(error) => {
                tracing::warn!("watching webhook configuration {name}: {error}");
                continue;
            }
        };
        let operations = corrections(&value, bundle);
        if operations.is_empty() {
            continue;
        }
        let patch = match serde_json::from_value(Value::Array(operations)) {
            Ok(patch) => Patch::<K>::Json(patch),
            Err(error) => {
                tracing::error!("correcting webhook configuration {name}: {error}");
                continue;
            }
        };
        if let Err(error) = api.patch(name, &PatchParams::default(), &patch).await {
            tracing::warn!("correcting webhook configuration {name}: {error}");
        }
    }
}

/// JSON patch operations that make every hook trust `bundle`. Now that there is
/// somebody to ask, validation may no longer be skipped.
fn corrections(configuration: &Value, bundle: &str) -> Vec<Value> {
    let hooks = configuration["webhooks"].as_array().into_iter().flatten();
    let mut operations = Vec::new();
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
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_corrected() {
        let configuration = json!({"webhooks": [
            {"clientConfig": {"caBundle": "us"}, "failurePolicy": "Fail"},
            {"clientConfig": {}, "failurePolicy": "Ignore"},
        ]});
        let paths: Vec<_> = corrections(&configuration, "us")
            .iter()
            .map(|operation| operation["path"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(paths, ["/webhooks/1/clientConfig/caBundle", "/webhooks/1/failurePolicy"]);
    }
}

//! When nobody sends to a pod any more.
//!
//! A pod that is deleted leaves its Services' EndpointSlices first; once the
//! proxies have taken that over, its application may end without costing
//! anybody a request.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::timeout;
use weft_apiserver::{PodRef, Resource, Store};
use weft_cluster::client::Cluster;
use weft_pods::Withdrawn;

/// How long the end of a pod waits for the mesh, at most.
const LONGEST: Duration = Duration::from_secs(2);

/// A hook for the node; `kubeconfig` leads to the API server from inside.
pub fn hook(store: Store, kubeconfig: String) -> Withdrawn {
    let kubeconfig: Arc<str> = kubeconfig.into();
    Arc::new(move |pod| -> BoxFuture<'static, ()> {
        let (store, kubeconfig) = (store.clone(), Arc::clone(&kubeconfig));
        Box::pin(async move {
            if timeout(LONGEST, withdraw(&store, &kubeconfig, &pod)).await.is_err() {
                tracing::warn!(
                    "{}/{} is stopped while some proxies may still send to it",
                    pod.namespace,
                    pod.name
                );
            }
        })
    })
}

async fn withdraw(store: &Store, kubeconfig: &str, pod: &PodRef) {
    let Some(slices) = store.resource("discovery.k8s.io", "endpointslices") else { return };
    let left = until_left(store, &slices, pod).await;
    if left.is_empty() {
        return;
    }
    let Ok(cluster) = Cluster::from_kubeconfig(kubeconfig).await else { return };
    // Without a control plane to ask, nobody can tell, and waiting helps nobody.
    let Ok(Some(control_plane)) = cluster.control_plane().await else { return };
    for slice in left {
        if let Err(error) = cluster.acknowledged(&control_plane, &slice, LONGEST).await {
            tracing::debug!("asking whether {} was taken over: {error}", pod.name);
        }
    }
}

/// Waits until no slice has the pod ready; the slices that name it.
async fn until_left(store: &Store, slices: &Resource, pod: &PodRef) -> Vec<Arc<Value>> {
    loop {
        let list = store.list(slices, Some(&pod.namespace));
        let naming: Vec<Arc<Value>> =
            list.items.iter().filter(|slice| state(slice, pod).is_some()).cloned().collect();
        if !naming.iter().any(|slice| state(slice, pod) == Some(true)) {
            return naming;
        }
        let mut watch = store.watch(slices, list.version);
        if watch.next().await.is_err() {
            return naming;
        }
    }
}

/// Whether a slice has the pod ready; nothing when it does not name it.
fn state(slice: &Value, pod: &PodRef) -> Option<bool> {
    let endpoints = slice["endpoints"].as_array()?;
    let endpoint = endpoints.iter().find(|endpoint| {
        endpoint["targetRef"]["kind"] == "Pod" && endpoint["targetRef"]["name"] == pod.name.as_str()
    })?;
    Some(endpoint["conditions"]["ready"] != false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slice_says_whether_the_pod_is_still_sent_to() {
        let pod = PodRef { namespace: "a".into(), name: "x".into(), uid: "1".into() };
        let slice = |endpoints: Value| json!({"endpoints": endpoints});
        let endpoint = |name: &str, ready: Value| json!({"targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": ready}});
        assert_eq!(state(&slice(json!([endpoint("x", json!(true))])), &pod), Some(true));
        assert_eq!(state(&slice(json!([endpoint("x", json!(null))])), &pod), Some(true));
        assert_eq!(state(&slice(json!([endpoint("x", json!(false))])), &pod), Some(false));
        assert_eq!(state(&slice(json!([endpoint("y", json!(true))])), &pod), None);
        assert_eq!(state(&slice(json!(null)), &pod), None);
    }
}

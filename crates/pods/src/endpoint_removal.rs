//! Waiting until nothing sends to a pod that ends.
//!
//! A pod that is deleted leaves the EndpointSlices of its Services first. Once the
//! proxies have taken that over, its application can end without losing a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::timeout;
use weft_apiserver::{PodRef, Resource, Store};

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);

/// Resolves when the proxies have taken over these EndpointSlices, or after the time.
pub type Acknowledged =
    Arc<dyn Fn(Vec<Arc<Value>>, Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// Waits until the mesh no longer sends to a pod that ends. Clones share their state.
#[derive(Clone)]
pub(crate) struct EndpointRemoval {
    store: Store,
    acknowledged: Acknowledged,
    /// All pods are ending: no endpoint is left to send to instead.
    ending: Arc<AtomicBool>,
}

impl EndpointRemoval {
    pub(crate) fn new(store: Store, acknowledged: Acknowledged) -> Self {
        Self { store, acknowledged, ending: Arc::default() }
    }

    /// Resolves when nothing is sent to `pod` any more, or after two seconds.
    pub(crate) async fn wait(&self, pod: PodRef) {
        if !self.is_ending() && timeout(LONGEST, self.removed(&pod)).await.is_err() {
            let PodRef { namespace, name, .. } = &pod;
            tracing::warn!("{namespace}/{name} is stopped while some proxies may still send to it");
        }
    }

    /// No pod is waited for from now on.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    async fn removed(&self, pod: &PodRef) {
        let resource = self.store.resource("discovery.k8s.io", "endpointslices");
        let Some(resource) = resource else { return };
        let slices = slices_without(&self.store, &resource, pod).await;
        if !slices.is_empty() {
            (self.acknowledged)(slices, LONGEST).await;
        }
    }
}

/// Waits until no slice has the pod ready; gives the slices that name it.
async fn slices_without(store: &Store, resource: &Resource, pod: &PodRef) -> Vec<Arc<Value>> {
    loop {
        let list = store.list(resource, Some(&pod.namespace));
        let naming: Vec<Arc<Value>> =
            list.items.iter().filter(|slice| is_ready(slice, pod).is_some()).cloned().collect();
        if !naming.iter().any(|slice| is_ready(slice, pod) == Some(true)) {
            return naming;
        }
        let mut watch = store.watch(resource, list.version);
        if watch.next().await.is_err() {
            return naming;
        }
    }
}

/// Whether the pod is ready in a slice; `None` when the slice does not name it.
fn is_ready(slice: &Value, pod: &PodRef) -> Option<bool> {
    let endpoints = slice["endpoints"].as_array()?;
    let endpoint = endpoints.iter().find(|endpoint| {
        endpoint["targetRef"]["kind"] == "Pod" && endpoint["targetRef"]["name"] == pod.name.as_str()
    })?;
    Some(endpoint["conditions"]["ready"] != false)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;

    fn pod() -> PodRef {
        PodRef { namespace: "a".into(), name: "x".into(), uid: "1".into() }
    }

    fn endpoint(name: &str, ready: Value) -> Value {
        json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready},
               "targetRef": {"kind": "Pod", "name": name}})
    }

    #[test]
    fn a_slice_says_whether_the_pod_is_ready() {
        let pod = pod();
        let slice = |endpoints: Value| json!({"endpoints": endpoints});
        assert_eq!(is_ready(&slice(json!([endpoint("x", json!(true))])), &pod), Some(true));
        assert_eq!(is_ready(&slice(json!([endpoint("x", json!(null))])), &pod), Some(true));
        assert_eq!(is_ready(&slice(json!([endpoint("x", json!(false))])), &pod), Some(false));
        assert_eq!(is_ready(&slice(json!([endpoint("y", json!(true))])), &pod), None);
        assert_eq!(is_ready(&slice(json!(null)), &pod), None);
    }

    /// A store with one slice, a removal on it, and the slices that it asks about.
    fn removal(ready: bool) -> (Store, EndpointRemoval, Arc<Mutex<Vec<Arc<Value>>>>) {
        let store = Store::new();
        let namespaces = store.resource("", "namespaces").unwrap();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        store.create(&namespaces, namespace).unwrap();
        let resource = store.resource("discovery.k8s.io", "endpointslices").unwrap();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "s", "namespace": "a"},
            "endpoints": [endpoint("x", json!(ready))],
        });
        store.create(&resource, slice).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let inner = Arc::clone(&asked);
        let acknowledged: Acknowledged = Arc::new(move |slices, _| {
            inner.lock().unwrap().extend(slices);
            Box::pin(async {})
        });
        (store.clone(), EndpointRemoval::new(store, acknowledged), asked)
    }

    #[tokio::test]
    async fn proxies_are_waited_for_once_the_slices_have_let_the_pod_go() {
        let (store, removal, asked) = removal(true);
        let waiting = removal.wait(pod());
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(asked.lock().unwrap().is_empty(), "a slice has the pod ready");
        let resource = store.resource("discovery.k8s.io", "endpointslices").unwrap();
        let mut slice = Value::clone(&store.get(&resource, "a", "s").unwrap());
        slice["endpoints"][0]["conditions"]["ready"] = false.into();
        store.update(&resource, slice).unwrap();
        waiting.await;
        let asked = asked.lock().unwrap();
        let [slice] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!(slice["endpoints"][0]["conditions"]["ready"], false);
    }

    #[tokio::test]
    async fn nothing_is_waited_for_when_all_pods_end() {
        let (_store, removal, asked) = removal(true);
        removal.end();
        removal.wait(pod()).await;
        assert!(asked.lock().unwrap().is_empty());
    }
}

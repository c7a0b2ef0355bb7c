//! Pods and what they refer to, as objects of the API.
//!
//! What the node reads and writes there; it knows no process and no network.

use std::{io, sync::Arc};

use serde_json::Value;
use weft_apiserver::{Deletion, Happening, Resource, Store, Tone, record};

use crate::spec::Metadata;

/// The objects of the API, as the node uses them; clones are the same.
#[derive(Clone)]
pub(crate) struct PodStore {
    store: Store,
    pods: Arc<Resource>,
}

impl PodStore {
    pub(crate) fn new(store: Store) -> io::Result<Self> {
        let pods = store.resource("", "pods");
        let pods = pods.ok_or_else(|| io::Error::other("the API server does not know pods"))?;
        Ok(Self { store, pods })
    }

    /// All objects.
    pub(crate) fn all(&self) -> &Store {
        &self.store
    }

    /// The resource of pods.
    pub(crate) fn pods(&self) -> &Resource {
        &self.pods
    }

    /// An object of a namespace.
    pub(crate) fn find(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        let resource = self.store.resource(group, plural)?;
        self.store.get(&resource, namespace, name)
    }

    /// The pod as it is stored now, unless another has taken its name.
    pub(crate) fn pod(&self, metadata: &Metadata) -> Option<Arc<Value>> {
        let found = self.store.get(&self.pods, &metadata.namespace, &metadata.name)?;
        (found["metadata"]["uid"] == metadata.uid.as_str()).then_some(found)
    }

    /// Stores a pod's status.
    pub(crate) fn store_status(&self, current: &Value, status: Value) {
        let mut object = current.clone();
        object["status"] = status;
        // The node alone writes it.
        object["metadata"]["resourceVersion"] = Value::Null;
        if let Err(error) = self.store.update_status(&self.pods, object) {
            tracing::debug!(%error, "a pod's status is not stored");
        }
    }

    /// Schedules a pod to a node.
    pub(crate) fn bind(&self, object: &Value, node: &str) {
        let mut bound = object.clone();
        bound["spec"]["nodeName"] = node.into();
        if let Err(error) = self.store.update(&self.pods, bound) {
            // Another write was faster, and its change comes to the node again.
            tracing::debug!(%error, "a pod is bound later");
        }
    }

    /// Removes a pod that has ended.
    pub(crate) fn remove(&self, metadata: &Metadata) {
        let deletion = Deletion { uid: Some(metadata.uid.clone()), ..Deletion::now() };
        // It may be gone already.
        let _ = self.store.delete(&self.pods, &metadata.namespace, &metadata.name, &deletion);
    }

    /// Records an Event about a pod.
    pub(crate) fn record(&self, metadata: &Metadata, happening: Happening<'_>) {
        if let Some(pod) = self.pod(metadata) {
            record(&self.store, &pod, happening);
        }
    }

    /// Records why a pod cannot be run.
    pub(crate) fn record_failure(&self, metadata: &Metadata, reason: &str, message: &str) {
        let (tone, component) = (Tone::Warning, crate::events::KUBELET);
        self.record(metadata, Happening { tone, reason, message, component, field: "" });
    }
}

//! Pods that the node cannot read: what becomes of them, and what users see.
//!
//! The API server checks types, but a value may still be one that this node has
//! no use for. Such a pod is reported, and ends when it is deleted.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{NODE_NAME, Node};
use crate::{
    object_watch,
    spec::{Metadata, Pod},
};

/// Why the containers of such a pod wait.
const REASON: &str = "FailedCreatePodSandBox";

impl Node {
    /// A pod as the node reads it. One that runs already keeps the specification
    /// that could be read; one that never could is reported.
    pub(super) fn read(
        &self,
        presence: object_watch::Existence,
        object: &Arc<Value>,
    ) -> Option<Pod> {
        let error = match serde_json::from_value::<Pod>(Value::clone(object)) {
            Ok(pod) => return Some(pod),
            Err(error) => error,
        };
        let metadata: Metadata = serde_json::from_value(object["metadata"].clone()).ok()?;
        let running = self.running.borrow().get(&metadata.uid).cloned();
        if let Some(running) = running {
            let spec = running.borrow().pod.spec.clone();
            return Some(Pod { metadata, spec });
        }
        if presence == object_watch::Existence::There {
            match metadata.deletion_timestamp {
                Some(_) => self.store().remove(&metadata),
                None => self.report(object, &metadata, &error),
            }
        }
        None
    }

    fn report(&self, object: &Value, metadata: &Metadata, error: &serde_json::Error) {
        if object["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
            return self.store().bind(object, NODE_NAME);
        }
        let message = format!("the pod cannot be read: {error}");
        let status = status(object, &message);
        // Its own write comes back as a change.
        if object["status"] != status {
            tracing::warn!(pod = %object["metadata"]["name"], %error, "a pod cannot be read");
            self.store().store_status(object, status);
            self.store().record_failure(metadata, REASON, &message);
        }
    }
}

/// The status of a pod that is not run.
fn status(object: &Value, message: &str) -> Value {
    let waiting = |list: &str| -> Value {
        let containers = object["spec"][list].as_array().into_iter().flatten();
        let statuses = containers.map(|container| {
            let state = json!({"waiting": {"reason": REASON, "message": message}});
            json!({"name": container["name"], "image": container["image"], "imageID": "",
                   "ready": false, "restartCount": 0, "state": state})
        });
        statuses.collect()
    };
    let mut status = object["status"].clone();
    status["phase"] = "Pending".into();
    status["reason"] = REASON.into();
    status["message"] = message.into();
    status["containerStatuses"] = waiting("containers");
    status
}

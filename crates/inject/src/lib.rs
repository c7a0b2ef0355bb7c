//! Pod → JSON patch that adds the sidecar.
//!
//! One pure function makes the injected pod for the webhook, for
//! `weft inject` and for the laptop. Nothing here knows how a pod is started,
//! and nothing of the pod is lost: the patch only adds and rewrites what it names.

mod decision;
mod settings;

pub use decision::{Decision, Namespace, decide};
pub use settings::{Policy, Resources, Settings};

use json_patch::Patch;
use serde_json::Value;

/// The workload that a pod belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// API version, such as `apps/v1`.
    pub api_version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Name; empty when it is not known.
    pub name: String,
}

/// What has to be done to `pod` (its `metadata` and `spec`) in `namespace` to give it a sidecar.
///
/// Empty when it has one already.
pub fn patch(pod: &Value, owner: &Owner, namespace: &str, settings: &Settings) -> Patch {
    let _ = (pod, owner, namespace, settings);
    Patch(Vec::new())
}

/// `object` with sidecars in its pods, and in today's API version; other objects unchanged.
pub fn document(object: &Value, settings: &Settings) -> Value {
    let _ = settings;
    object.clone()
}

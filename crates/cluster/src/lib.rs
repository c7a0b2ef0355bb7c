//! The Kubernetes API, on a cluster or a laptop: as the control plane's source
//! of objects, as where its webhooks are asked from, and as what the command
//! line talks to.
//!
//! The only crate that names kube. It knows neither how objects are translated
//! nor that a laptop exists.

pub mod client;
pub mod control_plane;
pub mod install;
pub mod readiness;

use serde_json::Value;

/// What its owner should know of an object of Istio whose kind is not in the table of kinds.
pub fn not_honoured(object: &Value) -> Option<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split('/').next()?;
    let kind = text("/kind");
    if !group.ends_with(".istio.io") || weft_api::Kind::of(text("/apiVersion"), kind).is_some() {
        return None;
    }
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    Some(format!(
        "{kind}/{namespace}/{name}: not honoured yet: objects of this kind are stored, and change \
         nothing about traffic"
    ))
}

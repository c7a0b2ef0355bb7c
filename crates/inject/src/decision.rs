//! Whether a pod gets a sidecar.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Policy, Settings};

/// Namespaces of the cluster itself, where nothing is injected.
const IGNORED: &[&str] = &["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// The label, and the older annotation, by which a pod chooses for itself.
const INJECT: &str = "sidecar.istio.io/inject";

/// What is known of a pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Whether a pod gets a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It does.
    Inject,
    /// It does not, for this reason.
    Skip(String),
}

/// Decides about `pod` in `namespace`, in the order in which Istio's webhooks and injector do.
pub fn decide(pod: &Value, namespace: &Namespace, settings: &Settings) -> Decision {
    if pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        return skip("the pod uses the node's network");
    }
    if IGNORED.contains(&namespace.name.as_str()) {
        return skip(format!("namespace {} belongs to the cluster", namespace.name));
    }
    let own = ["labels", "annotations"].into_iter().find_map(|place| {
        let value = pod.get("metadata")?.get(place)?.get(INJECT)?.as_str()?;
        Some((place, value))
    });
    if let Some((place, value)) = own {
        return match value {
            "true" | "y" | "yes" | "on" => Decision::Inject,
            _ => skip(format!("the pod's {place} say {INJECT}={value}")),
        };
    }
    match namespace.labels.get("istio-injection").map(String::as_str) {
        Some("enabled") => return Decision::Inject,
        Some("disabled") => return skip("the namespace is labelled istio-injection=disabled"),
        _ => {}
    }
    match namespace.labels.get("istio.io/rev") {
        Some(revision) if *revision == settings.revision => return Decision::Inject,
        Some(revision) => return skip(format!("the namespace asks for revision {revision}")),
        None => {}
    }
    match settings.policy {
        Policy::Enabled => Decision::Inject,
        Policy::Disabled => skip("the mesh injects only where asked"),
    }
}

fn skip(reason: impl Into<String>) -> Decision {
    Decision::Skip(reason.into())
}

//! The volumes of the sidecar.
//!
//! Istio's volumes for sockets by which an agent and Envoy exchange
//! certificates are left out: the proxy is one program.

use serde_json::{Value, json};

use crate::annotations::Annotations;

/// Names and mount paths in the sidecar.
const MOUNTS: &[(&str, &str)] = &[
    ("istiod-ca-cert", "/var/run/secrets/istio"),
    ("istio-data", "/var/lib/istio/data"),
    ("istio-token", "/var/run/secrets/tokens"),
    ("istio-podinfo", "/etc/istio/pod"),
];

/// The volumes that are added to the pod.
pub(crate) fn volumes(annotations: Annotations<'_>) -> Vec<Value> {
    let field = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let token = json!({"serviceAccountToken": {
        "audience": "istio-ca",
        "expirationSeconds": 43200,
        "path": "istio-token",
    }});
    let mut volumes = vec![
        json!({"name": "istio-data", "emptyDir": {"medium": "Memory"}}),
        json!({"name": "istio-podinfo", "downwardAPI": {"items": [
            field("labels", "metadata.labels"),
            field("annotations", "metadata.annotations"),
        ]}}),
        json!({"name": "istio-token", "projected": {"sources": [token]}}),
        json!({"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}}),
    ];
    volumes.extend(annotations.items("sidecar.istio.io/userVolume"));
    volumes
}

/// Where they are in the sidecar.
pub(crate) fn mounts(annotations: Annotations<'_>) -> Vec<Value> {
    MOUNTS
        .iter()
        .map(|(name, path)| json!({"name": name, "mountPath": path}))
        .chain(annotations.items("sidecar.istio.io/userVolumeMount"))
        .collect()
}

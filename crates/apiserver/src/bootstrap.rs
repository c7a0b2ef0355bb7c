//! What every cluster has before anybody applied anything.

use serde_json::{Value, json};
use weft_controllers::addresses;

use crate::{access, store::Store};

/// Namespaces that every cluster has.
pub const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Puts namespaces, default roles, the API server's own Service and its endpoints into a store.
pub fn prepare(store: &Store) {
    for name in NAMESPACES {
        make(store, ("", "namespaces"), json!({"metadata": {"name": name}}));
    }
    for (plural, object) in access::default_roles() {
        make(store, ("rbac.authorization.k8s.io", plural), object);
    }
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": labels});
    make(
        store,
        ("", "services"),
        json!({"metadata": metadata, "spec": {
            "clusterIP": addresses::API_SERVER.to_string(),
            "ports": [{"name": "https", "port": 443, "targetPort": 6443}],
        }}),
    );
    make(
        store,
        ("discovery.k8s.io", "endpointslices"),
        json!({
            "metadata": {"name": "kubernetes", "namespace": "default",
                         "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [addresses::API_SERVER.to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        }),
    );
    let address = json!({"ip": addresses::API_SERVER.to_string()});
    make(
        store,
        ("", "endpoints"),
        json!({
            "metadata": {"name": "kubernetes", "namespace": "default",
                         "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [address], "ports": [{"name": "https", "port": 443}]}],
        }),
    );
    let dns =
        json!({"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}});
    make(
        store,
        ("", "services"),
        json!({"metadata": dns, "spec": {
            "clusterIP": addresses::DNS.to_string(),
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}],
        }}),
    );
}

fn make(store: &Store, (group, plural): (&str, &str), object: Value) {
    let Some(resource) = store.resource(group, plural) else { return };
    if let Err(refused) = store.create(&resource, object) {
        // A store that was prepared before keeps what it has.
        tracing::debug!("not made at the start: {refused}");
    }
}

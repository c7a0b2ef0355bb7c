//! Who runs somewhere, read from a pod.

use std::collections::BTreeMap;

use weft_api::{Metadata, kubernetes::Pod, service_entry::WorkloadEntry};
use weft_config::Workload;

use crate::Installation;

/// The workload that `pod` belongs to, in the words of Istio's metrics; without its cluster,
/// which the installation knows.
pub(crate) fn of_pod(pod: &Pod) -> Workload {
    let account = match pod.spec.service_account_name.as_str() {
        "" => "default",
        account => account,
    };
    labelled(owner(pod), &pod.metadata.namespace, &pod.metadata.labels, account)
}

/// The workload `name`, which has these labels.
fn labelled(
    name: String,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    account: &str,
) -> Workload {
    let app = first(labels, &["app", "app.kubernetes.io/name"]);
    let version = first(labels, &["version", "app.kubernetes.io/version"]);
    let canonical_name =
        first(labels, &["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let canonical_revision = first(
        labels,
        &["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"],
    );
    Workload {
        namespace: namespace.to_owned(),
        app: app.unwrap_or_default(),
        version: version.unwrap_or_default(),
        canonical_name: canonical_name.unwrap_or_else(|| name.clone()),
        canonical_revision: canonical_revision.unwrap_or_else(|| "latest".to_owned()),
        cluster: String::new(),
        account: account.to_owned(),
        name,
    }
}

/// The workload that `entry` stands for, in `installation`.
pub(crate) fn of_entry_in(installation: &Installation, entry: &WorkloadEntry) -> Workload {
    let Metadata { name, namespace, labels: own, .. } = &entry.metadata;
    let said = &entry.spec.labels;
    let labels = if said.is_empty() { own } else { said };
    let workload = labelled(name.clone(), namespace, labels, &entry.spec.service_account);
    Workload { cluster: installation.cluster.clone(), ..workload }
}

/// The workload that `pod` belongs to, in `installation`.
pub(crate) fn of_pod_in(installation: &Installation, pod: &Pod) -> Workload {
    Workload { cluster: installation.cluster.clone(), ..of_pod(pod) }
}

/// The name of the workload: a Deployment's for a pod of one of its ReplicaSets.
fn owner(pod: &Pod) -> String {
    let owners = &pod.metadata.owner_references;
    let Some(owner) = owners.iter().find(|owner| owner.controller).or(owners.first()) else {
        return pod.metadata.name.clone();
    };
    let hash = pod.metadata.labels.get("pod-template-hash");
    let deployment = hash
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    deployment.unwrap_or(&owner.name).to_owned()
}

fn first(labels: &BTreeMap<String, String>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| labels.get(*name)).filter(|value| !value.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pod: serde_json::Value, expected: &str) {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let w = of_pod(&pod);
        let text =
            format!("{} {} {} {}", w.name, w.canonical_name, w.canonical_revision, w.account);
        assert_eq!(text, expected);
    }

    #[test]
    fn a_pod_of_a_deployment_is_named_after_it() {
        check(
            serde_json::json!({"metadata": {"name": "hello-5d4-x", "labels": {
                "app": "hi", "version": "v2", "pod-template-hash": "5d4"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "hello-5d4", "controller": true}]}}),
            "hello hi v2 default",
        );
    }

    #[test]
    fn a_pod_on_its_own_is_its_own_workload() {
        check(
            serde_json::json!({"metadata": {"name": "job"}, "spec": {"serviceAccountName": "me"}}),
            "job job latest me",
        );
    }
}

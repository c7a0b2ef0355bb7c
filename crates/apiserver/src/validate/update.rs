//! What an update may not change.

use serde_json::Value;

use super::causes::Causes;
use crate::resource::Resource;

const IMMUTABLE: &str = "field is immutable";

/// Checks a new object against the one that it replaces.
pub fn check(resource: &Resource, old: &Value, new: &Value, causes: &mut Causes) {
    let fixed = |pointer: &str, field: &str, causes: &mut Causes| {
        let (was, is) = (old.pointer(pointer), new.pointer(pointer));
        if was != is {
            causes.invalid(field, is.unwrap_or(&Value::Null), IMMUTABLE);
        }
    };
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod(old, new, causes),
        ("", "ConfigMap") => immutable(old, new, &["data", "binaryData"], causes),
        ("", "Secret") => {
            fixed("/type", "type", causes);
            immutable(old, new, &["data"], causes);
        }
        ("apps" | "extensions", "Deployment" | "ReplicaSet" | "DaemonSet") => {
            fixed("/spec/selector", "spec.selector", causes);
        }
        ("apps", "StatefulSet") => stateful_set(old, new, causes),
        ("batch", "Job") => {
            fixed("/spec/selector", "spec.selector", causes);
            fixed("/spec/template", "spec.template", causes);
            fixed("/spec/completionMode", "spec.completionMode", causes);
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if old["roleRef"] != new["roleRef"] =>
        {
            causes.invalid("roleRef", &new["roleRef"], "cannot change roleRef");
        }
        ("discovery.k8s.io", "EndpointSlice") => fixed("/addressType", "addressType", causes),
        ("networking.k8s.io", "IngressClass") => {
            fixed("/spec/controller", "spec.controller", causes);
        }
        ("scheduling.k8s.io", "PriorityClass") => fixed("/value", "value", causes),
        ("storage.k8s.io", "StorageClass") => {
            fixed("/provisioner", "provisioner", causes);
            fixed("/parameters", "parameters", causes);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            fixed("/spec/scope", "spec.scope", causes);
            fixed("/spec/group", "spec.group", causes);
            fixed("/spec/names/kind", "spec.names.kind", causes);
            fixed("/spec/names/plural", "spec.names.plural", causes);
        }
        _ => {}
    }
}

fn immutable(old: &Value, new: &Value, fields: &[&str], causes: &mut Causes) {
    if old["immutable"] != true {
        return;
    }
    let message = "field is immutable when `immutable` is set";
    for field in fields.iter().chain(&["immutable"]) {
        if old[field] != new[field] {
            causes.forbidden(*field, message);
        }
    }
}

/// What of a pod may be another after its creation.
fn pod(old: &Value, new: &Value, causes: &mut Causes) {
    const MAY_CHANGE: &[&str] = &[
        "activeDeadlineSeconds",
        "tolerations",
        "terminationGracePeriodSeconds",
        "schedulingGates",
    ];
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container.as_object_mut().map(|fields| fields.remove("image"));
            }
        }
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|field, value| !MAY_CHANGE.contains(&field.as_str()) && !value.is_null());
            // Binding a pod is a write of its own on a cluster; here it comes this way.
            if old["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
                fields.remove("nodeName");
            }
        }
        spec
    };
    let (was, is) = (fixed(old), fixed(new));
    if was != is {
        causes.forbidden(
            "spec",
            "pod updates may not change fields other than \
             `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
             tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
             previously negative)",
        );
    }
}

fn stateful_set(old: &Value, new: &Value, causes: &mut Causes) {
    const MAY_CHANGE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|field, _| !MAY_CHANGE.contains(&field.as_str()));
        spec
    };
    if rest(old) != rest(new) {
        let fields: Vec<String> = MAY_CHANGE.iter().map(|field| format!("'{field}'")).collect();
        let (last, fields) = fields.split_last().expect("the list is not empty");
        let message = format!(
            "updates to statefulset spec for fields other than {} and {last} are forbidden",
            fields.join(", ")
        );
        causes.forbidden("spec", &message);
    }
}

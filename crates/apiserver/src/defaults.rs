//! What a field means that was not written.
//!
//! Pure, and doing it twice changes nothing: the request path fills in before
//! admission webhooks look, the store once more after them.

mod pod;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use weft_controllers::object;

use crate::{registry, resource::Resource, store::timestamp};

/// Fills in what is missing.
pub fn apply(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod::apply(object),
        ("", "Service") => service(object),
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("apps" | "extensions", "Deployment") => deployment(object),
        ("apps", "ReplicaSet") => replica_set(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => job(&mut object["spec"]),
        ("batch", "CronJob") => cron_job(object),
        ("rbac.authorization.k8s.io", _) => roles(object),
        ("", "Endpoints") => endpoints(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("admissionregistration.k8s.io", _) => webhooks(object),
        _ => {}
    }
}

/// Sets a field that is absent or null.
fn set(target: &mut Value, field: &str, value: impl Into<Value>) {
    if target.is_null() {
        *target = json!({});
    }
    if let Some(target) = target.as_object_mut() {
        let place = target.entry(field).or_insert(Value::Null);
        if place.is_null() {
            *place = value.into();
        }
    }
}

/// The elements of a list that may be absent, to be changed.
fn each<'v>(object: &'v mut Value, field: &str) -> impl Iterator<Item = &'v mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn service(object: &mut Value) {
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    let spec = &mut object["spec"];
    set(spec, "type", "ClusterIP");
    set(spec, "sessionAffinity", "None");
    if spec["type"] != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", "SingleStack");
        if spec["clusterIP"] == "None" {
            set(spec, "clusterIPs", json!(["None"]));
        }
    }
    if spec["type"] == "LoadBalancer" || spec["type"] == "NodePort" {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if spec["type"] == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", false);
    }
    for port in each(spec, "ports") {
        set(port, "protocol", "TCP");
        let number = port["port"].clone();
        set(port, "targetPort", number);
    }
    set(object, "status", json!({"loadBalancer": {}}));
}

fn namespace(object: &mut Value) {
    let name = object::name(object).to_owned();
    if !object["metadata"]["labels"].is_object() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
    if !object::is_terminating(object) {
        let spec = object.as_object_mut().map(|fields| fields.entry("spec").or_insert(json!({})));
        if let Some(spec) = spec {
            set(spec, "finalizers", json!(["kubernetes"]));
        }
        set(object, "status", json!({"phase": "Active"}));
    }
}

fn secret(object: &mut Value) {
    set(object, "type", "Opaque");
    let Some(plain) = object.as_object_mut().and_then(|fields| fields.remove("stringData")) else {
        return;
    };
    set(object, "data", json!({}));
    for (key, value) in plain.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        object["data"][key] = STANDARD.encode(text).into();
    }
}

fn deployment(object: &mut Value) {
    set(object, "spec", json!({}));
    if object["apiVersion"] == "extensions/v1beta1" {
        // That version took a missing selector from the template's labels.
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        if labels.is_object() {
            set(&mut object["spec"], "selector", json!({"matchLabels": labels}));
        }
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("rollbackTo");
        }
    }
    let spec = &mut object["spec"];
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    set(spec, "strategy", json!({"type": "RollingUpdate"}));
    set(&mut spec["strategy"], "type", "RollingUpdate");
    if spec["strategy"]["type"] == "RollingUpdate" {
        set(&mut spec["strategy"], "rollingUpdate", json!({}));
        let rolling = &mut spec["strategy"]["rollingUpdate"];
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
    template(spec);
}

fn replica_set(object: &mut Value) {
    set(object, "spec", json!({}));
    let spec = &mut object["spec"];
    set(spec, "replicas", 1);
    template(spec);
}

fn stateful_set(object: &mut Value) {
    set(object, "spec", json!({}));
    let spec = &mut object["spec"];
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "updateStrategy", json!({}));
    set(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        set(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
        set(&mut spec["updateStrategy"]["rollingUpdate"], "partition", 0);
    }
    let retention = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
    set(spec, "persistentVolumeClaimRetentionPolicy", retention);
    template(spec);
}

fn daemon_set(object: &mut Value) {
    set(object, "spec", json!({}));
    let spec = &mut object["spec"];
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "updateStrategy", json!({}));
    set(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        let rolling = json!({"maxSurge": 0, "maxUnavailable": 1});
        set(&mut spec["updateStrategy"], "rollingUpdate", rolling);
    }
    template(spec);
}

fn job(spec: &mut Value) {
    if spec.is_null() {
        *spec = json!({});
    }
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    set(spec, "backoffLimit", 6);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    set(spec, "podReplacementPolicy", "TerminatingOrFailed");
    template(spec);
}

fn cron_job(object: &mut Value) {
    set(object, "spec", json!({}));
    let spec = &mut object["spec"];
    set(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    // Of the template only the pods' part is filled in, as on a cluster.
    set(spec, "jobTemplate", json!({}));
    set(&mut spec["jobTemplate"], "spec", json!({}));
    template(&mut spec["jobTemplate"]["spec"]);
}

fn roles(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if object["roleRef"].is_object() {
        set(&mut object["roleRef"], "apiGroup", GROUP);
    }
    for subject in each(object, "subjects") {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            set(subject, "apiGroup", GROUP);
        }
    }
}

fn endpoints(object: &mut Value) {
    for subset in each(object, "subsets") {
        for port in each(subset, "ports") {
            set(port, "protocol", "TCP");
        }
    }
}

fn template(spec: &mut Value) {
    set(spec, "template", json!({}));
    set(&mut spec["template"], "metadata", json!({}));
    set(&mut spec["template"], "spec", json!({}));
    pod::spec(&mut spec["template"]["spec"]);
}

fn definition(object: &mut Value) {
    set(object, "spec", json!({}));
    let spec = &mut object["spec"];
    set(spec, "conversion", json!({"strategy": "None"}));
    set(spec, "scope", "Namespaced");
    set(spec, "names", json!({}));
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    set(&mut spec["names"], "singular", kind.to_ascii_lowercase());
    set(&mut spec["names"], "listKind", format!("{kind}List"));
    for version in each(spec, "versions") {
        set(version, "served", true);
        set(version, "storage", false);
    }
    if !object["status"]["conditions"].is_array() {
        object["status"] = registry::established(object, &timestamp());
    }
}

fn webhooks(object: &mut Value) {
    let mutating = object["kind"] == "MutatingWebhookConfiguration";
    for webhook in each(object, "webhooks") {
        set(webhook, "failurePolicy", "Fail");
        set(webhook, "matchPolicy", "Equivalent");
        set(webhook, "timeoutSeconds", 10);
        set(webhook, "namespaceSelector", json!({}));
        set(webhook, "objectSelector", json!({}));
        if mutating {
            set(webhook, "reinvocationPolicy", "Never");
        }
        if webhook["clientConfig"]["service"].is_object() {
            set(&mut webhook["clientConfig"]["service"], "port", 443);
        }
        for rule in each(webhook, "rules") {
            set(rule, "scope", "*");
        }
    }
}

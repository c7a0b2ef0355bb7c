//! What a pod's unwritten fields mean.

use serde_json::{Value, json};

use super::{each, set};

/// Fills in a pod.
pub fn apply(object: &mut Value) {
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    spec(&mut object["spec"]);
    let spec = &mut object["spec"];
    let account = match spec["serviceAccountName"].as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => spec["serviceAccount"].as_str().unwrap_or("default").to_owned(),
    };
    spec["serviceAccountName"] = account.clone().into();
    spec["serviceAccount"] = account.into();
    set(spec, "enableServiceLinks", true);
    set(spec, "preemptionPolicy", "PreemptLowerPriority");
    set(spec, "priority", 0);
    let class = quality(&object["spec"]);
    set(object, "status", json!({"phase": "Pending"}));
    // Found again after webhooks, which may have added containers.
    object["status"]["qosClass"] = class.into();
}

/// Fills in a pod's specification, wherever it stands.
pub fn spec(spec: &mut Value) {
    set(spec, "restartPolicy", "Always");
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "schedulerName", "default-scheduler");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "securityContext", json!({}));
    if let Some(account) = spec["serviceAccountName"].as_str().map(str::to_owned) {
        set(spec, "serviceAccount", account);
    }
    for list in ["initContainers", "containers"] {
        each(spec, list).for_each(container);
    }
    for volume in each(spec, "volumes") {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if volume[source].is_object() {
                set(&mut volume[source], "defaultMode", 420);
            }
        }
        if let Some(projected) = volume.get_mut("projected") {
            for source in each(projected, "sources") {
                if source["serviceAccountToken"].is_object() {
                    set(&mut source["serviceAccountToken"], "expirationSeconds", 3600);
                }
                if let Some(downward) = source.get_mut("downwardAPI") {
                    field_references(downward);
                }
            }
        }
        if let Some(downward) = volume.get_mut("downwardAPI") {
            field_references(downward);
        }
    }
}

fn field_references(downward: &mut Value) {
    for item in each(downward, "items") {
        if item["fieldRef"].is_object() {
            set(&mut item["fieldRef"], "apiVersion", "v1");
        }
    }
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let pinned = last.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    set(container, "imagePullPolicy", if pinned { "IfNotPresent" } else { "Always" });
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set(container, "resources", json!({}));
    for port in each(container, "ports") {
        set(port, "protocol", "TCP");
    }
    for variable in each(container, "env") {
        if variable["valueFrom"]["fieldRef"].is_object() {
            set(&mut variable["valueFrom"]["fieldRef"], "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(name).filter(|found| found.is_object()) {
            probe(found);
        }
    }
}

fn probe(probe: &mut Value) {
    set(probe, "timeoutSeconds", 1);
    set(probe, "periodSeconds", 10);
    set(probe, "successThreshold", 1);
    set(probe, "failureThreshold", 3);
    if probe["httpGet"].is_object() {
        set(&mut probe["httpGet"], "scheme", "HTTP");
        set(&mut probe["httpGet"], "path", "/");
    }
}

/// The quality-of-service class by the containers' resources.
fn quality(spec: &Value) -> &'static str {
    let containers = || {
        let lists = ["initContainers", "containers"].into_iter();
        lists.flat_map(|list| spec[list].as_array().into_iter().flatten())
    };
    let amounts = |container: &Value, kind: &str| container["resources"][kind].clone();
    let empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
    if containers().all(|one| empty(&amounts(one, "limits")) && empty(&amounts(one, "requests"))) {
        return "BestEffort";
    }
    let guaranteed = |container: &Value| {
        let (limits, requests) = (amounts(container, "limits"), amounts(container, "requests"));
        ["cpu", "memory"].iter().all(|name| {
            !limits[name].is_null() && (requests[name].is_null() || requests[name] == limits[name])
        })
    };
    if containers().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_pod_follows_all_of_its_containers() {
        let all = json!({"cpu": "1", "memory": "1Gi"});
        let full = json!({"resources": {"limits": all, "requests": all}});
        let some = json!({"resources": {"requests": {"cpu": "100m"}}});
        let check = |init: &Value, own: &Value, expected: &str| {
            assert_eq!(quality(&json!({"initContainers": [init], "containers": [own]})), expected);
        };
        check(&json!({}), &json!({"resources": {}}), "BestEffort");
        check(&some, &json!({}), "Burstable");
        check(&some, &full, "Burstable");
        check(&full, &full, "Guaranteed");
        let mut pod = json!({"spec": {"containers": [{}]}});
        apply(&mut pod);
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
        pod["spec"]["initContainers"] = json!([some]);
        apply(&mut pod);
        assert_eq!(pod["status"]["qosClass"], "Burstable");
    }
}

//! Fields and kinds that are stored as on a cluster and have no effect here, as warnings.

use serde_json::Value;

use crate::resource::Resource;

/// Fields of a pod's specification, and what happens although they are set.
const OF_PODS: &[(&str, &str)] = &[
    ("/nodeSelector", "has no effect here: there is one node, and every pod runs on it"),
    ("/affinity", "has no effect here: there is one node, and every pod runs on it"),
    ("/topologySpreadConstraints", "has no effect here: there is one node"),
    ("/securityContext/fsGroup", "has no effect here: volumes can be written by every user"),
    ("/securityContext/sysctls", "has no effect here: the kernel's settings are the host's"),
    ("/runtimeClassName", "has no effect here: containers are processes of the host"),
    ("/priorityClassName", "has no effect here: no pod gives way to another"),
];

/// Fields of a Service's specification, and what happens although they are set.
const OF_SERVICES: &[(&str, &str)] = &[
    ("/externalIPs", "has no effect here: nothing is routed to these addresses"),
    ("/loadBalancerSourceRanges", "has no effect here: ports are bound on loopback addresses"),
];

/// Kinds of which nothing is read, and what happens although there is an object.
const KINDS: &[(&str, &str, &str)] = &[
    ("networking.k8s.io", "NetworkPolicy", "no connection is denied"),
    ("policy", "PodDisruptionBudget", "no eviction is refused"),
    ("", "PersistentVolume", "volumes are not provided"),
    ("", "PersistentVolumeClaim", "it is never bound, and pods that use it do not start"),
];

/// Warnings about an object, or fields of it, that have no effect.
pub fn warnings(resource: &Resource, object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let kind = (resource.group.as_str(), resource.kind.as_str());
    let stored = KINDS.iter().find(|(group, name, _)| kind == (*group, *name));
    if let Some((_, name, instead)) = stored {
        return vec![format!("{name} objects are stored and have no effect here: {instead}")];
    }
    match kind {
        ("", "Pod") => set(spec, "spec", OF_PODS),
        ("apps" | "batch" | "extensions", "CronJob") => {
            let path = "spec.jobTemplate.spec.template.spec";
            set(&spec["jobTemplate"]["spec"]["template"]["spec"], path, OF_PODS)
        }
        ("apps" | "batch" | "extensions", _) => {
            set(&spec["template"]["spec"], "spec.template.spec", OF_PODS)
        }
        ("", "Service") => {
            let mut found = set(spec, "spec", OF_SERVICES);
            if spec["sessionAffinity"] == "ClientIP" {
                found.push(
                    "spec.sessionAffinity: ClientIP has no effect here: connections are spread \
                     over all endpoints"
                        .to_owned(),
                );
            }
            found
        }
        _ => Vec::new(),
    }
}

fn set(spec: &Value, path: &str, fields: &[(&str, &str)]) -> Vec<String> {
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let fields = fields.iter().filter(|(pointer, _)| spec.pointer(pointer).is_some_and(is_set));
    fields
        .map(|(pointer, instead)| format!("{path}{}: {instead}", pointer.replace('/', ".")))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    #[test]
    fn kinds_that_are_only_stored_say_so() {
        let registry = Registry::built_in();
        for (group, kind, instead) in KINDS {
            let resource = registry.all().find(|one| one.group == *group && one.kind == *kind);
            let found = warnings(resource.unwrap(), &json!({"spec": {}}));
            assert_eq!(found.len(), 1, "{kind}");
            assert!(found[0].contains(instead) && found[0].starts_with(kind), "{found:?}");
        }
        let roles = registry.find("rbac.authorization.k8s.io", "roles").unwrap();
        assert!(warnings(&roles, &json!({})).is_empty());
    }

    #[test]
    fn what_has_no_effect_is_named_where_it_stands() {
        let check = |group: &str, plural: &str, spec: Value, expected: &str| {
            let resource = Registry::built_in().find(group, plural).unwrap();
            let found = warnings(&resource, &json!({"spec": spec})).join("\n");
            assert!(
                found.starts_with(expected) && found.is_empty() == expected.is_empty(),
                "{found}"
            );
        };
        let pod = json!({"nodeSelector": {"disk": "ssd"}, "securityContext": {}});
        check("", "pods", pod, "spec.nodeSelector: has no effect here");
        let pod = json!({"securityContext": {"fsGroup": 2000}, "nodeSelector": {}});
        check(
            "apps",
            "deployments",
            json!({"template": {"spec": pod}}),
            "spec.template.spec.securityContext.fsGroup: has no effect here",
        );
        check("", "services", json!({"sessionAffinity": "None"}), "");
        check(
            "",
            "services",
            json!({"sessionAffinity": "ClientIP"}),
            "spec.sessionAffinity: ClientIP has no effect",
        );
    }
}

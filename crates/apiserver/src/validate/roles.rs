//! What roles and their bindings have to be.

use serde_json::Value;
use weft_controllers::object::items;

use super::{causes::Causes, names};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a Role or ClusterRole.
pub fn role(kind: &str, object: &Value, causes: &mut Causes) {
    for (index, rule) in items(&object["rules"]).enumerate() {
        let field = |name: &str| format!("rules[{index}].{name}");
        let has = |name: &str| items(&rule[name]).next().is_some();
        if !has("verbs") {
            causes.required(field("verbs"), "verbs must contain at least one value");
        }
        if has("nonResourceURLs") {
            let urls = &rule["nonResourceURLs"];
            if kind == "Role" {
                let rule = "namespaced rules cannot apply to non-resource URLs";
                causes.invalid(field("nonResourceURLs"), urls, rule);
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                let rule = "rules cannot apply to both regular resources and non-resource URLs";
                causes.invalid(field("nonResourceURLs"), urls, rule);
            }
            continue;
        }
        if !has("apiGroups") {
            let message = "resource rules must supply at least one api group";
            causes.required(field("apiGroups"), message);
        }
        if !has("resources") {
            let message = "resource rules must supply at least one resource";
            causes.required(field("resources"), message);
        }
    }
}

/// Checks a RoleBinding or ClusterRoleBinding.
pub fn binding(kind: &str, object: &Value, causes: &mut Causes) {
    let role = &object["roleRef"];
    causes.one_of("roleRef.apiGroup", &role["apiGroup"], &[GROUP]);
    let kinds: &[&str] =
        if kind == "RoleBinding" { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    match role["kind"].as_str() {
        None => causes.one_of("roleRef.kind", &"".into(), kinds),
        Some(_) => causes.one_of("roleRef.kind", &role["kind"], kinds),
    }
    causes.named("roleRef.name", &role["name"], names::path_segment);
    for (index, subject) in items(&object["subjects"]).enumerate() {
        let field = |name: &str| format!("subjects[{index}].{name}");
        causes.named(field("name"), &subject["name"], |_| None);
        match subject["kind"].as_str().unwrap_or_default() {
            "ServiceAccount" => {
                causes.one_of(field("apiGroup"), &subject["apiGroup"], &[""]);
                let namespace = subject["namespace"].as_str().unwrap_or_default();
                if namespace.is_empty() && kind == "ClusterRoleBinding" {
                    causes.required(field("namespace"), "");
                }
            }
            "User" | "Group" => causes.one_of(field("apiGroup"), &subject["apiGroup"], &[GROUP]),
            other => {
                let kinds = ["ServiceAccount", "User", "Group"];
                causes.one_of(field("kind"), &other.into(), &kinds);
            }
        }
    }
}

//! Role-based access control: which rules are bound to a caller, and what they allow.
//!
//! Reads Roles, ClusterRoles and their bindings from the store at each question,
//! so a binding counts from the moment it is stored.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_api::selector;
use weft_controllers::object::{self, items};

use super::{Attempt, User};
use crate::store::Store;

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// The rules that are bound to a caller, for the whole cluster and for one namespace.
pub fn of<'a>(
    store: &'a Store,
    user: &'a User,
    namespace: &'a str,
) -> impl Iterator<Item = Value> + 'a {
    let everywhere = list(store, "clusterrolebindings", None);
    let here = match namespace {
        "" => Vec::new(),
        namespace => list(store, "rolebindings", Some(namespace)),
    };
    let bound = everywhere.into_iter().chain(here).filter(move |binding| {
        items(&binding["subjects"])
            .any(|subject| is_meant(subject, user, object::namespace(binding)))
    });
    bound.flat_map(move |binding| {
        of_role(store, &binding["roleRef"], object::namespace(&binding)).unwrap_or_default()
    })
}

fn list(store: &Store, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
    let resource = store.resource(GROUP, plural);
    resource.map(|resource| store.list(&resource, namespace).items).unwrap_or_default()
}

fn is_meant(subject: &Value, user: &User, within: &str) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => user.name == name,
        Some("Group") => user.groups.iter().any(|group| group == name),
        Some("ServiceAccount") => {
            let namespace = subject["namespace"].as_str().filter(|text| !text.is_empty());
            let namespace = namespace.unwrap_or(within);
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

/// The rules of a role that a binding in `namespace` refers to, if there is one.
pub(super) fn of_role(store: &Store, reference: &Value, namespace: &str) -> Option<Vec<Value>> {
    let name = reference["name"].as_str().unwrap_or_default();
    let (plural, within) = match reference["kind"].as_str() {
        Some("ClusterRole") => ("clusterroles", ""),
        Some("Role") => ("roles", namespace),
        _ => return None,
    };
    let roles = store.resource(GROUP, plural)?;
    let role = store.get(&roles, within, name)?;
    let selectors = &role["aggregationRule"]["clusterRoleSelectors"];
    if items(selectors).next().is_none() {
        return Some(items(&role["rules"]).cloned().collect());
    }
    // An aggregated role is what its selectors select, whatever it says itself.
    let chosen = |other: &Arc<Value>| {
        let labels = &other["metadata"]["labels"];
        object::name(other) != name && items(selectors).any(|one| selector::matches(one, labels))
    };
    let all = list(store, "clusterroles", None).into_iter().filter(chosen);
    Some(all.flat_map(|other| items(&other["rules"]).cloned().collect::<Vec<_>>()).collect())
}

/// Whether a rule allows an attempt.
pub fn covers(rule: &Value, attempt: &Attempt) -> bool {
    let has = |list: &str, wanted: &str| items(&rule[list]).any(|one| one == wanted || one == "*");
    if !has("verbs", &attempt.verb) {
        return false;
    }
    if attempt.plural.is_empty() {
        return items(&rule["nonResourceURLs"]).filter_map(Value::as_str).any(
            |pattern| match pattern.strip_suffix('*') {
                Some(beginning) => attempt.path.starts_with(beginning),
                None => attempt.path == pattern,
            },
        );
    }
    let any_of_subresource = format!("*/{}", attempt.subresource);
    let resource = attempt.resource();
    let names = &rule["resourceNames"];
    has("apiGroups", &attempt.group)
        && (has("resources", &resource)
            || !attempt.subresource.is_empty() && has("resources", &any_of_subresource))
        && (items(names).next().is_none() || items(names).any(|one| one == attempt.name.as_str()))
}

/// What a caller may do in a namespace, as the status of a review of its rules.
pub fn told(store: &Store, user: &User, namespace: &str) -> Value {
    let all = json!(["*"]);
    let everything = [
        json!({"verbs": all, "apiGroups": all, "resources": all}),
        json!({"verbs": all, "nonResourceURLs": all}),
    ];
    let master = if user.is_master() { everything.to_vec() } else { Vec::new() };
    let rules = of(store, user, namespace).chain(master);
    let (paths, resources): (Vec<Value>, Vec<Value>) =
        rules.partition(|rule| rule["nonResourceURLs"].is_array());
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}

/// The roles and bindings that every cluster has: group, plural and object.
pub fn defaults() -> Vec<(&'static str, Value)> {
    let role = |name: &str, rules: Value| {
        ("clusterroles", json!({"metadata": {"name": name}, "rules": rules}))
    };
    let binding = |name: &str, groups: &[&str]| {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|group| json!({"kind": "Group", "apiGroup": GROUP, "name": group}))
            .collect();
        let role = json!({"kind": "ClusterRole", "apiGroup": GROUP, "name": name});
        (
            "clusterrolebindings",
            json!({"metadata": {"name": name}, "roleRef": role, "subjects": subjects}),
        )
    };
    let all = json!(["*"]);
    let read = json!(["get", "list", "watch"]);
    let write = json!(["create", "delete", "deletecollection", "patch", "update"]);
    let plain = json!([
        "bindings",
        "configmaps",
        "endpoints",
        "events",
        "namespaces",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "replicationcontrollers",
        "resourcequotas",
        "serviceaccounts",
        "services",
        "services/status",
    ]);
    let groups =
        json!(["apps", "autoscaling", "batch", "discovery.k8s.io", "networking.k8s.io", "policy"]);
    let looking = json!([
        {"apiGroups": [""], "resources": plain, "verbs": read},
        {"apiGroups": groups, "resources": ["*"], "verbs": read},
    ]);
    let mut editing = looking.as_array().cloned().unwrap_or_default();
    editing.extend([
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": read}),
        json!({"apiGroups": [""], "resources": ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"],
               "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]}),
        json!({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}),
        json!({"apiGroups": [""], "verbs": write, "resources": [
            "configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "pods/eviction",
            "replicationcontrollers", "secrets", "serviceaccounts", "serviceaccounts/token", "services"]}),
        json!({"apiGroups": groups, "resources": ["*"], "verbs": write}),
    ]);
    let mut administering = editing.clone();
    administering.push(json!({"apiGroups": [GROUP], "resources": ["rolebindings", "roles"],
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]}));
    let paths = json!([
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/"
    ]);
    let public = json!(["/healthz", "/livez", "/readyz", "/version", "/version/"]);
    vec![
        role(
            "cluster-admin",
            json!([
                {"apiGroups": all, "resources": all, "verbs": all}, {"nonResourceURLs": all, "verbs": all},
            ]),
        ),
        role("admin", administering.into()),
        role("edit", editing.into()),
        role("view", looking),
        role("system:discovery", json!([{"nonResourceURLs": paths, "verbs": ["get"]}])),
        role("system:public-info-viewer", json!([{"nonResourceURLs": public, "verbs": ["get"]}])),
        role(
            "system:basic-user",
            json!([
                {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"],
                 "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
                {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
            ]),
        ),
        role(
            "system:auth-delegator",
            json!([
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
                {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
            ]),
        ),
        binding("cluster-admin", &["system:masters"]),
        binding("system:discovery", &["system:authenticated"]),
        binding("system:basic-user", &["system:authenticated"]),
        binding("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
    ]
}

#[cfg(test)]
pub(super) mod tests;

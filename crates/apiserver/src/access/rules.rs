//! Role-based access control: which rules are bound to a caller, and what they allow.
//!
//! Reads Roles, ClusterRoles and their bindings from the store at each question,
//! so a binding counts from the moment it is stored.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use weft_controllers::{
    object::{self, items},
    selector,
};

use super::{Attempt, User};
use crate::{status::Status, store::Store};

const GROUP: &str = "rbac.authorization.k8s.io";

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
        role_rules(store, &binding["roleRef"], object::namespace(&binding))
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

/// The rules of a role that a binding in `namespace` refers to.
fn role_rules(store: &Store, reference: &Value, namespace: &str) -> Vec<Value> {
    let name = reference["name"].as_str().unwrap_or_default();
    let (plural, within) = match reference["kind"].as_str() {
        Some("ClusterRole") => ("clusterroles", ""),
        Some("Role") => ("roles", namespace),
        _ => return Vec::new(),
    };
    let role = store.resource(GROUP, plural).and_then(|roles| store.get(&roles, within, name));
    let Some(role) = role else { return Vec::new() };
    let selectors = &role["aggregationRule"]["clusterRoleSelectors"];
    if items(selectors).next().is_none() {
        return items(&role["rules"]).cloned().collect();
    }
    // An aggregated role is what its selectors select, whatever it says itself.
    let chosen = |other: &Arc<Value>| {
        let labels = &other["metadata"]["labels"];
        object::name(other) != name && items(selectors).any(|one| selector::matches(one, labels))
    };
    let all = list(store, "clusterroles", None).into_iter().filter(chosen);
    all.flat_map(|other| items(&other["rules"]).cloned().collect::<Vec<_>>()).collect()
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

/// Refuses a write of a role or a binding that grants more than its author may do.
///
/// The verbs `escalate` and `bind` allow it, as on a cluster.
pub fn check_grant(store: &Store, user: &User, object: &Value) -> Result<(), Status> {
    let (kind, namespace) = (object::kind(object), object::namespace(object));
    let (verb, plural, name, granted) = match kind {
        "Role" | "ClusterRole" => {
            let plural = if kind == "Role" { "roles" } else { "clusterroles" };
            // What is aggregated later is not known now, and may be anything.
            let rules = match object["aggregationRule"].is_null() {
                true => items(&object["rules"]).cloned().collect(),
                false => vec![json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})],
            };
            ("escalate", plural, object::name(object), rules)
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let role = &object["roleRef"];
            let plural = if role["kind"] == "Role" { "roles" } else { "clusterroles" };
            let name = role["name"].as_str().unwrap_or_default();
            ("bind", plural, name, role_rules(store, role, namespace))
        }
        _ => return Ok(()),
    };
    let attempt = Attempt {
        verb: verb.into(),
        group: GROUP.into(),
        plural: plural.into(),
        name: name.into(),
        namespace: namespace.into(),
        ..Attempt::default()
    };
    if super::is_allowed(store, user, &attempt) {
        return Ok(());
    }
    let own: Vec<Value> = of(store, user, namespace).collect();
    let missing: BTreeSet<String> = granted
        .iter()
        .flat_map(single)
        .filter(|attempt| !own.iter().any(|rule| covers(rule, attempt)))
        .map(|attempt| describe(&attempt))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.into_iter().collect();
    let (object, who) = (object::name(object), &user.name);
    let what = format!(
        "user {who:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.groups,
        missing.join("\n")
    );
    let plural = format!("{}s", kind.to_lowercase());
    Err(Status::forbidden_to(GROUP, &plural, object, &what))
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

/// Each single thing that a rule allows; `*` stands for itself.
fn single(rule: &Value) -> Vec<Attempt> {
    let texts = |field: &str| -> Vec<String> {
        items(&rule[field]).filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let or_nothing = |list: Vec<String>| if list.is_empty() { vec![String::new()] } else { list };
    let mut all = Vec::new();
    for verb in texts("verbs") {
        for path in texts("nonResourceURLs") {
            all.push(Attempt { verb: verb.clone(), path, ..Attempt::default() });
        }
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                for name in or_nothing(texts("resourceNames")) {
                    let (plural, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
                    all.push(Attempt {
                        verb: verb.clone(),
                        group: group.clone(),
                        plural: plural.to_owned(),
                        subresource: subresource.to_owned(),
                        name,
                        ..Attempt::default()
                    });
                }
            }
        }
    }
    all
}

fn describe(attempt: &Attempt) -> String {
    match attempt.plural.as_str() {
        "" => format!("{{NonResourceURLs:[{:?}], Verbs:[{:?}]}}", attempt.path, attempt.verb),
        _ => format!(
            "{{APIGroups:[{:?}], Resources:[{:?}], Verbs:[{:?}]}}",
            attempt.group,
            attempt.resource(),
            attempt.verb
        ),
    }
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
mod tests;

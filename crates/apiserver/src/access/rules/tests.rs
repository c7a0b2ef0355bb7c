//! Roles and bindings in a store, and what they allow.

use serde_json::{Value, json};

use super::*;
use crate::bootstrap;

/// A store with roles: `blue` has a Role `reader` bound to its account `web`.
pub(in crate::access) fn store() -> Store {
    let store = Store::new();
    bootstrap::prepare(&store);
    let make = |group: &str, plural: &str, object: Value| {
        store.create(&store.resource(group, plural).unwrap(), object).unwrap();
    };
    make("", "namespaces", json!({"metadata": {"name": "blue"}}));
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["own"], "verbs": ["get"]},
    ]);
    make(
        GROUP,
        "roles",
        json!({"metadata": {"name": "reader", "namespace": "blue"}, "rules": rules}),
    );
    let subject = json!({"kind": "ServiceAccount", "name": "web"});
    make(
        GROUP,
        "rolebindings",
        json!({"metadata": {"name": "reader", "namespace": "blue"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "reader"}, "subjects": [subject]}),
    );
    let subject = json!({"kind": "ServiceAccount", "name": "editor", "namespace": "blue"});
    make(
        GROUP,
        "clusterrolebindings",
        json!({"metadata": {"name": "editor"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"}, "subjects": [subject]}),
    );
    store
}

pub(in crate::access) fn account(name: &str) -> User {
    User {
        name: format!("system:serviceaccount:blue:{name}"),
        groups: vec!["system:serviceaccounts".into(), "system:authenticated".into()],
        ..User::default()
    }
}

/// A verb and a resource (`group/plural:subresource`), a namespace and a name.
fn attempt(text: &str) -> Attempt {
    let mut words = text.split(' ').map(|word| word.trim_matches('-').to_owned());
    let mut next = || words.next().unwrap_or_default();
    let (verb, resource) = (next(), next());
    if resource.starts_with('/') {
        return Attempt { verb, path: resource, ..Attempt::default() };
    }
    let (plural, subresource) = resource.split_once(':').unwrap_or((&resource, ""));
    let (group, plural) = plural.rsplit_once('/').unwrap_or(("", plural));
    Attempt {
        verb,
        group: group.to_owned(),
        plural: plural.to_owned(),
        subresource: subresource.to_owned(),
        namespace: next(),
        name: next(),
        path: String::new(),
    }
}

#[test]
fn accounts_may_do_what_is_bound_to_them_and_no_more() {
    let store = store();
    let check = |name: &str, text: &str, expected: bool| {
        let allowed = super::super::is_allowed(&store, &account(name), &attempt(text));
        assert_eq!(allowed, expected, "{name}: {text}");
    };
    check("web", "list pods blue", true);
    check("web", "get pods:log blue p", true);
    check("web", "get pods:exec blue p", false);
    check("web", "list pods green", false);
    check("web", "list pods", false);
    check("web", "get configmaps blue own", true);
    check("web", "get configmaps blue other", false);
    check("web", "list configmaps blue", false);
    check("web", "get secrets blue", false);
    check("web", "get /apis/apps", true);
    check("web", "get /metrics", false);
    check("web", "create authorization.k8s.io/selfsubjectaccessreviews", true);
    check("web", "create authentication.k8s.io/tokenreviews", false);
    check("editor", "create apps/deployments green d", true);
    check("editor", "create pods:exec green p", true);
    check("editor", "create nodes", false);
    check("editor", "create rbac.authorization.k8s.io/roles blue", false);
    let nobody = User {
        name: "system:anonymous".into(),
        groups: vec!["system:unauthenticated".into()],
        ..User::default()
    };
    assert!(super::super::is_allowed(&store, &nobody, &attempt("get /version")));
    assert!(!super::super::is_allowed(&store, &nobody, &attempt("get /api")));
}

#[test]
fn the_refusal_reads_as_on_a_cluster() {
    let store = store();
    let said = |text: &str| {
        super::super::authorize(&store, &account("web"), &attempt(text)).unwrap_err().message
    };
    assert_eq!(
        said("delete apps/deployments blue d"),
        "deployments.apps \"d\" is forbidden: User \"system:serviceaccount:blue:web\" cannot delete \
         resource \"deployments\" in API group \"apps\" in the namespace \"blue\""
    );
    assert_eq!(
        said("get /metrics"),
        "forbidden: User \"system:serviceaccount:blue:web\" cannot get path \"/metrics\""
    );
}

#[test]
fn aggregated_roles_are_what_they_select() {
    let store = store();
    let roles = store.resource(GROUP, "clusterroles").unwrap();
    let rules = json!([{"apiGroups": ["x"], "resources": ["ys"], "verbs": ["get"]}]);
    let labels = json!({"to": "sum"});
    store
        .create(&roles, json!({"metadata": {"name": "part", "labels": labels}, "rules": rules}))
        .unwrap();
    let selectors = json!([{"matchLabels": labels}]);
    let sum = json!({"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": selectors}});
    store.create(&roles, sum).unwrap();
    let reference = json!({"kind": "ClusterRole", "name": "sum"});
    assert_eq!(of_role(&store, &reference, ""), rules.as_array().cloned());
}

//! What may be granted, and what it costs to find out.

use serde_json::{Value, json};

use super::*;
use crate::access::rules::tests::{account, store};

fn role(rules: Value) -> Value {
    let metadata = json!({"name": "r", "namespace": "blue"});
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Role", "metadata": metadata, "rules": rules})
}

fn binding(kind: &str, role: (&str, &str)) -> Value {
    let mut binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": "b"},
        "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}, "subjects": [],
    });
    if kind == "RoleBinding" {
        binding["metadata"]["namespace"] = "blue".into();
    }
    binding
}

#[test]
fn nobody_grants_more_than_they_have() {
    let store = store();
    let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    assert_eq!(check(&store, &account("web"), &role(pods), None), Ok(()));
    let refused = check(&store, &account("web"), &role(all.clone()), None).unwrap_err();
    assert!(
        refused.message.contains("attempting to grant RBAC permissions not currently held"),
        "{refused}"
    );
    let binding = binding("ClusterRoleBinding", ("ClusterRole", "cluster-admin"));
    assert!(check(&store, &account("editor"), &binding, None).is_err());
    assert_eq!(check(&store, &User::controllers(), &role(all), None), Ok(()));
}

#[test]
fn a_refusal_reads_as_a_clusters() {
    let store = store();
    let mixed = json!([
        {"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get", "list", "delete"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["own", "other"],
         "verbs": ["get"]},
    ]);
    let refused = check(&store, &account("web"), &role(mixed), None).unwrap_err();
    let lines: Vec<&str> = refused.message.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            r#"{APIGroups:[""], Resources:["configmaps"], ResourceNames:["other"], Verbs:["get"]}"#,
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
            r#"{APIGroups:[""], Resources:["pods/exec"], Verbs:["get" "list" "delete"]}"#,
        ]
    );
    let paths = json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get", "post"]}]);
    let mut cluster_role = role(paths);
    cluster_role["kind"] = "ClusterRole".into();
    let said = check(&store, &account("web"), &cluster_role, None).unwrap_err().message;
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/metrics"], Verbs:["post"]}"#,
        ]
    );
    let beginning = "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \
                     \"system:serviceaccount:blue:web\" (groups=[\"system:serviceaccounts\" \
                     \"system:authenticated\"]) is attempting to grant";
    assert!(refused.message.starts_with(beginning), "{refused}");
}

#[test]
fn a_role_that_does_not_exist_is_bound_only_by_those_who_may_bind_it() {
    let store = store();
    let future = binding("RoleBinding", ("Role", "later"));
    let refused = check(&store, &account("web"), &future, None).unwrap_err();
    let expected = "rolebindings.rbac.authorization.k8s.io \"later\" not found";
    assert_eq!((refused.code, refused.message.as_str()), (404, expected));
    assert_eq!(check(&store, &User::controllers(), &future, None), Ok(()));

    let make = |plural: &str, object: Value| {
        store.create(&store.resource(GROUP, plural).unwrap(), object).unwrap();
    };
    let rules = json!([{"apiGroups": [GROUP], "resources": ["roles"], "resourceNames": ["later"],
                        "verbs": ["bind"]}]);
    make("roles", json!({"metadata": {"name": "binder", "namespace": "blue"}, "rules": rules}));
    let subject = json!({"kind": "ServiceAccount", "name": "web"});
    make(
        "rolebindings",
        json!({"metadata": {"name": "binder", "namespace": "blue"},
               "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "binder"}, "subjects": [subject]}),
    );
    assert_eq!(check(&store, &account("web"), &future, None), Ok(()));
    let other = binding("RoleBinding", ("Role", "other"));
    assert_eq!(check(&store, &account("web"), &other, None).unwrap_err().code, 404);
}

#[test]
fn an_update_that_grants_no_new_right_is_free() {
    let store = store();
    let mut old = binding("RoleBinding", ("ClusterRole", "cluster-admin"));
    old["metadata"]["finalizers"] = json!(["a.example/b"]);
    old["metadata"]["resourceVersion"] = "7".into();
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!([]);
    assert_eq!(check(&store, &account("web"), &new, Some(&old)), Ok(()));
    new["subjects"] = json!([{"kind": "ServiceAccount", "name": "web"}]);
    assert_eq!(check(&store, &account("web"), &new, Some(&old)).unwrap_err().code, 403);
}

#[test]
fn only_an_administrator_aggregates() {
    let store = store();
    let selectors = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]});
    let sum = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
                     "metadata": {"name": "sum"}, "aggregationRule": selectors});
    let refused = check(&store, &account("editor"), &sum, None).unwrap_err();
    assert!(refused.message.contains("must have cluster-admin privileges"), "{refused}");
    let mut plain = sum.clone();
    plain["aggregationRule"] = Value::Null;
    assert!(check(&store, &account("editor"), &plain, Some(&sum)).is_err(), "nor ends it");
    assert_eq!(check(&store, &account("editor"), &plain, None), Ok(()));
}

/// Steps of the search for what `own` lacks of `granted`, and how many it names.
fn cost(own: &[Value], granted: &Value) -> (usize, usize) {
    let mut search = Search::default();
    search.rule(&GrantedRules::of(own), granted).unwrap();
    (search.steps, search.missing.lines().len())
}

#[test]
fn long_lists_cost_their_length_and_not_their_product() {
    let many =
        |prefix: &str| -> Vec<String> { (0..2_000).map(|one| format!("{prefix}{one}")).collect() };
    let (groups, resources, verbs) = (many("g"), many("r"), many("v"));
    let granted = json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let wide = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    assert_eq!(cost(std::slice::from_ref(&wide), &granted), (1, 0));
    let half = json!({"apiGroups": groups, "resources": resources[..1_000], "verbs": ["*"]});
    let rest = json!({"apiGroups": groups[1..], "resources": resources[1_000..], "verbs": verbs});
    let (steps, named) = cost(&[half.clone(), rest], &granted);
    assert!(steps < 50 && named == missing::MOST_NAMED, "{steps} steps, {named} named");
    // Covered by several rules together, of which none has it all.
    let rest = json!({"apiGroups": ["*"], "resources": resources[1_000..], "verbs": verbs});
    let (steps, named) = cost(&[half, rest], &granted);
    assert!(steps < 50 && named == 0, "{steps} steps, {named} named");
}

#[test]
fn what_is_too_mixed_to_be_checked_is_refused() {
    let names =
        |prefix: &str| -> Vec<String> { (0..64).map(|one| format!("{prefix}{one}")).collect() };
    let (groups, resources, verbs) = (names("g"), names("r"), names("v"));
    let granted = json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    // Each own rule lacks one element of each list, so that each element is a class.
    let without = |list: &[String], at: usize| -> Vec<String> {
        list.iter()
            .enumerate()
            .filter(|(index, _)| *index != at)
            .map(|(_, one)| one.clone())
            .collect()
    };
    let own: Vec<Value> = (0..64)
        .map(|at| {
            json!({"apiGroups": without(&groups, at), "resources": without(&resources, at),
                   "verbs": without(&verbs, at)})
        })
        .collect();
    let refused = Search::default().rule(&GrantedRules::of(&own), &granted).unwrap_err();
    assert!(refused.contains("split it"), "{refused}");
}

#[test]
fn paths_and_subresources_are_covered_by_patterns() {
    let covered = |own: Value, granted: Value| cost(&[own], &granted).1 == 0;
    let paths = |paths: &[&str]| json!({"nonResourceURLs": paths, "verbs": ["get"]});
    assert!(covered(paths(&["/api*", "/healthz"]), paths(&["/api/v1", "/api*", "/healthz"])));
    assert!(!covered(paths(&["/api/*"]), paths(&["/api*"])));
    assert!(covered(paths(&["*"]), paths(&["*", "/metrics"])));
    let resources = |resources: &[&str]| json!({"apiGroups": ["apps"], "resources": resources, "verbs": ["get"]});
    assert!(covered(resources(&["*/scale"]), resources(&["deployments/scale"])));
    assert!(!covered(resources(&["*/scale"]), resources(&["deployments"])));
    assert!(!covered(resources(&["deployments"]), resources(&["*"])));
    let named = |names: &[&str]| json!({"apiGroups": ["apps"], "resources": ["x"], "resourceNames": names, "verbs": ["get"]});
    assert!(covered(named(&[]), named(&["a"])) && covered(named(&["a", "b"]), named(&["a"])));
    assert!(!covered(named(&["a"]), named(&[])) && !covered(named(&["*"]), named(&["a"])));
}

//! Clients that send little to make the server do or keep much, or more than they may.

use http::Method;
use serde_json::{Value, json};
use weft_apiserver::TokenRequest;

use crate::client::{Answer, World, request};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON_PATCH: &str = "application/json-patch+json";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn repeat(times: usize, operation: &Value) -> Value {
    vec![operation.clone(); times].into()
}

#[tokio::test]
async fn a_json_patch_that_nests_or_doubles_is_refused() {
    let world = World::start().await;
    let data = json!({"a": "x".repeat(1000)});
    world.post(MAPS, &json!({"metadata": {"name": "m"}, "data": data})).await;
    let path = format!("{MAPS}/m?dryRun=All");
    let nest = json!({"op": "copy", "from": "/data", "path": "/data/b"});
    let answer = world.patch(&path, JSON_PATCH, &repeat(9000, &nest)).await;
    assert_eq!(answer.code, 422, "{}", answer.body);
    let double =
        |step: usize| json!({"op": "copy", "from": "/data", "path": format!("/data/k{step}")});
    let answer = world.patch(&path, JSON_PATCH, &(0..24).map(double).collect()).await;
    assert_eq!(answer.code, 422, "{}", answer.body);
    let test = json!({"op": "test", "path": "/data", "value": 1});
    let answer = world.patch(&path, JSON_PATCH, &repeat(10_001, &test)).await;
    assert_eq!(answer.code, 413, "{}", answer.body);
}

/// How deep a text of JSON is.
fn depth(text: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' => now += 1,
            b'}' | b']' => now -= 1,
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

/// Readers of JSON take 127 levels; a list that holds one object too many levels deep is
/// no list to them.
#[tokio::test]
async fn no_object_makes_a_list_too_deep_for_its_readers() {
    let world = World::start().await;
    let deep = |levels| (0..levels).fold(json!({}), |inside, _| json!({"f:a": inside}));
    for levels in [60, 68, 100, 118, 120, 121, 122] {
        let entry = json!({"manager": "m", "operation": "Apply", "apiVersion": "v1",
                           "fieldsType": "FieldsV1", "fieldsV1": deep(levels)});
        let map = json!({"metadata": {"name": format!("m{levels}"), "managedFields": [entry]}});
        let code = world.post(MAPS, &map).await.code;
        assert_eq!(code, if levels < 72 { 201 } else { 400 }, "{levels}");
    }
    let list = world.get(MAPS).await;
    assert!(depth(&list.body) < 100, "{}", depth(&list.body));
    assert_eq!(list.json()["kind"], "ConfigMapList");
    let text = json!({"metadata": {"name": "t", "managedFields": [{"fieldsV1": "text"}]}});
    let answer = world.post(MAPS, &text).await;
    assert!(answer.code == 400 && answer.body.contains("of type v1.FieldsV1"), "{}", answer.body);
}

async fn delete(world: &World, path: &str, options: &Value) -> Answer {
    world.call(request(Method::DELETE, path, "application/json", &options.to_string())).await
}

#[tokio::test]
async fn a_grace_period_is_a_number_that_clients_can_read() {
    let world = World::start().await;
    let mut lasting = pod("p");
    lasting["metadata"]["finalizers"] = json!(["a.example/b"]);
    world.post(PODS, &lasting).await;
    for number in ["18446744073709551615", "9223372036854775808"] {
        let path = format!("{PODS}/p?gracePeriodSeconds={number}");
        assert_eq!(delete(&world, &path, &json!({})).await.code, 400, "{number}");
        let options: Value =
            serde_json::from_str(&format!(r#"{{"gracePeriodSeconds":{number}}}"#)).unwrap();
        let answer = delete(&world, &format!("{PODS}/p"), &options).await;
        assert!(answer.code == 400 && answer.body.contains("of type int64"), "{}", answer.body);
        let eviction = json!({"metadata": {"name": "p"}, "deleteOptions": options});
        let answer = world.post(&format!("{PODS}/p/eviction"), &eviction).await;
        assert_eq!(answer.code, 400, "{}", answer.body);
    }
    let most =
        delete(&world, &format!("{PODS}/p?gracePeriodSeconds={}", i64::MAX), &json!({})).await;
    assert_eq!(most.code, 200, "{}", most.body);
    let sooner = delete(&world, &format!("{PODS}/p?gracePeriodSeconds=-7"), &json!({})).await;
    assert_eq!(sooner.code, 200, "{}", sooner.body);
}

fn role(verbs: &[&str]) -> Value {
    json!({"metadata": {"name": "r"}, "rules": [
        {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": verbs}]})
}

/// A token of an account that has these verbs in the namespace default.
async fn token(world: &World, verbs: &[&str]) -> String {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = world.post(accounts, &json!({"metadata": {"name": "s"}})).await.json();
    world.post(&format!("{RBAC}/roles"), &role(verbs)).await;
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "default"}]});
    world.post(&format!("{RBAC}/rolebindings"), &binding).await;
    let wish = TokenRequest {
        namespace: "default".into(),
        account: "s".into(),
        account_uid: account["metadata"]["uid"].as_str().unwrap().to_owned(),
        pod: None,
        audiences: Vec::new(),
        lifetime: std::time::Duration::from_secs(600),
    };
    let now = std::time::SystemTime::now();
    world.authority.service_account_token(&wish, now).unwrap()
}

#[tokio::test]
async fn an_apply_that_makes_an_object_needs_the_right_to_create() {
    let world = World::start().await;
    let token = token(&world, &["get", "patch"]).await;
    let apply = |name: &str, data: &str| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                         "data": {"a": data}});
        let path = format!("{MAPS}/{name}?fieldManager=m");
        request(Method::PATCH, &path, "application/apply-patch+yaml", &map.to_string())
    };
    let refused = world.call_as(&token, apply("new", "1")).await;
    assert_eq!(refused.code, 403, "{}", refused.body);
    assert!(refused.body.contains("cannot create resource"), "{}", refused.body);
    assert_eq!(world.call(apply("new", "1")).await.code, 201);
    let changed = world.call_as(&token, apply("new", "1")).await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    let path = "/apis/apps/v1/namespaces/default/deployments/d/status?fieldManager=m";
    let media = "application/apply-patch+yaml";
    let answer = world.call(request(Method::PATCH, path, media, &status.to_string())).await;
    assert_eq!(answer.code, 404, "a status is of an object that there is: {}", answer.body);
}

#[tokio::test]
async fn a_token_is_bound_to_pods_of_its_account_only() {
    let world = World::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    for name in ["web", "other"] {
        world.post(accounts, &json!({"metadata": {"name": name}})).await;
    }
    let mut web = pod("p");
    web["spec"]["serviceAccountName"] = "web".into();
    let made = world.post(PODS, &web).await.json();
    let ask = async |account: &str, uid: &Value| {
        let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid});
        let wish = json!({"spec": {"audiences": ["a"], "boundObjectRef": bound}});
        world.post(&format!("{accounts}/{account}/token"), &wish).await
    };
    let uid = &made["metadata"]["uid"];
    assert_eq!(ask("web", uid).await.code, 201);
    assert_eq!(ask("web", &Value::Null).await.code, 201);
    let refused = ask("other", uid).await;
    assert!(
        refused.code == 400 && refused.body.contains("different serviceaccount"),
        "{}",
        refused.body
    );
    assert_eq!(ask("web", &"wrong".into()).await.code, 409);
}

#[tokio::test]
async fn the_status_of_a_new_pod_is_not_its_makers_to_say() {
    let world = World::start().await;
    let mut forged = pod("forged");
    forged["status"] = json!({"phase": "Running", "podIP": "127.0.0.1",
                              "conditions": [{"type": "Ready", "status": "True"}]});
    let made = world.post(PODS, &forged).await.json();
    assert_eq!(made["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let old = "/apis/extensions/v1beta1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("p")["spec"]});
    let deployment = json!({"metadata": {"name": "d"}, "status": {"readyReplicas": 7},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let made = world.post(old, &deployment).await;
    assert!(made.code == 201 && made.json()["status"]["readyReplicas"].is_null(), "{}", made.body);
    let patch = json!({"status": {"readyReplicas": 7}});
    let media = "application/merge-patch+json";
    let changed = world.patch(&format!("{old}/d"), media, &patch).await;
    assert!(changed.json()["status"]["readyReplicas"].is_null(), "{}", changed.body);
}

#[tokio::test]
async fn a_kind_that_is_called_like_a_built_in_one_is_just_stored() {
    let world = World::start().await;
    let definition = |group: &str| {
        json!({"metadata": {"name": format!("services.{group}")}, "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "services", "singular": "service", "kind": "Service"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
    };
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = world.post(definitions, &definition("serving.knative.dev")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let path = "/apis/serving.knative.dev/v1/namespaces/default/services";
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
                         "metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let made = world.post(path, &service).await;
    assert_eq!(made.json()["spec"], service["spec"], "{}", made.body);
    let patch = json!({"spec": {"type": null}});
    let media = "application/merge-patch+json";
    let changed = world.patch(&format!("{path}/s"), media, &patch).await.json();
    assert_eq!(changed["spec"], json!({"ports": [{"port": 80}]}));
    let undotted = world.post(definitions, &definition("apps")).await;
    assert!(
        undotted.code == 422 && undotted.body.contains("at least one dot"),
        "{}",
        undotted.body
    );
}

#[tokio::test]
async fn a_generated_name_is_cut_so_that_it_can_be_a_name() {
    let world = World::start().await;
    let prefix = "a".repeat(70);
    let made = world.post(MAPS, &json!({"metadata": {"generateName": prefix}})).await.json();
    assert_eq!(made["metadata"]["name"].as_str().map(str::len), Some(63), "{made}");
}

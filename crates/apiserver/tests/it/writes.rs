//! Writes as a client makes them, and what is said to wrong ones.

use http::Method;
use serde_json::{Value, json};

use crate::client::{World, request};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";

fn deployment(container: &Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}}})
}

fn container() -> Value {
    json!({"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}],
           "ports": [{"containerPort": 80}]})
}

/// POST, and the refusal's code and text.
async fn refusal(world: &World, path: &str, object: Value) -> (u16, String) {
    let answer = world.post(path, &object).await;
    (answer.code, answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn wrong_objects_are_refused_in_words() {
    let world = World::start().await;
    let map = |metadata: Value| json!({"metadata": metadata});
    let (code, text) = refusal(&world, MAPS, map(json!({}))).await;
    assert_eq!(code, 422);
    assert!(text.contains("name or generateName is required"), "{text}");
    let (code, text) = refusal(&world, MAPS, map(json!({"name": "Big"}))).await;
    assert!(code == 422 && text.contains("RFC 1123"), "{text}");
    let (code, text) = refusal(&world, MAPS, map(json!({"name": "a", "namespace": "b"}))).await;
    assert!(code == 400 && text.contains("does not match the namespace"), "{text}");
    let elsewhere = "/api/v1/namespaces/nowhere/configmaps";
    let (code, text) = refusal(&world, elsewhere, map(json!({"name": "a"}))).await;
    assert_eq!((code, text.as_str()), (404, "namespaces \"nowhere\" not found"));
    let mut bare = deployment(&container());
    bare["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    let (code, text) = refusal(&world, DEPLOYMENTS, bare).await;
    assert!(code == 422 && text.contains("does not match template"), "{text}");
    let answer = world.call(request(Method::POST, MAPS, "application/xml", "<a/>")).await;
    assert_eq!(answer.code, 415, "{}", answer.body);
}

#[tokio::test]
async fn an_unknown_field_is_refused_warned_about_or_ignored_as_wished() {
    let world = World::start().await;
    let mut odd = container();
    odd["imagee"] = "x".into();
    let path = |wish: &str| format!("{DEPLOYMENTS}?dryRun=All&fieldValidation={wish}");
    let strict = world.post(&path("Strict"), &deployment(&odd)).await;
    assert_eq!(strict.code, 400);
    assert!(strict.body.contains("spec.template.spec.containers[0].imagee"), "{}", strict.body);
    let warned = world.post(&path("Warn"), &deployment(&odd)).await;
    assert_eq!(warned.code, 201);
    assert!(warned.headers["warning"].to_str().unwrap().contains("imagee"));
    let ignored = world.post(&path("Ignore"), &deployment(&odd)).await;
    assert!(ignored.code == 201 && !ignored.headers.contains_key("warning"));
}

#[tokio::test]
async fn a_trial_answers_like_a_write_and_leaves_nothing() {
    let world = World::start().await;
    let path = format!("{MAPS}?dryRun=All");
    let made = world.post(&path, &json!({"metadata": {"generateName": "a-"}})).await;
    assert_eq!(made.code, 201);
    let name = made.json()["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.len() == 7 && name.starts_with("a-"), "{name}");
    assert_eq!(world.get(&format!("{MAPS}/{name}")).await.code, 404);
}

#[tokio::test]
async fn each_language_of_patches_does_what_it_says() {
    let world = World::start().await;
    world.post(DEPLOYMENTS, &deployment(&container())).await;
    let path = format!("{DEPLOYMENTS}/web");
    let strategic = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "c", "env": [{"name": "B", "value": "2"}], "ports": [{"containerPort": 81}]}]}}}});
    let media = "application/strategic-merge-patch+json";
    let answer = world.patch(&path, media, &strategic).await.json();
    let merged = &answer["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(merged["env"].as_array().unwrap().len(), 2);
    assert_eq!(merged["ports"].as_array().unwrap().len(), 2);
    let answer = world.patch(&path, MERGE, &json!({"spec": {"replicas": 3}})).await.json();
    assert_eq!(
        (&answer["spec"]["replicas"], &answer["metadata"]["generation"]),
        (&json!(3), &json!(3))
    );
    let wrong = json!([{"op": "test", "path": "/spec/replicas", "value": 9}]);
    let answer = world.patch(&path, "application/json-patch+json", &wrong).await;
    assert_eq!(answer.code, 422, "{}", answer.body);
    let apply =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 7}\n";
    let nameless = request(Method::PATCH, &path, "application/apply-patch+yaml", apply);
    assert_eq!(world.call(nameless).await.code, 400);
    let named = format!("{path}?fieldManager=me");
    let conflict =
        world.call(request(Method::PATCH, &named, "application/apply-patch+yaml", apply)).await;
    assert_eq!(conflict.code, 409);
    assert!(
        conflict.body.contains("conflict with \\\"it\\\" using apps/v1: .spec.replicas"),
        "{}",
        conflict.body
    );
    let forced = format!("{named}&force=true");
    let forced =
        world.call(request(Method::PATCH, &forced, "application/apply-patch+yaml", apply)).await;
    assert_eq!(forced.json()["spec"]["replicas"], 7, "{}", forced.body);
}

#[tokio::test]
async fn a_scale_is_read_and_written_apart_from_its_object() {
    let world = World::start().await;
    world.post(DEPLOYMENTS, &deployment(&container())).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let mut scale = world.get(&path).await.json();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    scale["spec"]["replicas"] = 5.into();
    scale["metadata"]["resourceVersion"] = "1".into();
    let put = |scale: &Value| request(Method::PUT, &path, "application/json", &scale.to_string());
    assert_eq!(world.call(put(&scale)).await.code, 409);
    scale["metadata"]["resourceVersion"] = Value::Null;
    assert_eq!(world.call(put(&scale)).await.json()["spec"]["replicas"], 5);
    let answer = world.patch(&path, MERGE, &json!({"spec": {"replicas": -1}})).await;
    assert_eq!(answer.code, 400, "{}", answer.body);
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let world = World::start().await;
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        world.post(MAPS, &json!({"metadata": {"name": name, "labels": {"app": label}}})).await;
    }
    let path = format!("{MAPS}?labelSelector=app%3Dx");
    let answer = world.call(request(Method::DELETE, &path, "", "")).await.json();
    assert_eq!(answer["items"].as_array().unwrap().len(), 2);
    assert_eq!(world.get(&format!("{MAPS}/c")).await.code, 200);
    let wish = json!({"preconditions": {"uid": "another"}}).to_string();
    let path = format!("{MAPS}/c");
    let refused = world.call(request(Method::DELETE, &path, "application/json", &wish)).await;
    assert_eq!(refused.code, 409, "{}", refused.body);
}

#[tokio::test]
async fn a_token_that_was_asked_for_is_known_until_its_account_goes() {
    let world = World::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    world.post(accounts, &json!({"metadata": {"name": "web"}})).await;
    let wish = json!({"spec": {"audiences": ["istio-ca"], "expirationSeconds": 600}});
    let made = world.post(&format!("{accounts}/web/token"), &wish).await.json();
    let token = &made["status"]["token"];
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let ask = json!({"spec": {"token": token, "audiences": ["istio-ca"]}});
    let known = world.post(reviews, &ask).await.json();
    assert_eq!(known["status"]["user"]["username"], "system:serviceaccount:default:web");
    let elsewhere = json!({"spec": {"token": token}});
    let unknown = world.post(reviews, &elsewhere).await.json();
    assert_eq!(unknown["status"]["authenticated"], false);
    world.call(request(Method::DELETE, &format!("{accounts}/web"), "", "")).await;
    assert_eq!(world.post(reviews, &ask).await.json()["status"]["authenticated"], false);
}

#[tokio::test]
async fn custom_resources_are_checked_and_pruned_by_their_schema() {
    let world = World::start().await;
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "required": ["host"], "properties": {"host": {"type": "string"}, "size": {"type": "integer", "default": 3}}}}});
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "names": {"plural": "things", "kind": "Thing"}, "scope": "Namespaced",
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let answer =
        world.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    let things = "/apis/example.com/v1/namespaces/default/things";
    let thing = |spec: Value| json!({"metadata": {"name": "t"}, "spec": spec});
    let (code, text) = refusal(&world, things, thing(json!({"host": 5}))).await;
    assert_eq!(code, 422);
    assert!(text.contains("spec.host in body must be of type string: \"integer\""), "{text}");
    let made = world.post(things, &thing(json!({"host": "a", "hots": "b"}))).await;
    assert_eq!(made.headers["warning"], "299 - \"unknown field \\\"spec.hots\\\"\"");
    assert_eq!(made.json()["spec"], json!({"host": "a", "size": 3}));
    let media = "application/strategic-merge-patch+json";
    let refused = world.patch(&format!("{things}/t"), media, &json!({})).await;
    assert_eq!(refused.code, 415, "{}", refused.body);
}

#[tokio::test]
async fn objects_come_in_the_form_of_their_kind_or_not_at_all() {
    let world = World::start().await;
    let mut empty = container();
    empty["command"] = Value::Null;
    empty["env"] = json!([{"name": "A", "value": null}]);
    let made = world.post(DEPLOYMENTS, &deployment(&empty)).await.json();
    let stored = &made["spec"]["template"]["spec"]["containers"][0];
    assert!(stored.get("command").is_none(), "{stored}");
    assert_eq!(stored["env"], json!([{"name": "A"}]));
    let odd = json!({"spec": {"template": {"spec": {"hostname": 123}}}});
    let refused = world.patch(&format!("{DEPLOYMENTS}/web"), MERGE, &odd).await;
    assert_eq!(refused.code, 400);
    assert_eq!(
        refused.json()["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal \
         number into Go struct field PodSpec.spec.template.spec.hostname of type string"
    );
}

#[tokio::test]
async fn sizes_are_bounded_as_on_a_cluster() {
    let world = World::start().await;
    let of =
        |size: usize| json!({"metadata": {"name": "big"}, "webhooks": [], "x": "x".repeat(size)});
    let (code, text) = refusal(&world, MAPS, of(3 << 20)).await;
    assert_eq!((code, text.as_str()), (413, "Request entity too large: limit is 3145728"));
    let args = vec!["x".repeat(100_000); 17];
    let pod = json!({"metadata": {"name": "bigger"}, "spec": {"containers": [
        {"name": "c", "image": "i", "args": args}]}});
    let (code, text) = refusal(&world, "/api/v1/namespaces/default/pods", pod).await;
    assert_eq!((code, text.as_str()), (500, "etcdserver: request is too large"));
}

#[tokio::test]
async fn a_namespace_may_ask_for_secure_pods() {
    let world = World::start().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted",
                        "pod-security.kubernetes.io/warn": "baseline"});
    world
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "safe", "labels": labels}}))
        .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container()]}});
    let (code, text) = refusal(&world, "/api/v1/namespaces/safe/pods", pod).await;
    assert_eq!(code, 403);
    let expected = "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": \
                    allowPrivilegeEscalation != false (container \"c\" must set";
    assert!(text.starts_with(expected), "{text}");
    let mut host = deployment(&container());
    host["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    let made = world.post("/apis/apps/v1/namespaces/safe/deployments", &host).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let warned = made.headers["warning"].to_str().unwrap();
    assert!(warned.contains("would violate PodSecurity"), "{warned}");
}

#[tokio::test]
async fn who_may_not_write_is_refused_before_the_body_is_read() {
    let world = World::start().await;
    let head = |rest: &str| {
        format!(
            "POST /api/v1/namespaces/default/pods HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n{rest}\r\n"
        )
    };
    assert_eq!(world.answer_to_head(&head("")).await, "HTTP/1.1 403");
    let unknown = head("authorization: Bearer nobody\r\n");
    assert_eq!(world.answer_to_head(&unknown).await, "HTTP/1.1 401");
}

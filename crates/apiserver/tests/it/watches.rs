//! Lists, watches, who may ask, and what is answered to a late watcher.

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use weft_apiserver::TokenRequest;

use crate::client::{World, request};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The events of a watch, one line each.
struct Lines {
    body: Incoming,
    rest: String,
}

impl Lines {
    async fn open(world: &World, path: &str) -> Self {
        let response = world.open(request(Method::GET, path, "", "")).await;
        assert_eq!(response.status(), 200, "{path}");
        Self { body: response.into_body(), rest: String::new() }
    }

    /// The next event: its type, the object's name, and the event.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        while !self.rest.contains('\n') {
            let frame = self.body.frame().await?.unwrap().into_data().unwrap();
            self.rest.push_str(std::str::from_utf8(&frame).unwrap());
        }
        let (line, rest) = self.rest.split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        self.rest = rest;
        let event: Value = serde_json::from_str(&line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some((text(&event["type"]), text(&event["object"]["metadata"]["name"]), event))
    }
}

fn map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": label}}})
}

async fn patch_label(world: &World, name: &str, label: &str) {
    let path = format!("{MAPS}/{name}");
    let patch = json!({"metadata": {"labels": {"app": label}}});
    let answer = world.patch(&path, "application/merge-patch+json", &patch).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
}

#[tokio::test]
async fn an_object_comes_into_view_and_leaves_it_by_its_label() {
    let world = World::start().await;
    let version =
        world.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{MAPS}?watch=true&labelSelector=app%3Dblue&resourceVersion={version}");
    let mut lines = Lines::open(&world, &path).await;
    world.post(MAPS, &map("a", "green")).await;
    patch_label(&world, "a", "blue").await;
    patch_label(&world, "a", "green").await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (kind, name, _) = lines.next().await.unwrap();
        seen.push((kind, name));
    }
    let expected =
        [("ADDED", "a"), ("DELETED", "a")].map(|(kind, name)| (kind.into(), name.into()));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watch_from_nothing_begins_with_what_is_there_and_says_where_that_ends() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "x")).await;
    let path = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da"
    );
    let mut lines = Lines::open(&world, &path).await;
    assert_eq!(lines.next().await.unwrap().1, "a");
    let (kind, _, event) = lines.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_watcher_that_comes_too_late_is_told_to_list_again_and_can_go_on() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "x")).await;
    let maps = world.store.resource("", "configmaps").unwrap();
    for number in 0..4_200 {
        let object = json!({"metadata": {"name": "a", "namespace": "default"}, "data": {"n": number.to_string()}});
        world.store.update(&maps, object).unwrap();
    }
    let mut late = Lines::open(&world, &format!("{MAPS}?watch=true&resourceVersion=2")).await;
    let (kind, _, event) = late.next().await.unwrap();
    assert_eq!((kind.as_str(), &event["object"]["code"]), ("ERROR", &json!(410)));
    assert!(late.next().await.is_none(), "the stream ends after the error");
    let listed = world.get(MAPS).await.json();
    let version = listed["metadata"]["resourceVersion"].as_str().unwrap();
    let mut resumed =
        Lines::open(&world, &format!("{MAPS}?watch=true&resourceVersion={version}")).await;
    patch_label(&world, "a", "y").await;
    assert_eq!(resumed.next().await.unwrap().0, "MODIFIED");
}

/// As a cluster does it; what is watched always says its type.
#[tokio::test]
async fn items_of_a_list_say_their_type_only_when_it_is_a_custom_one() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "x")).await;
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = world.post(definitions, &definition).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}});
    assert_eq!(world.post(widgets, &widget).await.code, 201);

    let types = |value: &Value| (value["apiVersion"].clone(), value["kind"].clone());
    for (path, kind) in [(MAPS, "ConfigMapList"), (definitions, "CustomResourceDefinitionList")] {
        let list = world.get(path).await.json();
        assert_eq!(list["kind"], kind);
        for item in list["items"].as_array().unwrap() {
            assert_eq!(types(item), (Value::Null, Value::Null), "{path}");
        }
    }
    let list = world.get(widgets).await.json();
    assert_eq!(types(&list["items"][0]), (json!("example.com/v1"), json!("Widget")));
    assert_eq!(
        types(&world.get(&format!("{MAPS}/a")).await.json()),
        (json!("v1"), json!("ConfigMap"))
    );
    let mut lines = Lines::open(&world, &format!("{MAPS}?watch=1")).await;
    assert_eq!(types(&lines.next().await.unwrap().2["object"]), (json!("v1"), json!("ConfigMap")));
}

#[tokio::test]
async fn a_version_from_the_future_is_refused() {
    let world = World::start().await;
    let answer = world.get(&format!("{MAPS}?watch=true&resourceVersion=999999999")).await;
    assert_eq!(answer.code, 410, "{}", answer.body);
}

#[tokio::test]
async fn the_namespaces_of_every_cluster_stay() {
    let world = World::start().await;
    let request = request(Method::DELETE, "/api/v1/namespaces/default", "", "");
    let refused = world.call(request).await;
    assert!(refused.code == 403 && refused.body.contains("may not be deleted"), "{}", refused.body);
}

#[tokio::test]
async fn tables_carry_headings_once_in_a_watch() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "x")).await;
    world.post(MAPS, &map("b", "x")).await;
    let mut request =
        request(Method::GET, &format!("{MAPS}?watch=true&labelSelector=app%3Dx"), "", "");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    request.headers_mut().insert("accept", accept.parse().unwrap());
    let body = world.open(request).await.into_body();
    let mut lines = Lines { body, rest: String::new() };
    let (_, _, first) = lines.next().await.unwrap();
    let (_, _, second) = lines.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn callers_are_known_by_certificate_or_token_and_may_what_they_may() {
    let world = World::start().await;
    assert_eq!(world.get(MAPS).await.code, 200);
    assert_eq!(world.get_as("", MAPS).await.code, 403);
    assert_eq!(world.get_as("nonsense", MAPS).await.code, 401);
    let accounts = world.store.resource("", "serviceaccounts").unwrap();
    let account = json!({"metadata": {"name": "web", "namespace": "default"}});
    let account = world.store.create(&accounts, account).unwrap();
    let wish = TokenRequest {
        namespace: "default".into(),
        account: "web".into(),
        account_uid: account["metadata"]["uid"].as_str().unwrap().into(),
        pod: None,
        audiences: Vec::new(),
        lifetime: std::time::Duration::from_secs(600),
    };
    let now = std::time::SystemTime::now();
    let token = world.authority.service_account_token(&wish, now).unwrap();
    // Nothing is allowed until a role is bound to the account.
    assert_eq!(world.get_as(&token, MAPS).await.code, 403);
    let group = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    world
        .post(&format!("{group}/roles"), &json!({"metadata": {"name": "r"}, "rules": rules}))
        .await;
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"kind": "Role", "name": "r"},
                         "subjects": [{"kind": "ServiceAccount", "name": "web"}]});
    let bound = world.post(&format!("{group}/rolebindings"), &binding).await;
    assert_eq!(bound.code, 201, "{}", bound.body);
    assert_eq!(world.get_as(&token, MAPS).await.code, 200);
    assert_eq!(world.get_as(&token, &format!("{MAPS}/a")).await.code, 403);
    let question = json!({"spec": {"user": "system:serviceaccount:default:web", "resourceAttributes":
        {"namespace": "default", "verb": "list", "resource": "configmaps"}}});
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(world.post(reviews, &question).await.json()["status"]["allowed"], true);
    let refused = world.get_as(&token, "/api/v1/namespaces/kube-system/configmaps").await;
    assert_eq!(refused.code, 403, "{}", refused.body);
    assert!(refused.body.contains("system:serviceaccount:default:web"), "{}", refused.body);
    assert_eq!(world.get_as("", "/version").await.code, 200);
}

//! The store's rules, one sentence each.

use serde_json::json;

use super::*;

fn resource(store: &Store, plural: &str) -> Resource {
    let group = if plural == "deployments" { "apps" } else { "" };
    Resource::clone(&store.resource(group, plural).unwrap())
}

fn store() -> Store {
    let store = Store::new();
    let namespaces = resource(&store, "namespaces");
    store.create(&namespaces, json!({"metadata": {"name": "default"}})).unwrap();
    store
}

fn map(name: &str, data: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": {"k": data}})
}

#[test]
fn a_write_from_an_old_version_is_a_conflict() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let first = Value::clone(&store.create(&maps, map("a", "1")).unwrap());
    let mut second = first.clone();
    second["data"]["k"] = "2".into();
    store.update(&maps, second).unwrap();
    let refused = store.update(&maps, first).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert!(refused.message.contains("the object has been modified"));
}

#[test]
fn an_update_that_changes_nothing_is_no_change() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let made = store.create(&maps, map("a", "1")).unwrap();
    let same = store.update(&maps, map("a", "1")).unwrap();
    assert_eq!(made["metadata"]["resourceVersion"], same["metadata"]["resourceVersion"]);
}

#[test]
fn a_new_object_needs_a_living_namespace() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let mut object = map("a", "1");
    object["metadata"]["namespace"] = "nowhere".into();
    let refused = store.create(&maps, object).unwrap_err();
    assert_eq!(refused.message, "namespaces \"nowhere\" not found");
    let namespaces = resource(&store, "namespaces");
    store.delete(&namespaces, "", "default", &Deletion::default()).unwrap();
    let refused = store.create(&maps, map("a", "1")).unwrap_err();
    assert_eq!(refused.code, 403, "{refused}");
}

#[test]
fn an_object_with_a_finalizer_ends_when_the_finalizer_goes() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let mut object = map("a", "1");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    store.create(&maps, object).unwrap();
    let deleted = store.delete(&maps, "default", "a", &Deletion::default()).unwrap();
    let Deleted::Terminating(held) = deleted else { panic!("must wait") };
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    let mut freed = Value::clone(&held);
    freed["metadata"]["finalizers"] = json!([]);
    store.update(&maps, freed).unwrap();
    assert!(store.get(&maps, "default", "a").is_none());
}

#[test]
fn a_running_pod_gets_its_grace_and_another_word_may_only_shorten_it() {
    let store = store();
    let pods = resource(&store, "pods");
    store
        .create(
            &pods,
            json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {
                "nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}),
        )
        .unwrap();
    let wish =
        |seconds| Deletion { grace: Some(Duration::from_secs(seconds)), ..Deletion::default() };
    let grace = |deleted| match deleted {
        Deleted::Terminating(pod) => pod["metadata"]["deletionGracePeriodSeconds"].as_u64(),
        Deleted::Gone(_) => None,
    };
    let delete = |wish: &Deletion| store.delete(&pods, "default", "p", wish).unwrap();
    assert_eq!(grace(delete(&Deletion::default())), Some(30));
    assert_eq!(grace(delete(&wish(60))), Some(30));
    assert_eq!(grace(delete(&wish(5))), Some(5));
    assert!(matches!(delete(&Deletion::now()), Deleted::Gone(_)));
}

#[test]
fn status_and_spec_are_written_apart() {
    let store = store();
    let deployments = resource(&store, "deployments");
    let object = json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}});
    let made = store.create(&deployments, object).unwrap();
    let mut wish = Value::clone(&made);
    wish["spec"]["replicas"] = 5.into();
    wish["status"] = json!({"replicas": 2});
    let after = store.update_status(&deployments, wish.clone()).unwrap();
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&2.into(), &2.into()));
    assert_eq!(after["metadata"]["generation"], 1);
    wish["metadata"]["resourceVersion"] = Value::Null;
    wish["status"] = json!({"replicas": 9});
    let after = store.update(&deployments, wish).unwrap();
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&5.into(), &2.into()));
    assert_eq!(after["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_watch_tells_what_happened_in_order_and_nothing_else() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let mut watch = store.watch(&maps, store.version());
    store.create(&maps, map("a", "1")).unwrap();
    store.create(&resource(&store, "secrets"), map("s", "")).unwrap();
    store.update(&maps, map("a", "2")).unwrap();
    store.delete(&maps, "default", "a", &Deletion::default()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = watch.next().await.unwrap();
        seen.push((event.change, event.object["data"]["k"].as_str().unwrap().to_owned()));
    }
    let expected = [(Change::Added, "1"), (Change::Modified, "2"), (Change::Deleted, "2")];
    assert_eq!(seen, expected.map(|(change, data)| (change, data.to_owned())));
    assert!(watch.try_next().unwrap().is_none());
}

#[test]
fn a_watcher_that_fell_out_of_the_history_is_told_to_list_again() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let since = store.version();
    store.create(&maps, map("a", "0")).unwrap();
    for number in 1..=HISTORY {
        store.update(&maps, map("a", &number.to_string())).unwrap();
    }
    let mut late = store.watch(&maps, since);
    assert_eq!(late.try_next().unwrap_err().code, 410);
    let mut fresh = store.watch(&maps, store.version() - 1);
    assert_eq!(fresh.try_next().unwrap().unwrap().change, Change::Modified);
}

#[test]
fn the_history_is_bounded_in_memory_too() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let first = Arc::downgrade(&store.create(&maps, map("a", &"x".repeat(1 << 20))).unwrap());
    for number in 0..40 {
        store.update(&maps, map("a", &number.to_string().repeat(512 << 10))).unwrap();
    }
    assert!(first.upgrade().is_none(), "what was replaced long ago is gone");
    assert!(store.state().history_bytes <= HISTORY_BYTES);
    assert!(store.state().history.len() > 20);
    let mut fresh = store.watch(&maps, store.version() - 1);
    assert_eq!(fresh.try_next().unwrap().unwrap().change, Change::Modified);
}

#[test]
fn a_watch_that_is_not_read_on_keeps_nothing() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let mut watch = store.watch(&maps, store.version());
    store.create(&maps, map("a", "0")).unwrap();
    let second = Arc::downgrade(&store.update(&maps, map("a", "1")).unwrap());
    assert_eq!(watch.try_next().unwrap().unwrap().change, Change::Added);
    for number in 0..=HISTORY {
        store.update(&maps, map("a", &number.to_string())).unwrap();
    }
    assert!(second.upgrade().is_none(), "the watch is behind, and has not taken it");
    assert_eq!(watch.try_next().unwrap_err().code, 410);
}

#[test]
fn a_trial_leaves_nothing() {
    let store = store();
    let maps = resource(&store, "configmaps");
    let before = store.version();
    store.insert(&maps, map("a", "1"), Mode::DryRun).unwrap();
    assert_eq!(store.version(), before);
    assert!(store.get(&maps, "default", "a").is_none());
}

#[test]
fn a_service_keeps_its_address_and_two_never_share_one() {
    let store = store();
    let services = resource(&store, "services");
    let service = |name: &str, address: Option<&str>| {
        json!({"metadata": {"name": name, "namespace": "default"},
               "spec": {"clusterIP": address, "ports": [{"port": 80}]}})
    };
    let made = store.create(&services, service("a", None)).unwrap();
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let refused = store.create(&services, service("b", Some(&address))).unwrap_err();
    assert!(
        refused.message.ends_with("provided IP is already allocated to default/a"),
        "{refused}"
    );
    let kept = store.update(&services, service("a", None)).unwrap();
    assert_eq!(kept["spec"]["clusterIP"], address.as_str());
    store.delete(&services, "default", "a", &Deletion::default()).unwrap();
    let again = store.create(&services, service("a", None)).unwrap();
    assert_eq!(again["spec"]["clusterIP"], address.as_str());
}

#[test]
fn a_node_port_is_given_kept_and_never_shared() {
    let store = store();
    let services = resource(&store, "services");
    let service = |name: &str, port: Value| {
        json!({"metadata": {"name": name, "namespace": "default"},
               "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}})
    };
    let port = |service: &Value| service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let made = store.create(&services, service("a", Value::Null)).unwrap();
    assert!((30_000..=32_767).contains(&port(&made)), "{made}");
    assert_eq!(port(&store.update(&services, service("a", Value::Null)).unwrap()), port(&made));
    let refused = store.create(&services, service("b", port(&made).into())).unwrap_err();
    assert!(refused.message.ends_with("provided port is already allocated"), "{refused}");
    let refused = store.create(&services, service("b", 80.into())).unwrap_err();
    assert!(refused.message.contains("The range of valid ports is 30000-32767"), "{refused}");
    assert_eq!(port(&store.create(&services, service("b", 30_080.into())).unwrap()), 30_080);
}

#[test]
fn node_ports_are_refused_when_all_are_given() {
    let store = store();
    let services = resource(&store, "services");
    let service = |name: &str, count: u64| {
        let ports: Vec<Value> = (1..=count).map(|port| json!({"port": port})).collect();
        json!({"metadata": {"name": name, "namespace": "default"},
               "spec": {"type": "NodePort", "ports": ports}})
    };
    let refused = store.create(&services, service("a", 2769)).unwrap_err();
    assert!(refused.message.ends_with("range is full"), "{refused}");
    let made = store.create(&services, service("a", 2768)).unwrap();
    let given = object::items(&made["spec"]["ports"]).map(|port| port["nodePort"].as_u64());
    assert_eq!(given.collect::<std::collections::BTreeSet<_>>().len(), 2768);
    let kept = store.update(&services, service("a", 2768)).unwrap();
    assert_eq!(kept["spec"]["ports"], made["spec"]["ports"]);
    let refused = store.create(&services, service("b", 1)).unwrap_err();
    assert_eq!(refused.code, 422, "{refused}");
}

#[test]
fn a_definition_takes_its_objects_with_it() {
    let store = store();
    let definitions = store.resource("apiextensions.k8s.io", "customresourcedefinitions").unwrap();
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v2", "served": true, "storage": true},
                     {"name": "v1", "served": true, "storage": false}]}});
    store.create(&definitions, definition).unwrap();
    let things = store.registry().version("example.com", "v1", "things").unwrap();
    store.create(&things, json!({"metadata": {"name": "t"}})).unwrap();
    let newer = store.registry().version("example.com", "v2", "things").unwrap();
    assert_eq!(store.get(&things, "", "t").unwrap()["apiVersion"], "example.com/v1");
    assert_eq!(store.get(&newer, "", "t").unwrap()["apiVersion"], "example.com/v2");
    store.delete(&definitions, "", "things.example.com", &Deletion::default()).unwrap();
    assert!(store.get(&newer, "", "t").is_none());
    assert!(store.resource("example.com", "things").is_none());
}

//! The controllers at work, with a hand that plays the node.

use std::io;

use futures::future::BoxFuture;
use serde_json::json;
use tokio::net::TcpStream;

use super::*;
use crate::{
    admission::Admission,
    bootstrap,
    node::Dial,
    store::{Deletion, Propagation},
};

struct Nowhere;

impl Dial for Nowhere {
    fn service(&self, _: &str, _: &str, _: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// Runs `story` on a store, with the controllers beside it.
async fn tell<F: Future<Output = ()>>(story: impl FnOnce(Store) -> F) {
    let store = Store::new();
    bootstrap::prepare(&store);
    let admission = Admission::new(store.clone(), Arc::new(Nowhere));
    let writer = Arc::new(Writer::new(store.clone(), admission));
    let controllers = Controllers::new(store.clone(), writer, "PEM".into());
    tokio::select! {
        () = controllers.run() => {}
        () = story(store) => {}
    }
}

/// Waits until the objects of a resource in `default` are as wanted.
async fn until(
    store: &Store,
    (group, plural): (&str, &str),
    wanted: impl Fn(&[Arc<Value>]) -> bool,
) -> Vec<Arc<Value>> {
    let resource = store.resource(group, plural).unwrap();
    let mut watch = store.watch(&resource, store.version());
    loop {
        let list = store.list(&resource, Some("default")).items;
        if wanted(&list) {
            return list;
        }
        watch.next().await.unwrap();
    }
}

fn deployment(replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}}}})
}

fn make(store: &Store, (group, plural): (&str, &str), object: Value) -> Arc<Value> {
    store.create(&store.resource(group, plural).unwrap(), object).unwrap()
}

/// Plays the node: a pod runs and is ready.
fn run(store: &Store, pod: &Value, address: &str) {
    let mut pod = pod.clone();
    pod["metadata"]["resourceVersion"] = Value::Null;
    pod["status"] = json!({"phase": "Running", "podIP": address,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    store.update_status(&store.resource("", "pods").unwrap(), pod).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_pods_endpoints_and_a_finished_rollout() {
    tell(|store| async move {
        make(&store, ("", "nodes"), json!({"metadata": {"name": "n"}}));
        make(
            &store,
            ("", "services"),
            json!({"metadata": {"name": "web", "namespace": "default"},
                   "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        );
        make(&store, ("apps", "deployments"), deployment(2));
        let pods = until(&store, ("", "pods"), |pods| {
            pods.len() == 2 && pods.iter().all(|pod| pod["spec"]["nodeName"] == "n")
        })
        .await;
        for (pod, address) in pods.iter().zip(["10.244.0.2", "10.244.0.3"]) {
            run(&store, pod, address);
        }
        until(&store, ("apps", "deployments"), |list| {
            list[0]["status"]["availableReplicas"] == 2 && object::is_true(&list[0], "Progressing")
        })
        .await;
        until(&store, ("discovery.k8s.io", "endpointslices"), |slices| {
            slices.iter().any(|slice| {
                object::label(slice, service::OF_SERVICE) == Some("web")
                    && object::items(&slice["endpoints"])
                        .filter(|one| one["conditions"]["ready"] == true)
                        .count()
                        == 2
            })
        })
        .await;
        let deployments = store.resource("apps", "deployments").unwrap();
        store.delete(&deployments, "default", "web", &Deletion::default()).unwrap();
        until(&store, ("apps", "replicasets"), <[_]>::is_empty).await;
        until(&store, ("", "pods"), |pods| pods.iter().all(|pod| object::is_terminating(pod)))
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_foreground_deletion_takes_the_dependents_first() {
    tell(|store| async move {
        make(&store, ("apps", "deployments"), deployment(1));
        until(&store, ("", "pods"), |pods| pods.len() == 1).await;
        let wish = Deletion { propagation: Some(Propagation::Foreground), ..Deletion::default() };
        let deployments = store.resource("apps", "deployments").unwrap();
        store.delete(&deployments, "default", "web", &wish).unwrap();
        until(&store, ("apps", "deployments"), <[_]>::is_empty).await;
        let sets = store.resource("apps", "replicasets").unwrap();
        assert!(store.list(&sets, None).items.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_keeps_living() {
    tell(|store| async move {
        make(&store, ("apps", "deployments"), deployment(1));
        until(&store, ("", "pods"), |pods| pods.len() == 1).await;
        let wish = Deletion { propagation: Some(Propagation::Orphan), ..Deletion::default() };
        let deployments = store.resource("apps", "deployments").unwrap();
        store.delete(&deployments, "default", "web", &wish).unwrap();
        until(&store, ("apps", "deployments"), <[_]>::is_empty).await;
        let sets = store.resource("apps", "replicasets").unwrap();
        let sets = store.list(&sets, None).items;
        assert_eq!(object::items(&sets[0]["metadata"]["ownerReferences"]).count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_furnished_and_ends_with_all_that_is_in_it() {
    tell(|store| async move {
        let namespaces = store.resource("", "namespaces").unwrap();
        let maps = store.resource("", "configmaps").unwrap();
        store.create(&namespaces, json!({"metadata": {"name": "blue"}})).unwrap();
        let mut watch = store.watch(&maps, 0);
        while store.get(&maps, "blue", "kube-root-ca.crt").is_none() {
            watch.next().await.unwrap();
        }
        let accounts = store.resource("", "serviceaccounts").unwrap();
        assert!(store.get(&accounts, "blue", "default").is_some());
        store.delete(&namespaces, "", "blue", &Deletion::default()).unwrap();
        let mut watch = store.watch(&namespaces, store.version());
        while store.get(&namespaces, "", "blue").is_some() {
            watch.next().await.unwrap();
        }
        assert!(store.list(&maps, Some("blue")).items.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_may_not_be_made_is_told_and_tried_again_until_it_may() {
    tell(|store| async move {
        let hooks =
            store.resource("admissionregistration.k8s.io", "validatingwebhookconfigurations").unwrap();
        let hook = json!({"metadata": {"name": "h"}, "webhooks": [{"name": "h.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/", "caBundle": "eA=="},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        store.create(&hooks, hook).unwrap();
        make(&store, ("apps", "deployments"), deployment(1));
        let events = until(&store, ("", "events"), |events| {
            events.iter().any(|event| event["reason"] == "FailedCreate" && event["count"] == 2)
        })
        .await;
        let told = events.iter().find(|event| event["reason"] == "FailedCreate").unwrap();
        assert!(told["message"].as_str().unwrap().contains("failed calling webhook \"h.example.com\""));
        store.delete(&hooks, "", "h", &Deletion::default()).unwrap();
        until(&store, ("", "pods"), |pods| pods.len() == 1).await;
    })
    .await;
}

#[test]
fn events_are_counted_and_the_oldest_forgotten() {
    let store = Store::new();
    bootstrap::prepare(&store);
    let about = json!({"kind": "Deployment", "metadata": {"name": "w", "namespace": "default", "uid": "u"}});
    let kinds = store.resource("", "events").unwrap();
    let record = |message: &str, field: &str| {
        let (tone, component) = (events::Tone::Normal, "kubelet");
        let happening = events::Happening { tone, reason: "Reason", message, component, field };
        events::record(&store, &about, happening);
    };
    for number in 0..310 {
        record(&format!("message {number}"), "");
    }
    record("message 309", "");
    record("message 309", "spec.containers{app}");
    let kept = store.list(&kinds, None).items;
    assert!(kept.len() <= 301, "{}", kept.len());
    let field = "spec.containers{app}";
    assert!(
        kept.iter().any(|event| event["involvedObject"]["fieldPath"] == field),
        "an event of its own"
    );
    assert!(kept.iter().any(|event| event["message"] == "message 309" && event["count"] == 2));
}

#[tokio::test]
async fn what_a_maker_wants_is_not_made_once_it_is_gone() {
    let store = Store::new();
    bootstrap::prepare(&store);
    let admission = Admission::new(store.clone(), Arc::new(Nowhere));
    let writer = Arc::new(Writer::new(store.clone(), admission));
    let controllers = Controllers::new(store.clone(), writer, "PEM".into());
    let set = make(
        &store,
        ("apps", "replicasets"),
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    );
    let work = Work::ReplicaSet("default".into(), "web".into());
    let pods = store.resource("", "pods").unwrap();
    let step = || weft_controllers::replica_set::step(&set, &[], "", &mut crate::store::suffix);
    steps::carry_out(&controllers.tools, &work, step()).await.unwrap();
    assert_eq!(store.list(&pods, None).items.len(), 2);
    let sets = store.resource("apps", "replicasets").unwrap();
    store.delete(&sets, "default", "web", &Deletion::default()).unwrap();
    steps::carry_out(&controllers.tools, &work, step()).await.unwrap();
    assert_eq!(store.list(&pods, None).items.len(), 2);
}

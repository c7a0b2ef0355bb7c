//! Nothing that a client can send makes the server panic.

use std::io;

use futures::future::BoxFuture;
use serde_json::json;
use tokio::net::TcpStream;
use weft_controllers::{deployment, expand, replica_set, service};

use super::*;
use crate::{node::Dial, patch::Conflicts, server::Rows, store::suffix, table};

struct Nowhere;

impl Dial for Nowhere {
    fn service(&self, _: &str, _: &str, _: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// Objects of the kinds that the server looks into.
fn whole() -> Vec<Value> {
    let template = json!({
        "metadata": {"labels": {"app": "w"}, "annotations": {"a": "b"}},
        "spec": {
            "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
                "ports": [{"name": "http", "containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}}],
            "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
            "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
                {"downwardAPI": {"items": [{"path": "y", "fieldRef": {"fieldPath": "y"}}]}}]}}],
        },
    });
    let metadata = json!({"name": "w", "namespace": "default", "labels": {"app": "w"}, "finalizers": ["a/b"],
        "ownerReferences": [{"uid": "u", "kind": "K", "apiVersion": "v1", "name": "n", "controller": true}],
        "managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {"f:x": {}}}}]});
    let of = |api_version: &str, kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        for (field, value) in rest.as_object().unwrap() {
            object[field] = value.clone();
        }
        object
    };
    let workload = json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "w"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}, "template": template}});
    let mut objects = vec![
        of("apps/v1", "Deployment", workload.clone()),
        of("extensions/v1beta1", "Deployment", workload),
        of(
            "v1",
            "Pod",
            json!({"spec": template["spec"], "status": {"podIP": "10.244.0.9",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "c", "ready": true, "state": {"waiting": {"reason": "x"}}}]}}),
        ),
        of(
            "v1",
            "Service",
            json!({"spec": {"selector": {"app": "w"}, "type": "LoadBalancer",
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}),
        ),
        of("v1", "Secret", json!({"data": {"a": "Yg=="}, "stringData": {"c": "d"}})),
        of("v1", "ConfigMap", json!({"data": {"a": "b"}})),
        of("v1", "Namespace", json!({"spec": {"finalizers": ["kubernetes"]}})),
        of(
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [{"name": "h.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "objectSelector": {"matchLabels": {"never": "so"}},
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}]}),
        ),
        of(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({"spec": {"group": "example.com",
            "names": {"plural": "ws", "kind": "W"}, "scope": "Namespaced", "versions": [{"name": "v1", "served": true,
            "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}, "additionalPrinterColumns": [{"name": "X", "jsonPath": ".spec.x"}]}]}}),
        ),
    ];
    if let Some(definition) = objects.last_mut() {
        definition["metadata"]["name"] = "ws.example.com".into();
    }
    objects
}

/// The object with each of its parts replaced by each of some odd values.
fn odd(object: &Value) -> Vec<Value> {
    let mut places = Vec::new();
    pointers(object, String::new(), &mut places);
    let values = [json!(null), json!(-1), json!("\u{fc}"), json!([1]), json!({"a": 1})];
    let mut made = Vec::new();
    for place in places {
        for value in &values {
            let mut changed = object.clone();
            *changed.pointer_mut(&place).unwrap() = value.clone();
            made.push(changed);
        }
    }
    made
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    let step = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| pointers(value, step(key), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| pointers(value, step(&index.to_string()), found));
        }
        _ => {}
    }
    if !at.is_empty() {
        found.push(at);
    }
}

/// Everything that may be done to an object, one after the other.
///
/// Says whether it could be made.
async fn exercise(object: Value, original: &Value) -> Result<(), Status> {
    let store = Store::new();
    let namespaces = store.resource("", "namespaces").unwrap();
    store.create(&namespaces, json!({"metadata": {"name": "default"}})).unwrap();
    let writer = Writer::new(store.clone(), Admission::new(store.clone(), Arc::new(Nowhere)));
    let author = Author {
        user: User::controllers(),
        manager: "test".into(),
        mode: Mode::Commit,
        validation: Validation::Warn,
    };
    let text = |field: &str| original[field].as_str().unwrap().to_owned();
    let resource = store.registry().kind(&text("apiVersion"), &text("kind")).unwrap();
    let made = writer.create(&author, &resource, object.clone()).await;
    if let Ok(written) = &made {
        let stored = &written.object;
        table::of(&resource, std::slice::from_ref(stored), Rows::Metadata, Value::Null);
        deployment::step(stored, &[stored], "2026-01-01T00:00:00Z");
        replica_set::step(stored, &[stored], "2026-01-01T00:00:00Z", &mut suffix);
        service::slices(stored, &[stored]);
        if object::kind(stored) == "Deployment" {
            expand::run(&mut expand::pods(stored));
        }
    }
    // The same through a patch of a valid object.
    let place = (if resource.namespaced { "default" } else { "" }, object::name(original));
    let _ = writer.create(&author, &resource, original.clone()).await;
    for patch in [
        Patch::Merge(object.clone()),
        Patch::Strategic(object.clone()),
        Patch::Apply(object.clone(), Conflicts::Force),
    ] {
        let _ = writer.patch(&author, &resource, place, (Part::Main, &patch)).await;
        let _ = writer.patch(&author, &resource, place, (Part::Status, &patch)).await;
    }
    let _ = writer.delete(&author, &resource, place, &Deletion::default()).await;
    made.map(drop)
}

#[tokio::test]
async fn odd_values_in_any_place_are_refused_or_stored_and_never_a_panic() {
    for original in whole() {
        assert_eq!(exercise(original.clone(), &original).await, Ok(()));
        for object in odd(&original) {
            let _ = exercise(object, &original).await;
        }
    }
}

//! What holds for any pod.

use json_patch::PatchOperation;
use serde_json::{Value, json};
use weft_inject::{Owner, Settings, patch};
use weft_testkit::objects::damaged;

fn owner() -> Owner {
    Owner::new("apps/v1", "Deployment", "cart")
}

/// A pod with fields that nobody here knows, in all the places that are touched.
fn odd_pod() -> Value {
    json!({
        "metadata": {
            "labels": {"app": "cart", "x/odd~label": "kept"},
            "annotations": {"note": "kept"},
            "future": {"kept": [1, 2.5, null]},
        },
        "spec": {
            "containers": [{"name": "cart", "image": "i", "futureField": {"kept": true}}],
            "initContainers": [{"name": "own", "image": "i"}],
            "volumes": [{"name": "own", "futureSource": {}}],
            "schedulingGates": [{"name": "kept"}],
        },
        "status": {"phase": "Pending"},
    })
}

fn injected(pod: &Value, settings: &Settings) -> Value {
    let mut result = pod.clone();
    json_patch::patch(&mut result, &patch(pod, &owner(), "shop", settings)).unwrap();
    result
}

/// Takes the added items and keys out again, last one first.
fn undo(pod: &Value, changed: &mut Value, settings: &Settings) {
    for operation in patch(pod, &owner(), "shop", settings).0.iter().rev() {
        let PatchOperation::Add(add) = operation else { panic!("{operation} does not add") };
        let path = add.path.to_string();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        match changed.pointer_mut(parent).unwrap() {
            Value::Array(items) if key == "-" => assert_eq!(items.pop().unwrap(), add.value),
            Value::Array(items) => {
                assert_eq!(items.remove(key.parse().unwrap()), add.value);
            }
            parent => assert_eq!(parent.as_object_mut().unwrap().remove(&key).unwrap(), add.value),
        }
    }
}

#[test]
fn without_probes_the_patch_only_adds() {
    for native_sidecar in [true, false] {
        let settings = Settings { native_sidecar, ..Settings::default() };
        for pod in [odd_pod(), json!({"spec": {"containers": []}})] {
            let mut changed = injected(&pod, &settings);
            assert_ne!(changed, pod);
            undo(&pod, &mut changed, &settings);
            assert_eq!(changed, pod);
        }
    }
}

#[test]
fn a_pod_that_has_a_sidecar_gets_an_empty_patch() {
    for native_sidecar in [true, false] {
        let settings = Settings { native_sidecar, ..Settings::default() };
        let once = injected(&odd_pod(), &settings);
        assert_eq!(patch(&once, &owner(), "shop", &settings).0, []);
    }
}

#[test]
fn native_sidecars_start_before_the_pods_own_init_containers() {
    let pod = injected(&odd_pod(), &Settings::default());
    let names = |list: &str| -> Vec<_> {
        let containers = pod["spec"][list].as_array().unwrap();
        containers.iter().map(|container| container["name"].clone()).collect()
    };
    assert_eq!(names("initContainers"), ["istio-init", "istio-proxy", "own"]);
    assert_eq!(names("containers"), ["cart"]);
}

#[test]
fn what_is_not_a_pod_stays_as_it_is() {
    for odd in [
        json!(null),
        json!({"spec": "text"}),
        json!({"spec": {"containers": "text"}}),
        json!({"spec": {"containers": [], "initContainers": {}}}),
        json!({"metadata": [], "spec": {"containers": []}}),
        json!({"metadata": {"labels": "text"}, "spec": {"containers": []}}),
        json!({"spec": {"volumes": 5}}),
    ] {
        assert_eq!(patch(&odd, &owner(), "shop", &Settings::default()).0, [], "{odd}");
    }
    let odd = json!({"metadata": null, "spec": {
        "containers": [5, {"livenessProbe": []}, {"livenessProbe": {"httpGet": {}}}],
        "volumes": null,
    }});
    assert_ne!(injected(&odd, &Settings::default()), odd);
}

#[test]
fn a_damaged_object_is_injected_or_stays_as_it_is() {
    let text = include_str!("../cases/annotations.yaml").to_owned()
        + "---\n"
        + include_str!("../cases/probes.yaml");
    let odd = [json!(null), json!(5), json!("a"), json!([5]), json!({"a": 5})];
    for document in weft_manifest::read("case.yaml", &text) {
        let object = document.value.unwrap();
        for (place, damaged) in damaged(&object, &odd) {
            let once = weft_inject::document(&damaged, &Settings::default()).unwrap();
            let twice = weft_inject::document(&once, &Settings::default()).unwrap();
            assert_eq!(once, twice, "{place} of {damaged}");
        }
    }
}

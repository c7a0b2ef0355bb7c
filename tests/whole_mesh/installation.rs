//! Rows 4, 5, 8, 9, 10 and 14: injection, and what becomes of a Deployment.

use std::fs;

use serde_json::Value;

use crate::mesh::{Mesh, manifest};

/// A pod's containers and how many of them are ready, as in the column READY.
fn ready(pod: &Value) -> String {
    let statuses = |field: &str| pod["status"][field].as_array().cloned().unwrap_or_default();
    let always = |name: &Value| {
        let containers = pod["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
        containers
            .iter()
            .any(|container| container["name"] == *name && container["restartPolicy"] == "Always")
    };
    let mut all = statuses("containerStatuses");
    all.extend(statuses("initContainerStatuses").into_iter().filter(|one| always(&one["name"])));
    let ready = all.iter().filter(|status| status["ready"] == true).count();
    format!("{ready}/{}", all.len())
}

/// The names of a pod's containers that are called `istio-proxy`.
fn proxies(pod: &Value) -> usize {
    ["containers", "initContainers"]
        .iter()
        .filter_map(|field| pod["spec"][field].as_array())
        .flatten()
        .filter(|container| container["name"] == "istio-proxy")
        .count()
}

#[track_caller]
fn check_nine_whole_pods(mesh: &Mesh) {
    mesh.wait_for_deployments("default");
    let pods = mesh.eventually("nine pods", || {
        let pods = mesh.list("pods", "default");
        (pods.len() == 9).then_some(pods)
    });
    for app in ["hello", "world", "world-2"] {
        let of_app = pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == app);
        assert_eq!(of_app.count(), 3, "pods of {app}");
    }
    for pod in &pods {
        let name = &pod["metadata"]["name"];
        assert_eq!(ready(pod), "2/2", "{name}");
        assert_eq!(pod["status"]["phase"], "Running", "{name}");
        assert_eq!(proxies(pod), 1, "{name}");
    }
    let table = mesh.run(&["get", "pods"]);
    assert_eq!(table.matches("2/2").count(), 9, "{table}");
}

#[test]
fn row_004_inject_prints_the_same_objects_with_sidecars() {
    let file = manifest("helloworld.yaml");
    let output = std::process::Command::new(crate::mesh::WEFT)
        .args(["inject", "-f"])
        .arg(&file)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = documents(&String::from_utf8(output.stdout).expect("text"));
    let before = documents(&fs::read_to_string(&file).expect("the manifest"));
    let names = |all: &[Value]| -> Vec<String> {
        all.iter().map(|one| format!("{} {}", one["kind"], one["metadata"]["name"])).collect()
    };
    assert_eq!(names(&after), names(&before));
    assert_eq!(after.len(), 6);
    for (before, after) in before.iter().zip(&after) {
        if before["kind"] == "Service" {
            assert_eq!(before, after);
            continue;
        }
        let template = &after["spec"]["template"];
        assert_eq!(proxies(template), 1);
        let capture = template["spec"]["initContainers"].as_array().expect("init containers");
        assert!(capture.iter().any(|container| container["name"] == "istio-init"));
    }
}

#[test]
fn row_004_and_005_nothing_reaches_the_cluster_until_the_output_is_applied() {
    let mesh = Mesh::empty("row-005-inject");
    let injected = mesh.run(&["inject", "-f", &manifest("helloworld.yaml").display().to_string()]);
    assert!(mesh.list("deployments", "default").is_empty());
    mesh.pipe(&["apply", "-f", "-"], &injected);
    check_nine_whole_pods(&mesh);
}

#[test]
fn row_005_a_labelled_namespace_gives_every_pod_a_sidecar() {
    let mesh = Mesh::empty("row-005-label");
    mesh.label_for_injection("default");
    mesh.apply(&manifest("helloworld.yaml"));
    check_nine_whole_pods(&mesh);
}

#[test]
fn row_008_an_unlabelled_namespace_stays_without_sidecars() {
    let mesh = Mesh::empty("row-008");
    mesh.apply(&manifest("helloworld-legacy.yaml"));
    mesh.wait_for_deployments("legacy");
    let pods = mesh.list("pods", "legacy");
    assert_eq!(pods.len(), 2);
    for pod in &pods {
        assert_eq!(ready(pod), "1/1");
        assert_eq!(proxies(pod), 0);
    }
}

#[test]
fn row_009_a_label_counts_for_pods_made_after_it() {
    let mesh = Mesh::empty("row-009");
    let file = manifest("helloworld.yaml");
    mesh.apply(&file);
    mesh.apply(&manifest("helloworld-legacy.yaml"));
    mesh.wait_for_deployments("default");
    mesh.wait_for_deployments("legacy");
    mesh.label_for_injection("default");
    for pod in mesh.list("pods", "default") {
        assert_eq!(ready(&pod), "1/1", "it existed before the label");
    }
    let old = mesh.pods("hello", "default");
    mesh.run(&["delete", "pod", &old[0]]);
    let new = mesh.eventually("a new pod of hello", || {
        let pods = mesh.list("pods", "default");
        pods.into_iter().find(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            pod["metadata"]["labels"]["app"] == "hello"
                && !old.contains(&name)
                && ready(pod) == "2/2"
        })
    });
    assert_eq!(proxies(&new), 1);
    for pod in mesh.list("pods", "legacy") {
        assert_eq!(ready(&pod), "1/1", "its namespace is not labelled");
    }
}

#[test]
fn row_010_an_injected_file_in_a_labelled_namespace_is_injected_once() {
    let mesh = Mesh::empty("row-010");
    mesh.label_for_injection("default");
    mesh.inject_and_apply(&manifest("helloworld.yaml"));
    check_nine_whole_pods(&mesh);
}

#[test]
fn row_014_an_old_deployment_is_stored_as_a_new_one() {
    let mesh = Mesh::empty("row-014");
    mesh.inject_and_apply(&manifest("helloworld.yaml"));
    let text = mesh.run(&["get", "deployment", "hello", "-o", "yaml"]);
    let stored = &documents(&text)[0];
    assert_eq!(stored["apiVersion"], "apps/v1");
    let labels = serde_json::json!({"app": "hello", "version": "v1"});
    assert_eq!(stored["spec"]["selector"]["matchLabels"], labels);
}

/// The documents of a YAML text that hold something.
#[track_caller]
fn documents(text: &str) -> Vec<Value> {
    weft_manifest::read("text", text).into_iter().filter_map(|document| document.value).collect()
}

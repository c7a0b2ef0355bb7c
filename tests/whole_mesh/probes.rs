//! Probes of injected pods: the node asks the sidecar, and the sidecar asks the
//! application.

use std::{env, net::Ipv4Addr};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{application, mesh::Mesh};

/// The variable that a pod has in which this program is the application.
const IN_A_POD: &str = "WEFT_TEST_IN_A_POD";
const PLAIN: u16 = 8080;
const SECURE: u16 = 8443;

#[test]
#[ignore = "what the pods of the other test run; not a test of its own"]
fn the_application() {
    if env::var_os(IN_A_POD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listen = async |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
        let plain = listen(PLAIN).await.expect("a port of the pod's own");
        let secure = listen(SECURE).await.expect("a port of the pod's own");
        tokio::join!(
            application::serve(plain, None),
            application::serve(secure, Some(&["h2", "http/1.1"])),
        );
    });
}

/// A pod that runs `the_application` and has this readiness probe.
fn pod(name: &str, action: (&str, Value)) -> String {
    let program = env::current_exe().expect("a program knows where it is");
    let command = json!([program, "probes::the_application", "--exact", "--ignored"]);
    let (kind, action) = action;
    let probe = json!({kind: action, "periodSeconds": 1, "timeoutSeconds": 5});
    let own = json!({"name": "app", "image": "busybox", "command": command,
        "env": [{"name": IN_A_POD, "value": "yes"}], "readinessProbe": probe,
        "ports": [{"name": "plain", "containerPort": PLAIN}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [own]}});
    pod.to_string()
}

#[test]
fn an_injected_pod_is_ready_when_its_probe_succeeds_whatever_its_kind() {
    let mesh = Mesh::start("probes-kinds", &[], &[]);
    let kinds = [
        ("http", ("httpGet", json!({"port": "plain", "path": "/healthz"}))),
        ("https", ("httpGet", json!({"port": SECURE, "path": "/healthz", "scheme": "HTTPS"}))),
        ("tcp", ("tcpSocket", json!({"port": SECURE}))),
        ("grpc", ("grpc", json!({"port": PLAIN, "service": "up"}))),
    ];
    for (name, action) in kinds.clone() {
        mesh.pipe(&["apply", "-f", "-"], &pod(name, action));
    }
    let bad = [
        ("http-bad", ("httpGet", json!({"port": PLAIN, "path": "/broken"})), 503),
        ("tcp-bad", ("tcpSocket", json!({"port": 9})), 500),
        ("grpc-bad", ("grpc", json!({"port": PLAIN, "service": "down"})), 500),
    ];
    for (name, action, _) in bad.clone() {
        mesh.pipe(&["apply", "-f", "-"], &pod(name, action));
    }
    for (name, _) in kinds {
        let pod = mesh.eventually(&format!("{name} is ready"), || mesh.ready_pod(name));
        let containers = pod["spec"]["containers"].as_array().expect("containers");
        let own = containers.iter().find(|one| one["name"] == "app").expect("its own");
        assert_eq!(own["readinessProbe"]["httpGet"]["path"], "/app-health/app/readyz");
    }
    for (name, _, status) in bad {
        let said = format!("HTTP probe failed with statuscode: {status}");
        mesh.eventually(&format!("{name} is unhealthy: {said}"), || {
            let told = |event: &Value| {
                event["involvedObject"]["name"] == name
                    && event["reason"] == "Unhealthy"
                    && event["message"].as_str().is_some_and(|text| text.contains(&said))
            };
            mesh.list("events", "default").iter().any(told).then_some(())
        });
        assert!(mesh.ready_pod(name).is_none(), "{name}");
    }
    let url = "http://127.0.0.1:15020/app-health/app/readyz";
    let (_, said) = mesh.curl_in("grpc-bad", "istio-proxy", &[url]);
    assert!(said.contains("NOT_SERVING"), "{said}");
}

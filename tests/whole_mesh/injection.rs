//! What the mesh's and a pod's own settings make of a sidecar that runs.

use serde_json::{Value, json};

use crate::mesh::Mesh;

fn map(name: &str, key: &str, text: &str) -> String {
    let metadata = json!({"name": name, "namespace": "istio-system"});
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {key: text}});
    map.to_string()
}

fn pod(name: &str, annotations: &Value) -> String {
    let own = json!({"name": "app", "image": "curlimages/curl", "command": ["sleep", "1000"],
        "ports": [{"containerPort": 8080}], "env": [{"name": "OWN", "value": "app"}]});
    let metadata = json!({"name": name, "annotations": annotations});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [own]}});
    pod.to_string()
}

#[test]
fn the_meshs_settings_reach_webhook_and_command_line() {
    let mesh = Mesh::start("inject-settings", &[], &[]);
    let settings = "\
accessLogFile: /dev/stdout
defaultConfig:
  holdApplicationUntilProxyStarts: true
  proxyMetadata: {FROM_MESH: mesh}
";
    mesh.pipe(&["apply", "-f", "-"], &map("istio", "mesh", settings));
    let values = r#"{"global": {"proxy": {"resources": {"requests": {"cpu": "7m"}}}}}"#;
    mesh.pipe(&["apply", "-f", "-"], &map("istio-sidecar-injector", "values", values));

    let annotations = json!({
        "proxy.istio.io/config": "concurrency: 2",
        "status.sidecar.istio.io/port": "16020",
        "sidecar.istio.io/nativeSidecar": "false",
    });
    mesh.pipe(&["apply", "-f", "-"], &pod("older", &annotations));
    let older = mesh.eventually("the older shape is ready", || mesh.ready_pod("older"));
    let sidecar = &older["spec"]["containers"][0];
    assert_eq!(sidecar["name"], "istio-proxy", "it is started before the application");
    assert_eq!(sidecar["resources"]["requests"], json!({"cpu": "7m"}));
    let environment = sidecar["env"].as_array().expect("variables");
    assert!(environment.contains(&json!({"name": "FROM_MESH", "value": "mesh"})));
    let (code, said) =
        mesh.curl_in("older", "istio-proxy", &["http://127.0.0.1:16020/stats/prometheus"]);
    assert!(code == 0 && said.contains("# TYPE"), "{code}: {said}");
    let asked = mesh.run(&[
        "exec",
        "older",
        "-c",
        "istio-proxy",
        "--",
        "pilot-agent",
        "request",
        "GET",
        "ready",
    ]);
    assert!(!asked.is_empty());

    let injected = mesh.pipe(&["inject", "-f", "-"], &pod("printed", &json!({})));
    assert!(injected.contains("FROM_MESH") && injected.contains("cpu: 7m"), "{injected}");
    mesh.pipe(&["apply", "-f", "-"], &injected);
    mesh.eventually("the native shape is ready", || mesh.ready_pod("printed"));
}

#[test]
fn what_a_sidecar_is_asked_in_vain_is_told() {
    let mesh = Mesh::start("inject-vain", &[], &[]);
    let said = |annotations: Value| {
        let mut child = mesh
            .command(["apply", "-f", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let text = pod("vain", &annotations);
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let refused = said(json!({"inject.istio.io/templates": "gateway"}));
    assert!(refused.contains("template `gateway`"), "{refused}");
    let warned = said(json!({"proxy.istio.io/config": "concurency: 2"}));
    assert!(warned.contains("did you mean `concurrency`"), "{warned}");
}

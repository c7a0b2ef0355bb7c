//! Rows 99 to 108: hosts outside of the mesh, closed and opened. What plays the outside are
//! pods, behind an address that the mesh does not see: for TLS that of the control plane, which has
//! a certificate of its own. Row 100 is in `server_names`.

use serde_json::{Value, json};

use crate::mesh::{Mesh, manifest};

/// What the outside answers.
const OUTSIDE: &str = "203.0.113.7";

/// A mesh whose settings restrict external traffic to registered hosts, with a caller in the
/// mesh, one in another namespace of it, and one without a sidecar.
#[track_caller]
fn restricted(name: &str) -> Mesh {
    let mesh = Mesh::empty(name);
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": "accessLogFile: /dev/stdout\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"},
    });
    mesh.pipe(&["apply", "-f", "-"], &settings.to_string());
    for (namespace, injected) in [("outside", false), ("ns2", true)] {
        let label = if injected { "enabled" } else { "disabled" };
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"istio-injection": label}},
        });
        mesh.pipe(&["apply", "-f", "-"], &object.to_string());
    }
    mesh.label_for_injection("default");
    // Exported to nobody: for the mesh its address is one like any other outside.
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "outside", "namespace": "outside",
            "annotations": {"networking.istio.io/exportTo": "~"},
        },
        "spec": {"ports": [{"name": "http", "port": 80}, {"name": "https-webhook", "port": 443}]},
    });
    mesh.pipe(&["apply", "-f", "-"], &service.to_string());
    deploy(&mesh, "outside", "outside", "127.0.0.1");
    let address = mesh.eventually("the outside has an address", || {
        let service = mesh.list("services/outside", "outside").remove(0);
        service["spec"]["clusterIP"].as_str().map(str::to_owned)
    });
    for (app, namespace) in [("hello", "default"), ("hello", "ns2"), ("bare", "outside")] {
        deploy(&mesh, app, namespace, &address);
    }
    for namespace in ["default", "ns2", "outside"] {
        mesh.wait_for_deployments(namespace);
    }
    let http = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
    lead(&mesh, "http", &mesh.pods("outside", "outside")[0], "outside", &http);
    let is_control =
        |slice: &Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "istiod";
    let slices = mesh.list("endpointslices", "istio-system");
    let ports =
        slices.iter().find(|slice| is_control(slice)).expect("it has endpoints")["ports"].clone();
    lead(&mesh, "https", &mesh.pods("istiod", "istio-system")[0], "istio-system", &ports);
    mesh
}

/// Leads the outside's address to a pod as well.
#[track_caller]
fn lead(mesh: &Mesh, name: &str, pod: &str, namespace: &str, ports: &Value) {
    let pod = mesh.list(&format!("pods/{pod}"), namespace).remove(0);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("outside-{name}"), "namespace": "outside",
            "labels": {"kubernetes.io/service-name": "outside"},
        },
        "endpoints": [{"addresses": [pod["status"]["podIP"]], "conditions": {"ready": true}}],
        "ports": ports,
    });
    mesh.pipe(&["apply", "-f", "-"], &slice.to_string());
}

/// The exit code of curl in a pod of the mesh that speaks TLS with `host`, and the status; the
/// certificate is checked if it is `checked`.
#[track_caller]
fn tls(mesh: &Mesh, host: &str, checked: bool) -> (i32, String) {
    let pod = &mesh.pods("hello", "default")[0];
    let url = format!("https://{host}/");
    let mut all = vec!["-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", &url];
    if !checked {
        all.push("-k");
    }
    mesh.curl_in(pod, "app", &all)
}

/// What is closed while TLS is begun.
fn refused() -> (i32, String) {
    (35, "000".to_owned())
}

/// A Deployment whose pods know two hosts outside as `address`.
#[track_caller]
fn deploy(mesh: &Mesh, app: &str, namespace: &str, address: &str) {
    let labels = json!({"app": app});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": app, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostAliases": [
                        {"ip": address, "hostnames": ["ifconfig.co", "example.com"]},
                    ],
                    "containers": [{
                        "name": "app", "image": "wardviaene/http-echo",
                        "env": [{"name": "TEXT", "value": OUTSIDE}],
                        "ports": [{"name": "http", "containerPort": 8080}],
                    }],
                },
            },
        },
    });
    mesh.pipe(&["apply", "-f", "-"], &object.to_string());
}

/// What a pod of `app` gets from `url`: the body, and then the status.
#[track_caller]
fn ask(mesh: &Mesh, app: &str, namespace: &str, url: &str) -> String {
    let pod = &mesh.pods(app, namespace)[0];
    let arguments = ["exec", pod, "-n", namespace, "-c", "app", "--"];
    let curl = ["curl", "-sS", "-m", "20", "-w", " %{http_code}", url];
    let all: Vec<&str> = arguments.into_iter().chain(curl).collect();
    String::from_utf8_lossy(&mesh.try_run(&all).stdout).into_owned()
}

/// A good answer of the outside.
fn open() -> String {
    format!("{OUTSIDE} 200")
}

/// Requests that the outside was sent, by its log.
#[track_caller]
fn arrived(mesh: &Mesh) -> String {
    mesh.logs(&mesh.pods("outside", "outside")[0], "app", "outside")
}

#[test]
fn row_099_what_is_not_registered_is_not_reached() {
    let mesh = restricted("row-099");
    let before = arrived(&mesh);
    assert_eq!(ask(&mesh, "hello", "default", "http://ifconfig.co/"), " 502");
    assert_eq!(arrived(&mesh), before, "nothing is sent there");
}

#[test]
fn row_101_a_service_entry_opens_its_host() {
    let mesh = restricted("row-101");
    mesh.apply(&manifest("external-service.yaml"));
    assert_eq!(ask(&mesh, "hello", "default", "http://ifconfig.co/"), open());
}

#[test]
fn row_102_and_103_tls_is_passed_on_by_its_server_name() {
    let mesh = restricted("row-102");
    assert_eq!(tls(&mesh, "ifconfig.co", false), refused());
    mesh.apply(&manifest("external-service.yaml"));
    let (code, status) = tls(&mesh, "ifconfig.co", false);
    assert!(code == 0 && status != "000", "{code} {status}");
    // The certificate is the outside's own, which this client does not trust.
    assert_eq!(tls(&mesh, "ifconfig.co", true).0, 60);
    // Another name at the same address is closed.
    assert_eq!(tls(&mesh, "example.com", false), refused());
}

#[test]
fn row_107_the_older_spelling_of_server_names_is_taken() {
    let mesh = restricted("row-107");
    mesh.apply(&manifest("external-service.yaml"));
    let service = mesh.list("virtualservices/ifconfig-co", "default").remove(0);
    let matched = &service["spec"]["tls"][0]["match"][0];
    let names = ["sniHosts", "sni_hosts"].into_iter().find_map(|name| matched.get(name));
    assert_eq!(names, Some(&json!(["ifconfig.co"])));
    assert_eq!(tls(&mesh, "ifconfig.co", false).0, 0);
}

#[test]
fn row_104_a_service_entry_opens_no_other_host() {
    let mesh = restricted("row-104");
    mesh.apply(&manifest("external-service.yaml"));
    assert_eq!(tls(&mesh, "example.com", false), refused());
    assert_eq!(ask(&mesh, "hello", "default", "http://example.com/"), " 502");
    assert_eq!(ask(&mesh, "hello", "default", "http://ifconfig.co/"), open());
}

#[test]
fn row_105_a_service_entry_is_for_the_whole_mesh() {
    let mesh = restricted("row-105");
    assert_eq!(ask(&mesh, "hello", "ns2", "http://ifconfig.co/"), " 502");
    mesh.apply(&manifest("external-service.yaml"));
    assert_eq!(ask(&mesh, "hello", "ns2", "http://ifconfig.co/"), open());
}

#[test]
fn row_106_only_sidecars_restrict() {
    let mesh = restricted("row-106");
    assert_eq!(ask(&mesh, "bare", "outside", "http://ifconfig.co/"), open());
}

#[test]
fn row_108_what_is_deleted_is_closed_again() {
    let mesh = restricted("row-108");
    let file = manifest("external-service.yaml");
    mesh.apply(&file);
    assert_eq!(ask(&mesh, "hello", "default", "http://ifconfig.co/"), open());
    assert_eq!(tls(&mesh, "ifconfig.co", false).0, 0);
    mesh.run(&["delete", "-f", &file.display().to_string()]);
    assert_eq!(ask(&mesh, "hello", "default", "http://ifconfig.co/"), " 502");
    assert_eq!(tls(&mesh, "ifconfig.co", false), refused());
}

//! Row 100, and TLS that is passed on by server name: at the gateway and beside the client. The
//! server that ends it is the control plane's, which has a certificate of its own.

use std::{fs, net::SocketAddr, process::Command};

use serde_json::json;

use crate::mesh::{Mesh, WEFT, manifest};

/// A gateway that passes TLS on to the control plane.
const PASSTHROUGH: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [istiod.istio-system.svc, '*.example']
    tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls, namespace: istio-system}
spec:
  hosts: [istiod.istio-system.svc]
  gateways: [tls]
  tls:
  - match: [{port: 443, sniHosts: [istiod.istio-system.svc]}]
    route: [{destination: {host: istiod.istio-system.svc.cluster.local, port: {number: 443}}}]
";

/// A name for the control plane, beside clients.
const VAULT: &str = "
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: default}
spec: {ports: [{name: https, port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vault, namespace: default}
spec:
  hosts: [vault, istiod.istio-system.svc]
  tls:
  - match: [{port: 443, sni_hosts: [istiod.istio-system.svc]}]
    route: [{destination: {host: istiod.istio-system.svc.cluster.local, port: {number: 443}}}]
";

/// The exit code of `curl` on this machine, which resolves `host` to `to`, and the status.
fn curl(host: &str, to: SocketAddr, more: &[&str]) -> (i32, String) {
    let resolve = format!("{host}:{}:{}", to.port(), to.ip());
    let url = format!("https://{host}:{}/", to.port());
    let output = Command::new(WEFT)
        .args(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", &resolve])
        .args(more)
        .arg(&url)
        .output()
        .expect("the program starts");
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), status)
}

/// What may not be reached, since curl has no connection that it can speak TLS over.
fn is_closed((code, status): &(i32, String)) -> bool {
    *code == 35 && status == "000"
}

#[test]
fn a_gateway_passes_tls_on_by_server_name() {
    let mesh = Mesh::empty("sni-gateway");
    mesh.pipe(&["apply", "-f", "-"], PASSTHROUGH);
    let gateway = mesh.host_address("istio-system/istio-ingressgateway:443");
    // Whose certificate is shown is checked: the gateway does not end TLS.
    let root = mesh.list("configmaps/istio-ca-root-cert", "default").remove(0);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("root.pem");
    fs::write(&path, root["data"]["root-cert.pem"].as_str().expect("a root")).expect("written");
    let trusted = ["--cacert", path.to_str().expect("a path")];
    let answered = mesh.eventually("the control plane answers", || {
        let (code, status) = curl("istiod.istio-system.svc", gateway, &trusted);
        (code == 0).then_some(status)
    });
    assert_ne!(answered, "000");
    for unknown in ["other.example", "x.istiod.istio-system.svc"] {
        let found = curl(unknown, gateway, &["-k"]);
        assert!(is_closed(&found), "{unknown}: {found:?}");
    }
    let plain = format!("http://{gateway}/");
    let output = mesh.command(["curl", "-sS", &plain]).output().expect("the program starts");
    assert!(!output.status.success(), "plaintext is not TLS");
    let unknown = format!("https://other.example:{}/", gateway.port());
    let told = mesh.run(&["explain", "--from", "ingress", "--to", &gateway.to_string(), &unknown]);
    assert!(told.contains("other.example"), "{told}");
}

#[test]
fn row_100_where_the_outside_is_closed_tls_is_closed_in_its_handshake() {
    let mesh = Mesh::empty("row-100");
    mesh.inject_and_apply(&manifest("helloworld.yaml"));
    mesh.wait_for_deployments("default");
    mesh.pipe(&["apply", "-f", "-"], VAULT);
    let pod = mesh.pods("hello", "default").remove(0);
    let mut settings = mesh.list("configmaps/istio", "istio-system").remove(0);
    let text = settings["data"]["mesh"].as_str().expect("settings");
    settings["data"]["mesh"] =
        json!(format!("{text}\noutboundTrafficPolicy: {{mode: REGISTRY_ONLY}}\n"));
    settings["metadata"] = json!({"name": "istio", "namespace": "istio-system"});
    mesh.pipe(&["apply", "-f", "-"], &settings.to_string());
    let ask = |host: &str, address: &str| {
        let (resolve, url) = (format!("{host}:443:{address}"), format!("https://{host}/"));
        let all = ["-k", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", &resolve, &url];
        mesh.curl_in(&pod, "hello", &all)
    };
    mesh.eventually("the outside is closed", || {
        is_closed(&ask("ifconfig.co", "203.0.113.7")).then_some(())
    });
    // What a rule names is reached by that name, at an address behind which nothing is.
    let vault = mesh.list("services/vault", "default").remove(0);
    let address = vault["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let answered = mesh.eventually("the rule is in force", || {
        let (code, status) = ask("istiod.istio-system.svc", &address);
        (code == 0).then_some(status)
    });
    assert_ne!(answered, "000");
    // Another name is nobody's.
    let found = ask("example.com", &address);
    assert!(is_closed(&found), "{found:?}");
}

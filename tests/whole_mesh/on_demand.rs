//! Configuration on demand under stress: what a proxy knows follows what its
//! workload uses, and does not depend on the control plane being there.

use std::{fs, path::PathBuf};

use crate::mesh::{Mesh, manifest};

/// Manifests of a test, in a folder of its own.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file");
    (folder, path)
}

/// A pod without a sidecar that plays addresses beyond the mesh.
const OUTSIDE: &str = "apiVersion: v1
kind: Pod
metadata:
  name: beyond
  labels:
    sidecar.istio.io/inject: \"false\"
  annotations:
    weft.internal/outside-addresses: 198.51.0.0/16
    weft.internal/outside-names: beyond.example
spec:
  containers:
  - name: app
    image: wardviaene/http-echo
    env:
    - name: TEXT
      value: beyond
";

/// The value of a metric of a pod's proxy, summed over its series.
#[track_caller]
fn metric(mesh: &Mesh, pod: &str, name: &str) -> f64 {
    let text = metrics(mesh, pod);
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.starts_with(['{', ' ']).then(|| line.rsplit(' ').next())??;
            value.parse().ok()
        })
        .collect();
    assert!(!values.is_empty(), "no {name} among\n{text}");
    values.iter().sum()
}

#[track_caller]
fn metrics(mesh: &Mesh, pod: &str) -> String {
    let url = "http://localhost:15090/stats/prometheus";
    let (code, text) = mesh.curl_in(pod, "istio-proxy", &[url]);
    assert_eq!(code, 0, "{text}");
    text
}

/// Memory of a pod's proxy that nobody else shares, in bytes.
#[track_caller]
fn memory(mesh: &Mesh, pod: &str) -> f64 {
    // Pages of the program's file are not the workload's, and differ by chance.
    metric(mesh, pod, "weft_anonymous_memory_bytes")
}

#[test]
fn without_a_control_plane_known_names_and_the_outside_keep_working() {
    let (_folder, outside) = file("outside.yaml", OUTSIDE);
    let mesh = Mesh::start("on-demand-dead", &[manifest("helloworld.yaml"), outside], &[]);
    mesh.wait_for_deployments("default");
    let pod = mesh.pods("hello", "default")[0].clone();
    let call = |url: &str| mesh.curl_in(&pod, "hello", &["-w", "%{http_code}", "-m", "5", url]);
    // Whichever pod of `world` answers later, its sidecar knows the next name.
    for world in mesh.pods("world", "default") {
        let (code, said) = mesh.curl_in(&world, "world", &["-m", "5", "http://world-2:8080/"]);
        assert_eq!((code, said.as_str()), (0, "!!!"), "{world}");
    }
    assert_eq!(call("http://world:8080/"), (0, "world !!!\n200".to_owned()));

    mesh.run(&["scale", "deployment", "istiod", "-n", "istio-system", "--replicas", "0"]);
    mesh.eventually("the control plane is gone", || {
        mesh.list("pods", "istio-system")
            .iter()
            .all(|pod| pod["metadata"]["labels"]["app"] != "istiod")
            .then_some(())
    });
    assert_eq!(call("http://world:8080/"), (0, "world !!!\n200".to_owned()));
    // 500 addresses never seen before, by one client that sends 100 a second.
    let urls: Vec<String> =
        (0..500).map(|n| format!("http://198.51.{}.{}:8080/", n / 250, n % 250 + 1)).collect();
    let mut arguments =
        vec!["-m", "5", "--rate", "100/s", "-o", "/dev/null", "-w", "%{http_code}\n"];
    arguments.extend(urls.iter().map(String::as_str));
    let (code, said) = mesh.curl_in(&pod, "hello", &arguments);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("200\n").count(), 500, "{said}");
}

#[test]
fn a_flood_of_random_hosts_adds_nothing() {
    let mesh = Mesh::start("on-demand-flood", &[manifest("helloworld.yaml")], &[]);
    mesh.wait_for_deployments("default");
    let pod = mesh.pods("hello", "default")[0].clone();
    let flood = |from: usize, to: usize| {
        for batch in (from..to).step_by(200) {
            let mut arguments = vec!["-m".to_owned(), "5".to_owned()];
            for number in batch..(batch + 200).min(to) {
                if number > batch {
                    arguments.push("--next".to_owned());
                }
                let host = format!("Host: h{}.random.example", number.wrapping_mul(2_654_435_761));
                arguments.extend(["-o", "/dev/null", "-H", &host].map(str::to_owned));
                arguments.push("http://world:8080/".to_owned());
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let (code, said) = mesh.curl_in(&pod, "hello", &arguments);
            assert_eq!(code, 0, "{said}");
        }
    };
    let series = || -> std::collections::BTreeSet<String> {
        let text = metrics(&mesh, &pod);
        let names = text.lines().filter(|line| line.starts_with("istio_"));
        names.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    flood(0, 500);
    let (interests, before) = (metric(&mesh, &pod, "weft_interests"), series());
    let memory_before = memory(&mesh, &pod);
    flood(500, 5_000);
    let grown = memory(&mesh, &pod) - memory_before;
    assert_eq!(metric(&mesh, &pod, "weft_interests"), interests);
    // How an answer ends may differ on a busy machine; what it was for may add nothing.
    let added: Vec<_> = series().difference(&before).cloned().collect();
    assert!(added.len() < 20, "{added:#?}");
    assert!(!added.iter().any(|name| name.contains("random")), "{added:#?}");
    assert!(grown < 1e6, "{grown} bytes more");
}

/// So many services with one endpoint each, which nobody calls.
fn services(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let (high, low) = (number / 250, number % 250 + 1);
        text.push_str(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: many}}\nspec:\n  ports: [{{name: http, \
             port: 8080}}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{number}-1\n  \
             namespace: many\n  labels: {{kubernetes.io/service-name: s{number}}}\naddressType: IPv4\nendpoints: [{{addresses: \
             [10.200.{high}.{low}], conditions: {{ready: true}}}}]\nports: [{{name: http, port: 8080}}]\n---\n"
        ));
    }
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: many}}\n---\n{text}")
}

#[test]
fn memory_follows_what_a_workload_uses_not_what_exists() {
    let used = |name: &str, count: usize| {
        let (_folder, many) = file("many.yaml", &services(count));
        let mesh = Mesh::start(name, &[manifest("helloworld.yaml"), many], &["--timeout", "120"]);
        mesh.wait_for_deployments("default");
        let pods = mesh.pods("hello", "default");
        let used = pods.iter().map(|pod| {
            for service in ["hello", "world", "world-2"] {
                let url = format!("http://{service}:8080/");
                let (code, said) = mesh.curl_in(pod, "hello", &[&url]);
                assert_eq!(code, 0, "{said}");
            }
            memory(&mesh, pod)
        });
        used.fold(f64::INFINITY, f64::min)
    };
    let (few, many) = (used("on-demand-few", 10), used("on-demand-many", 5_000));
    eprintln!("{few} {many}");
    assert!((many - few).abs() < 1e6, "{few} bytes with 10 services, {many} with 5,000");
}

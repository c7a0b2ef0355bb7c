//! Rows 16 to 23: the gateway, and a chain of three services behind it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    mesh::{Mesh, manifest},
    outside,
};

/// What the chain of three answers.
const BODY: &str = "hello world !!!\n\n";

/// `KI(helloworld.yaml)`.
#[track_caller]
fn chain(name: &str) -> Mesh {
    let mesh = Mesh::empty(name);
    mesh.inject_and_apply(&manifest("helloworld.yaml"));
    mesh.wait_for_deployments("default");
    mesh
}

/// State HELLO of the table.
#[track_caller]
fn hello(name: &str) -> Mesh {
    let mesh = chain(name);
    mesh.apply(&manifest("helloworld-gw.yaml"));
    mesh
}

/// Requests per application pod, from the lines that the stand-in logs.
fn served(mesh: &Mesh, app: &str) -> BTreeMap<String, usize> {
    let pods = mesh.pods(app, "default");
    pods.into_iter()
        .map(|pod| {
            let log = mesh.logs(&pod, app, "default");
            let lines = log.lines().filter(|line| line.starts_with("GET /")).count();
            (pod, lines)
        })
        .collect()
}

#[test]
fn row_016_nothing_is_exposed_without_a_gateway_and_a_virtual_service() {
    let mesh = chain("row-016");
    assert_eq!(mesh.host_ports(), Vec::<String>::new(), "no port on the host");
    let pod = &mesh.pods("hello", "default")[0];
    let url = "http://istio-ingressgateway.istio-system/hello";
    let (code, status) =
        mesh.curl_in(pod, "hello", &["-o", "/dev/null", "-w", "%{http_code}", url]);
    let refused = code == 7 || code == 56 || code == 52;
    assert!(refused || status == "404" || status == "503", "exit {code}, status {status}");
}

#[test]
fn row_017_the_chain_answers_whatever_the_host() {
    let mesh = hello("row-017");
    for host in ["", "Host: hello.example.com\r\n", "Host: anything:1234\r\n"] {
        let response = outside::send(mesh.gateway(), "GET", "/hello", host, "");
        assert_eq!((response.status, response.body.as_str()), (200, BODY), "{host:?}");
    }
    let total: usize = served(&mesh, "world-2").values().sum();
    assert_eq!(total, 3, "each request reached the end of the chain once");
}

#[test]
fn row_018_other_paths_are_refused_at_the_gateway() {
    let mesh = hello("row-018");
    for path in ["/", "/other"] {
        let response = outside::get(mesh.gateway(), path);
        assert_eq!((response.status, response.body.as_str()), (404, ""), "{path}");
    }
    for app in ["hello", "world", "world-2"] {
        assert_eq!(served(&mesh, app).values().sum::<usize>(), 0, "{app} was asked");
    }
}

#[test]
fn row_019_a_prefix_is_a_prefix_of_the_text() {
    let mesh = hello("row-019");
    for path in ["/hello/x", "/helloworld"] {
        let response = outside::get(mesh.gateway(), path);
        assert_eq!((response.status, response.body.as_str()), (200, BODY), "{path}");
    }
}

#[test]
fn row_020_methods_other_than_get_work() {
    let mesh = hello("row-020");
    let post = outside::send(mesh.gateway(), "POST", "/hello", "", "a body of any kind");
    assert_eq!((post.status, post.body.as_str()), (200, BODY));
    let head = outside::send(mesh.gateway(), "HEAD", "/hello", "", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn row_021_services_call_each_other_without_a_virtual_service() {
    let mesh = chain("row-021");
    let pod = &mesh.pods("hello", "default")[0];
    let call = |url: &str| mesh.curl_in(pod, "hello", &["-w", "%{http_code}", url]);
    assert_eq!(call("http://world:8080/"), (0, "world !!!\n200".to_owned()));
    assert_eq!(call("http://world-2:8080/"), (0, "!!!200".to_owned()));
}

#[test]
fn row_022_requests_are_spread_over_all_pods() {
    let mesh = hello("row-022");
    let gateway = mesh.gateway();
    for _ in 0..90 {
        let response = outside::get(gateway, "/hello");
        assert_eq!((response.status, response.body.as_str()), (200, BODY));
    }
    for app in ["hello", "world", "world-2"] {
        let pods = mesh.pods(app, "default");
        assert_eq!(pods.len(), 3);
        for pod in pods {
            let log = mesh.logs(&pod, "istio-proxy", "default");
            let lines = log.lines().filter(|line| line.contains("inbound|8080||")).count();
            assert!(lines >= 10, "{pod} served {lines} of 90:\n{log}");
        }
    }
}

#[test]
fn row_023_deleting_a_pod_costs_nobody_a_request() {
    let mesh = hello("row-023");
    let gateway = mesh.gateway();
    let victim = mesh.pods("world", "default")[0].clone();
    let begun = Instant::now();
    for number in 0..300_u32 {
        if number == 100 {
            mesh.run(&["delete", "pod", &victim, "--wait=false"]);
        }
        let due = begun + Duration::from_millis(200) * number;
        crate::waiting::until(due);
        let response = outside::get(gateway, "/hello");
        assert_eq!((response.status, response.body.as_str()), (200, BODY), "request {number}");
    }
    assert!(!mesh.pods("world", "default").contains(&victim), "{victim} is gone");
}

#[test]
fn an_ingress_is_served_at_the_gateway() {
    let mesh = chain("ingress");
    mesh.apply(&manifest("ingress.yaml"));
    let gateway = mesh.gateway();
    let ask = |path: &str, host: &str| {
        let response = outside::send(gateway, "GET", path, &format!("Host: {host}\r\n"), "");
        (response.status, response.body)
    };
    assert_eq!(ask("/hello", "hello.example.com"), (200, BODY.to_owned()));
    // The path is exact, and the rest is the default backend's.
    let rest = (200, "!!!".to_owned());
    assert_eq!(ask("/hello/x", "hello.example.com"), rest);
    assert_eq!(ask("/", "other.example.com"), rest);
    mesh.run(&["delete", "ingress", "hello"]);
    let is_gone = || (mesh.host_ports().is_empty()).then_some(());
    mesh.eventually("the port is closed", is_gone);
}

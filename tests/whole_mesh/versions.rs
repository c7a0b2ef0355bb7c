//! Rows 24 to 41: versions of a service, a canary, and retries around a slow pod.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    mesh::{Mesh, manifest},
    outside::{self, Response},
};

const V1: &str = "hello world !!!\n\n";
const V2: &str = "hello, this is v2 !!!\n";

/// State V2 of the table.
#[track_caller]
fn v2(name: &str) -> Mesh {
    let mesh = Mesh::empty(name);
    mesh.inject_and_apply(&manifest("helloworld.yaml"));
    mesh.apply(&manifest("helloworld-gw.yaml"));
    mesh.inject_and_apply(&manifest("helloworld-v2.yaml"));
    mesh.apply(&manifest("helloworld-v2-routing.yaml"));
    mesh.wait_for_deployments("default");
    mesh
}

/// State CANARY.
#[track_caller]
fn canary(name: &str) -> Mesh {
    let mesh = v2(name);
    mesh.apply(&manifest("helloworld-canary.yaml"));
    mesh
}

/// State V3.
#[track_caller]
fn v3(name: &str) -> Mesh {
    let mesh = canary(name);
    mesh.inject_and_apply(&manifest("helloworld-v3.yaml"));
    mesh.wait_for_deployments("default");
    mesh
}

#[track_caller]
fn ask(gateway: SocketAddr, host: &str, more: &str) -> Response {
    outside::send(gateway, "GET", "/", &format!("Host: {host}\r\n{more}"), "")
}

/// What host `hello.example.com` answers.
#[track_caller]
fn hello(gateway: SocketAddr, more: &str) -> (u16, String) {
    let response = ask(gateway, "hello.example.com", more);
    (response.status, response.body)
}

fn ok(body: &str) -> (u16, String) {
    (200, body.to_owned())
}

/// Of 1,000 answers about 100 are version 2's, and all others version 1's.
#[track_caller]
fn one_in_ten(gateway: SocketAddr, more: &str) {
    let answers: Vec<_> = (0..1_000).map(|_| hello(gateway, more)).collect();
    assert!(answers.iter().all(|answer| *answer == ok(V1) || *answer == ok(V2)));
    let second = answers.iter().filter(|answer| **answer == ok(V2)).count();
    assert!((70..=130).contains(&second), "{second}");
}

/// The pod that answered for version 3, and how long it took.
#[track_caller]
fn third(gateway: SocketAddr) -> (String, Duration) {
    let began = Instant::now();
    let response = ask(gateway, "hello-v3.example.com", "");
    assert_eq!(response.status, 200, "{}", response.body);
    let pod = response.body.strip_prefix("hello, this is ").expect("the pod's text").to_owned();
    assert!(!pod.starts_with("hello-v3-latency-"), "{pod}");
    (pod, began.elapsed())
}

/// The pods of a Deployment of version 3, by the beginning of their names.
#[track_caller]
fn pods(mesh: &Mesh, deployment: &str) -> Vec<String> {
    let is_slow = |pod: &String| pod.starts_with("hello-v3-latency-");
    let all = mesh.pods("hello", "default").into_iter();
    let own = all.filter(|pod| pod.starts_with("hello-v3-"));
    own.filter(|pod| is_slow(pod) == (deployment == "hello-v3-latency")).collect()
}

#[test]
fn row_024_everybody_gets_the_first_version() {
    let mesh = v2("row-024");
    for _ in 0..30 {
        assert_eq!(hello(mesh.gateway(), ""), ok(V1));
    }
}

#[test]
fn row_025_one_user_gets_the_second_version() {
    let mesh = v2("row-025");
    for _ in 0..30 {
        assert_eq!(hello(mesh.gateway(), "end-user: john\r\n"), ok(V2));
    }
}

#[test]
fn row_026_an_exact_value_is_compared_with_its_case() {
    let mesh = v2("row-026");
    assert_eq!(hello(mesh.gateway(), "end-user: John\r\n"), ok(V1));
}

#[test]
fn row_027_names_of_headers_ignore_case_and_values_are_whole() {
    let mesh = v2("row-027");
    assert_eq!(hello(mesh.gateway(), "end-user: johnny\r\n"), ok(V1));
    assert_eq!(hello(mesh.gateway(), "end-user:\r\n"), ok(V1));
    assert_eq!(hello(mesh.gateway(), "End-User: john\r\n"), ok(V2));
}

#[test]
fn row_028_a_virtual_service_that_is_replaced_serves_its_new_hosts_only() {
    let mesh = v2("row-028");
    for host in ["other.example.com", "localhost"] {
        let response =
            outside::send(mesh.gateway(), "GET", "/hello", &format!("Host: {host}\r\n"), "");
        assert_eq!((response.status, response.body.as_str()), (404, ""), "{host}");
    }
}

#[test]
fn row_029_an_empty_tag_changes_nothing() {
    let mesh = v2("row-029");
    let object = mesh.list("virtualservices/helloworld", "default").remove(0);
    let rules = object["spec"]["http"].as_array().expect("rules");
    let last = &rules.last().expect("a rule")["route"][0]["destination"]["host"];
    assert_eq!(last, "hello.default.svc.cluster.local");
}

#[test]
fn row_030_rules_of_a_gateway_are_not_for_the_mesh() {
    let mesh = v2("row-030");
    let pod = &mesh.pods("world", "default")[0];
    for header in ["x-nobody: x", "end-user: john"] {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..60 {
            let (code, body) = mesh.curl_in(pod, "world", &["-H", header, "http://hello:8080/"]);
            assert_eq!(code, 0, "{body}");
            *seen.entry(body).or_default() += 1;
        }
        assert_eq!(seen.keys().collect::<Vec<_>>(), [V1, V2], "{header}: {seen:?}");
        assert!(seen.values().all(|count| *count >= 10), "{header}: {seen:?}");
    }
}

#[test]
fn row_031_one_request_in_ten_gets_the_second_version() {
    let mesh = canary("row-031");
    one_in_ten(mesh.gateway(), "");
}

#[test]
fn row_032_a_canary_is_for_every_user() {
    let mesh = canary("row-032");
    one_in_ten(mesh.gateway(), "end-user: john\r\n");
}

#[test]
fn row_033_rules_come_back_without_a_failed_request() {
    let mesh = canary("row-033");
    let gateway = mesh.gateway();
    let asking = thread::spawn(move || {
        let mut in_a_row = 0;
        // Thirty of the second version in a row: by the canary alone that never happens.
        while in_a_row < 30 {
            let answer = hello(gateway, "end-user: john\r\n");
            assert!(answer == ok(V1) || answer == ok(V2), "{answer:?}");
            in_a_row = if answer == ok(V2) { in_a_row + 1 } else { 0 };
        }
    });
    mesh.apply(&manifest("helloworld-v2-routing.yaml"));
    mesh.eventually("the old rules are back", || asking.is_finished().then_some(()));
    asking.join().expect("no request failed");
    for _ in 0..30 {
        assert_eq!(hello(gateway, ""), ok(V1));
    }
}

#[test]
fn row_034_nobody_waits_for_the_slow_pod() {
    let mesh = v3("row-034");
    let gateway = mesh.gateway();
    let fast = pods(&mesh, "hello-v3");
    assert_eq!(fast.len(), 2);
    let answers: Vec<_> = (0..60).map(|_| third(gateway)).collect();
    for (pod, took) in &answers {
        assert!(fast.contains(pod), "{pod}");
        assert!(*took < Duration::from_millis(4_500), "{took:?}");
    }
}

#[test]
fn row_035_many_clients_at_once_never_get_the_slow_pod() {
    let mesh = v3("row-035");
    let gateway = mesh.gateway();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..10 {
                    let (_, took) = third(gateway);
                    assert!(took < Duration::from_secs(10), "{took:?}");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("all are answered"));
}

#[test]
fn row_036_tries_that_were_given_up_are_in_the_slow_pods_log() {
    let mesh = v3("row-036");
    let gateway = mesh.gateway();
    let slow = pods(&mesh, "hello-v3-latency").remove(0);
    mesh.eventually("a try is given up", || {
        let (_, took) = third(gateway);
        (took > Duration::from_secs(2)).then_some(())
    });
    mesh.eventually("the slow pod's proxy tells of it", || {
        let log = mesh.logs(&slow, "istio-proxy", "default");
        log.lines()
            .any(|line| line.contains(" DC ") && line.contains("downstream_remote_disconnect"))
            .then_some(())
    });
}

#[test]
fn row_037_a_pod_whose_application_is_down_costs_nobody_a_request() {
    let mesh = v3("row-037");
    let gateway = mesh.gateway();
    let victim = pods(&mesh, "hello-v3").remove(0);
    // It is ended as often as it comes back.
    for number in 0..60 {
        end_application(&victim);
        let (pod, _) = third(gateway);
        assert!(pod.starts_with("hello-v3-"), "request {number}: {pod}");
    }
    let pod = mesh.list(&format!("pods/{victim}"), "default").remove(0);
    let statuses = pod["status"]["containerStatuses"].as_array().expect("it has run");
    let own = statuses.iter().find(|one| one["name"] == "hello").expect("its application");
    assert!(own["restartCount"].as_u64() > Some(0), "{own}");
}

/// Ends the application of a pod, if it runs: the process that has the pod's name in its
/// environment. It is the first of its namespace, where nothing else can end it.
fn end_application(pod: &str) {
    let name = format!("MY_POD_NAME={pod}");
    let is_own = |process: &Path| {
        let read = |file| fs::read(process.join(file)).unwrap_or_default();
        let environment = read("environ");
        let is_of_pod = environment.split(|byte| *byte == 0).any(|one| one == name.as_bytes());
        is_of_pod && String::from_utf8_lossy(&read("cmdline")).contains("http-echo")
    };
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    for process in processes.filter(|process| is_own(&process.path())) {
        let number = process.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = number.and_then(rustix::process::Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn row_038_when_only_the_slow_pod_is_left_the_client_is_told_in_time() {
    let mesh = v3("row-038");
    mesh.run(&["scale", "deployment", "hello-v3", "--replicas", "0"]);
    mesh.eventually("the fast pods are gone", || pods(&mesh, "hello-v3").is_empty().then_some(()));
    let began = Instant::now();
    let response = ask(mesh.gateway(), "hello-v3.example.com", "");
    assert_eq!((response.status, response.body.as_str()), (504, "upstream request timeout"));
    let took = began.elapsed();
    assert!((Duration::from_secs(6)..Duration::from_secs(9)).contains(&took), "{took:?}");
}

#[test]
fn row_039_limits_of_a_gateways_route_are_not_for_the_mesh() {
    let mesh = v3("row-039");
    let slow = pods(&mesh, "hello-v3-latency").remove(0);
    let pod = mesh.list(&format!("pods/{slow}"), "default").remove(0);
    let url = format!("http://{}:8080/", pod["status"]["podIP"].as_str().expect("an address"));
    let client = &mesh.pods("world", "default")[0];
    let began = Instant::now();
    let (code, body) = mesh.curl_in(client, "world", &["-w", "%{http_code}", &url]);
    assert_eq!((code, body), (0, format!("hello, this is {slow}200")));
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn row_040_a_third_version_changes_nothing_for_other_hosts() {
    let mesh = v3("row-040");
    one_in_ten(mesh.gateway(), "");
}

#[test]
fn row_041_a_destination_rule_can_be_read() {
    let mesh = v3("row-041");
    assert!(mesh.run(&["get", "destinationrule"]).contains("hello"));
    let described = mesh.run(&["describe", "destinationrule", "hello"]);
    for subset in ["v1", "v2", "v3"] {
        assert!(described.contains(subset), "{described}");
    }
}

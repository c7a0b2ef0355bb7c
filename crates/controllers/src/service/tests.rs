//! Endpoints as a Service's clients see them.

use super::*;

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "spec": spec,
           "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"app": "web"}}})
}

fn pod(name: &str, address: &str, port: u16, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]},
    })
}

/// The slices as lines: ports, then endpoints with the conditions that are true.
#[track_caller]
fn check(spec: Value, pods: &[Value], expected: &[&str]) {
    let views: Vec<&Value> = pods.iter().collect();
    let lines: Vec<String> = slices(&service(spec), &views)
        .iter()
        .map(|slice| {
            let ports: Vec<String> =
                items(&slice["ports"]).map(|port| port["port"].to_string()).collect();
            let endpoints: Vec<String> = items(&slice["endpoints"])
                .map(|endpoint| {
                    let conditions = endpoint["conditions"].as_object().unwrap();
                    let mut words: Vec<&str> = conditions
                        .iter()
                        .filter(|(_, on)| **on == true)
                        .map(|(word, _)| word.as_str())
                        .collect();
                    words.sort_unstable();
                    format!("{}({})", endpoint["addresses"][0].as_str().unwrap(), words.join(" "))
                })
                .collect();
            format!("{}: {}", ports.join(","), endpoints.join(" "))
        })
        .collect();
    assert_eq!(lines, expected);
}

fn spec() -> Value {
    json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]})
}

#[test]
fn endpoints_say_whether_they_are_ready_serving_and_ending() {
    let mut ending = pod("c", "10.244.0.4", 8080, "True");
    ending["metadata"]["deletionTimestamp"] = "now".into();
    let pods =
        [pod("a", "10.244.0.2", 8080, "True"), pod("b", "10.244.0.3", 8080, "False"), ending];
    check(
        spec(),
        &pods,
        &["8080: 10.244.0.2(ready serving) 10.244.0.3() 10.244.0.4(serving terminating)"],
    );
}

#[test]
fn a_name_that_means_different_ports_makes_different_slices() {
    let pods = [pod("a", "10.244.0.2", 8080, "True"), pod("b", "10.244.0.3", 9090, "True")];
    check(spec(), &pods, &["8080: 10.244.0.2(ready serving)", "9090: 10.244.0.3(ready serving)"]);
}

#[test]
fn not_ready_addresses_are_published_where_that_is_wished() {
    let mut published = spec();
    published["publishNotReadyAddresses"] = true.into();
    check(published, &[pod("b", "10.244.0.3", 80, "False")], &["80: 10.244.0.3(ready)"]);
}

#[test]
fn pods_without_address_or_at_their_end_are_no_endpoints() {
    let (mut pending, mut over) = (pod("a", "x", 80, "True"), pod("b", "10.244.0.3", 80, "True"));
    pending["status"] = json!({"phase": "Pending"});
    over["status"]["phase"] = "Succeeded".into();
    check(spec(), &[pending, over], &[": "]);
}

#[test]
fn a_service_without_selector_or_with_another_name_has_no_slices_of_ours() {
    check(json!({"ports": [{"port": 80}]}), &[], &[]);
    check(json!({"type": "ExternalName", "selector": {"app": "web"}}), &[], &[]);
}

#[test]
fn only_what_changed_is_written() {
    let web = service(spec());
    let one = pod("a", "10.244.0.2", 8080, "True");
    let [Write::Create(slice)] = &step(&web, &[&one], &[])[..] else { panic!("must make one") };
    assert_eq!(step(&web, &[&one], &[slice]), []);
    let other = pod("b", "10.244.0.3", 8080, "True");
    let [Write::Update(grown)] = &step(&web, &[&one, &other], &[slice])[..] else {
        panic!("must grow")
    };
    assert_eq!(grown["metadata"]["name"], slice["metadata"]["name"]);
    let [Write::Delete(_)] = &step(&service(json!({})), &[&one], &[slice])[..] else {
        panic!("must end")
    };
}

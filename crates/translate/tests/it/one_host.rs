//! What one change costs, diagnostics with it, where many objects are about one host, port or
//! gateway: so much for each of them, not for each pair. Four times as many must not take about
//! sixteen times as long.

use serde_json::{Value, json};
use weft_api::{Key, Object};
use weft_testkit::processor_time::used;
use weft_translate::Translator;

fn object(value: Value) -> (Key, Option<Object>) {
    let object = weft_api::check(&value).object.expect("an object");
    (object.key(), Some(object))
}

fn istio(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "evil"}, "spec": spec,
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "evil"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]},
    })
}

/// The time that a processor takes until all that is wrong is known after one of `world` became
/// `changed`, the shortest of three.
fn one_change(world: Vec<Value>, changed: impl Fn(usize) -> Value) -> u64 {
    let mut translator = Translator::new();
    translator.change(world.into_iter().map(object));
    translator.diagnostics();
    let once = |at| {
        let changed = object(changed(at));
        let begun = used();
        translator.change([changed]);
        translator.examine(usize::MAX);
        used() - begun
    };
    (0..3).map(once).min().unwrap_or_default()
}

/// Four times as many of a world cost about four times as much.
#[track_caller]
fn grows_with_the_number(few: usize, cost: impl Fn(usize) -> u64) {
    let (few, many) = (cost(few), cost(4 * few));
    assert!(many < few * 9, "{few} and {many}");
}

fn rule(at: usize, balancer: &str) -> Value {
    let spec = json!({
        "host": "db",
        "subsets": [{"name": format!("s{at}"), "labels": {"a": "b"}}],
        "trafficPolicy": {"loadBalancer": {"simple": balancer}},
    });
    istio("DestinationRule", &format!("d{at}"), spec)
}

#[test]
fn a_change_of_one_of_many_destination_rules_of_a_host() {
    grows_with_the_number(400, |count| {
        let rules = (0..count).map(|at| rule(at, "RANDOM"));
        let names = |turn: usize| {
            let mut changed = rule(0, "RANDOM");
            changed["spec"]["subsets"][0]["name"] = json!(format!("t{turn}"));
            changed
        };
        one_change(rules.chain([service()]).collect(), names)
    });
}

#[test]
fn a_change_of_what_one_of_many_destination_rules_does_examines_no_other() {
    let mut translator = Translator::new();
    let rules = (0..50).map(|at| rule(at, "RANDOM"));
    translator.change(rules.chain([service()]).map(object));
    translator.examine(usize::MAX);
    translator.change([object(rule(7, "ROUND_ROBIN"))]);
    assert_eq!(translator.examine(usize::MAX).count, 1);
}

fn routes(at: usize, prefix: &str) -> Value {
    let spec = json!({
        "hosts": ["db"],
        "http": [{
            "match": [{"uri": {"prefix": prefix}}],
            "route": [{"destination": {"host": "db", "subset": "s0"}}],
        }],
    });
    istio("VirtualService", &format!("v{at}"), spec)
}

#[test]
fn a_change_of_one_of_many_virtual_services_of_a_host() {
    grows_with_the_number(400, |count| {
        let all = (0..count).map(|at| routes(at, "/"));
        let others = [service(), rule(0, "RANDOM")];
        one_change(all.chain(others).collect(), |turn| {
            let mut changed = routes(count, "/");
            changed["metadata"]["name"] = json!(format!("a{turn}"));
            changed
        })
    });
}

fn gateway(at: usize, hosts: &[String]) -> Value {
    let server = json!({
        "port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts,
    });
    istio("Gateway", &format!("g{at}"), json!({"selector": {"app": "edge"}, "servers": [server]}))
}

fn edge() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "edge", "namespace": "evil", "labels": {"app": "edge"}},
        "spec": {"containers": [{"name": "istio-proxy"}]},
        "status": {"podIP": "10.1.0.1"},
    })
}

#[test]
fn a_change_of_the_service_of_many_gateways_on_a_port() {
    grows_with_the_number(400, |count| {
        let host = |at: usize| [format!("h{at}.example.com")];
        let gateways = (0..count).map(|at| gateway(at, &host(at)));
        let pods = (0..count).map(|at| {
            let mut pod = edge();
            pod["metadata"]["name"] = json!(format!("a{at}"));
            pod["metadata"]["labels"] = json!({"app": "edge"});
            pod
        });
        // The pods' service has as many ports.
        let port = |at| json!({"name": format!("http-{at}"), "port": 1_000 + at});
        let service = |turn: usize| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "edge", "namespace": "evil"},
                "spec": {
                    "clusterIP": "10.96.0.9", "selector": {"app": "edge"},
                    "ports": (turn..count).map(port).collect::<Vec<_>>(),
                },
            })
        };
        one_change(gateways.chain(pods).collect(), service)
    });
}

#[test]
fn a_change_of_a_gateway_with_many_hosts_and_many_virtual_services() {
    grows_with_the_number(400, |count| {
        let hosts: Vec<String> = (0..count).map(|at| format!("h{at}.example.com")).collect();
        let all = (0..count).map(|at| {
            let mut one = routes(at, "/");
            one["spec"]["hosts"] = json!([format!("*.w{at}.example.com"), "*.example.org"]);
            one["spec"]["gateways"] = json!(["g0"]);
            one
        });
        one_change(all.chain([gateway(0, &hosts)]).collect(), |turn| {
            let mut hosts = hosts.clone();
            hosts.push(format!("t{turn}.example.com"));
            gateway(0, &hosts)
        })
    });
}

#[test]
fn a_virtual_service_of_many_destinations_and_a_service_of_many_ports() {
    grows_with_the_number(500, |count| {
        let port =
            |at: usize, from: usize| json!({"name": format!("http-{at}"), "port": from + at});
        let service = |name: &str, from: usize| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": "evil"},
                "spec": {
                    "clusterIP": "None",
                    "ports": (0..count).map(|at| port(at, from)).collect::<Vec<_>>(),
                },
            })
        };
        let split = |turn: usize| {
            let one = json!({"destination": {"host": "other"}, "weight": 1 + turn});
            let hosts = vec!["db"; count];
            let spec = json!({"hosts": hosts, "http": [{"route": vec![one; count]}]});
            istio("VirtualService", "split", spec)
        };
        one_change(vec![service("db", 1), service("other", 30_000)], split)
    });
}

#[test]
fn a_service_and_its_endpoints_have_many_ports() {
    grows_with_the_number(1_000, |count| {
        let port = |at: usize| json!({"name": format!("tcp-{at}"), "port": 1 + at});
        let ports: Vec<Value> = (0..count).map(port).collect();
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "db", "namespace": "evil"},
            "spec": {"clusterIP": "10.96.0.1", "ports": ports},
        });
        let slice = |turn: usize| {
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": "db-1", "namespace": "evil",
                    "labels": {"kubernetes.io/service-name": "db"},
                },
                "addressType": "IPv4", "ports": ports,
                "endpoints": [{"addresses": [format!("11.0.0.{}", 1 + turn)]}],
            })
        };
        one_change(vec![service], slice)
    });
}

#[test]
fn messages_name_a_few_and_are_a_few() {
    let ports: Vec<Value> =
        (0..500).map(|at| json!({"name": format!("http-{at}"), "port": 1 + at})).collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "evil"},
        "spec": {"clusterIP": "10.96.0.1", "ports": ports},
    });
    let rule = json!({"route": [{"destination": {"host": "db", "port": {"number": 9_999}}}]});
    let spec = json!({"hosts": ["x".repeat(50_000)], "http": vec![rule; 300]});
    let mut translator = Translator::new();
    translator.change([service, istio("VirtualService", "split", spec)].map(object));
    let found = translator.diagnostics();
    assert!(found.iter().all(|one| one.message.len() <= 1_003), "{found:?}");
    assert!(found.iter().any(|one| one.message.ends_with("it has 1, 2, 3, 4, 5 and 495 more")));
    let own: Vec<_> = found.iter().filter(|one| one.object.name == "split").collect();
    assert_eq!(own.len(), 101);
    let rest = own.iter().find(|one| one.message.contains("further findings")).expect("the rest");
    assert!(rest.message.starts_with(|digit: char| digit.is_ascii_digit()), "{rest}");
}

#[test]
fn alternatives_times_destinations_of_a_rule_have_a_bound() {
    let (few, many) = (100, 1_000);
    let product = |count: usize| {
        let one = |at: usize| json!({"destination": {"host": "db", "subset": format!("s{at}")}, "weight": 1});
        let uri = |at: usize| json!({"uri": {"exact": format!("/{at}")}});
        let all = |make: &dyn Fn(usize) -> Value| (0..count).map(make).collect::<Vec<_>>();
        json!({"match": all(&uri), "route": all(&one)})
    };
    let spec = json!({"hosts": ["db"], "http": [product(few), product(many), product(few)]});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "evil"},
        "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.2"},
    });
    let mut translator = Translator::new();
    translator.change([service(), pod, istio("VirtualService", "split", spec)].map(object));
    let client = crate::worlds::client(&translator, "evil/web");
    let resolved = translator.resolve(&client, &"db:80".parse().expect("an interest"));
    let bytes: usize = resolved.resources.iter().map(|piece| piece.json.len()).sum();
    assert!(bytes < 10 << 20, "{bytes} bytes");
    let found = translator.diagnostics();
    let closed: Vec<&str> = found
        .iter()
        .filter(|one| one.message.contains("each alternative repeats"))
        .map(|one| one.field.as_str())
        .collect();
    assert_eq!(closed, ["spec.http[1].match"]);
}

#[test]
fn virtual_services_of_every_host_and_a_gateway_of_many() {
    grows_with_the_number(250, |count| {
        let hosts: Vec<String> = (0..count).map(|at| format!("h{at}.example.com")).collect();
        let all = (0..count).map(|at| {
            let mut one = routes(at, &format!("/{at}"));
            one["spec"]["hosts"] = json!(["*"]);
            one["spec"]["gateways"] = json!(["g0"]);
            one
        });
        let mut translator = Translator::new();
        translator.change(all.chain([gateway(0, &hosts), edge()]).map(object));
        let edge = crate::worlds::client(&translator, "evil/edge");
        let begun = used();
        translator.resolve(&edge, &weft_config::Interest::Own);
        let used = used() - begun;
        let found = translator.diagnostics();
        let told = found.iter().filter(|one| one.message.contains("cover more hosts of Gateways"));
        let told: Vec<&str> = told.map(|one| one.object.name.as_str()).collect();
        assert!((1..count - 10).contains(&told.len()), "{} of {count}", told.len());
        used
    });
}

//! What ports and endpoints of one Service cost: their sum, not their product.

use serde_json::{Value, json};
use weft_config::{Directory, Entry, Interest, Part, Resource, directory::Decides};
use weft_translate::{Client, Translator};

fn world(ports: usize, endpoints: usize, cluster_ip: &str) -> Translator {
    let port = |at: usize| json!({"name": format!("tcp-{at}"), "port": 1 + at});
    let listed =
        |at: usize| json!({"name": format!("tcp-{at}"), "port": 1 + at, "protocol": "TCP"});
    let endpoint = |at: usize| json!({"addresses": [format!("11.0.{}.{}", at / 250, at % 250)]});
    let all: [Value; 3] = [
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.1"},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "many", "namespace": "shop"},
            "spec": {"clusterIP": cluster_ip, "ports": (0..ports).map(port).collect::<Vec<_>>()},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "many-1", "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "many"},
            },
            "addressType": "IPv4",
            "ports": (0..ports).map(listed).collect::<Vec<_>>(),
            "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
        }),
    ];
    let objects = all.map(|value| weft_api::read(value).expect("an object"));
    crate::worlds::translator(objects)
}

fn client(translator: &Translator) -> Client {
    crate::worlds::client(translator, "shop/web")
}

/// Endpoints that the sidecar gets for `port` of the service's own address.
fn endpoints(translator: &mut Translator, port: usize) -> usize {
    let interest: Interest = format!("10.96.0.1:{port}").parse().expect("an interest");
    let client = client(translator);
    let resolved = translator.resolve(&client, &interest);
    assert!(matches!(resolved.answer.entry, Entry::Server(_)), "{port}");
    let count = |resource: &Resource| match resource {
        Resource::Endpoints(chunk) => chunk.endpoints.len(),
        _ => 0,
    };
    resolved.resources.iter().map(|piece| count(&piece.resource)).sum()
}

#[test]
fn ports_beyond_the_bound_have_no_endpoints_and_are_reported() {
    // 16,384 and four times 1,100 pairs are 20 ports.
    let mut translator = world(100, 1000, "10.96.0.1");
    assert_eq!(endpoints(&mut translator, 1), 1000);
    assert_eq!(endpoints(&mut translator, 20), 1000);
    for port in [21, 100] {
        assert_eq!(endpoints(&mut translator, port), 0);
    }
    let found = translator.diagnostics();
    let told: Vec<&str> = found
        .iter()
        .filter(|one| one.message.contains("16384"))
        .map(|one| one.field.as_str())
        .collect();
    assert_eq!(told, ["spec.ports[20]"]);
    let mut usual = world(5, 5000, "10.96.0.1");
    assert_eq!(endpoints(&mut usual, 5), 5000);
    assert!(!usual.diagnostics().iter().any(|one| one.message.contains("16384")));
}

#[test]
fn addresses_of_a_headless_service_are_in_the_directory_once_however_many_ports_it_has() {
    for (ports, endpoints, entries) in [(4, 1000, 4000), (100, 1000, 1000)] {
        let mut translator = world(ports, endpoints, "None");
        let client = client(&translator);
        let mut chunks = Vec::new();
        for part in Part::ALL {
            for piece in &translator.resolve(&client, &Interest::Directory(part)).resources {
                let Resource::Directory(chunk) = &*piece.resource else { panic!("{}", piece.name) };
                chunks.push((chunk.name.clone(), Some(chunk.clone().into())));
            }
        }
        let directory = Directory::default().with(chunks);
        assert_eq!(directory.addresses(), entries);
        let last = format!("11.0.3.249:{ports}");
        assert_eq!(directory.decides(last.parse().unwrap()), Decides::Address);
        let served = |text: &str, translator: &mut Translator| {
            let interest: Interest = text.parse().unwrap();
            matches!(translator.resolve(&client, &interest).answer.entry, Entry::Server(_))
        };
        assert!(served(&last, &mut translator));
        assert!(!served("11.0.3.249:9999", &mut translator));
    }
}

/// A service with so many ports, and so many endpoints that name pods of its `pods`, each with
/// `labels`, which a subset names.
fn labelled(ports: usize, endpoints: usize, pods: usize, labels: usize) -> Translator {
    let labels = (0..labels).map(|at| (format!("label-{at}"), json!("v".repeat(40))));
    let labels = Value::Object(labels.collect());
    let pod = |name: String| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.1"},
        })
    };
    let port = |at: usize| json!({"name": format!("tcp-{at}"), "port": 1 + at});
    let all: Vec<Value> = (0..ports).map(port).collect();
    let endpoint = |at: usize| {
        json!({
            "addresses": [format!("11.0.{}.{}", at / 250, at % 250)],
            "targetRef": {"kind": "Pod", "name": format!("p{}", at % pods)},
        })
    };
    let objects = [
        pod("web".to_owned()),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "many", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.1", "ports": all},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "many-1", "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "many"},
            },
            "addressType": "IPv4", "ports": all,
            "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "many", "namespace": "shop"},
            "spec": {"host": "many", "subsets": [{"name": "s", "labels": labels}]},
        }),
    ];
    let objects = objects.into_iter().chain((0..pods).map(|at| pod(format!("p{at}"))));
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    crate::worlds::translator(objects)
}

#[test]
fn labels_that_ports_and_endpoints_repeat_count_towards_the_bound() {
    let told = |translator: &mut Translator| {
        let found = translator.diagnostics();
        let told = found.iter().filter(|one| one.message.contains("16384"));
        told.map(|one| one.field.clone()).collect::<Vec<_>>()
    };
    // One pod with 56 KiB of labels counts as 111.
    let mut one = labelled(1000, 1, 1, 500);
    let all: Vec<usize> = (1..=1000).map(|port| endpoints(&mut one, port)).collect();
    let served = all.iter().sum::<usize>();
    assert!((150..220).contains(&served) && all.iter().rev().is_sorted(), "{served}");
    assert_eq!(told(&mut one), [format!("spec.ports[{served}]")]);
    // Also where many endpoints name it, on one port.
    let mut copies = labelled(1, 1000, 1, 500);
    assert_eq!(endpoints(&mut copies, 1), 0);
    assert_eq!(told(&mut copies), ["spec.ports[0]"]);
    // Pods that have as many of their own are served, and some labels cost nothing.
    for (ports, pods, labels) in [(1, 100, 500), (10, 500, 4)] {
        let mut usual = labelled(ports, pods, pods, labels);
        assert_eq!(endpoints(&mut usual, ports), pods);
        assert_eq!(told(&mut usual), [""; 0]);
    }
}

//! What a change costs in a mesh of 5,000 services, 100 namespaces and 1,000 proxies.

use std::collections::BTreeMap;

use serde_json::json;
use weft_api::{Key, Object};
use weft_config::{Interest, Part};
use weft_testkit::processor_time::used;
use weft_translate::{Changed, Client, Translator};

const NAMESPACES: usize = 100;
const SERVICES: usize = 50;
const PODS: usize = 10;

fn object(value: serde_json::Value) -> (Key, Option<Object>) {
    let object = weft_api::check(&value).object.expect("an object");
    (object.key(), Some(object))
}

fn service(namespace: usize, number: usize) -> (Key, Option<Object>) {
    object(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("service-{number}"), "namespace": format!("team-{namespace}")},
        "spec": {
            "clusterIP": format!("10.{}.{}.{}", 100 + namespace / 100, namespace % 100, number),
            "selector": {"app": format!("app-{number}")},
            "ports": [
                {"name": "http", "port": 80}, {"name": "http-admin", "port": 8080},
                {"name": "tcp", "port": 9000},
            ],
        },
    }))
}

fn pod(namespace: usize, number: usize) -> (Key, Option<Object>) {
    object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{number}"), "namespace": format!("team-{namespace}"),
            "labels": {"app": format!("app-{number}")},
        },
        "spec": {"containers": [{"name": "app"}]},
        "status": {"podIP": format!("10.1.{namespace}.{number}")},
    }))
}

/// A headless database of three pods, of which the first is ready or not.
fn database(ready: bool) -> Vec<(Key, Option<Object>)> {
    let endpoint = |number: usize| {
        json!({
            "addresses": [format!("10.2.0.{number}")],
            "conditions": {"ready": ready || number > 0},
        })
    };
    vec![
        object(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "db", "namespace": "team-0"},
            "spec": {"clusterIP": "None", "ports": [{"name": "tcp", "port": 5432}]},
        })),
        object(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "db-1", "namespace": "team-0",
                "labels": {"kubernetes.io/service-name": "db"},
            },
            "addressType": "IPv4", "ports": [{"name": "tcp", "port": 5432}],
            "endpoints": [endpoint(0), endpoint(1), endpoint(2)],
        })),
    ]
}

/// Everything that every proxy asks for when it starts.
const BEGINNING: [Interest; 3] =
    [Interest::Own, Interest::Directory(Part::Shared), Interest::Directory(Part::Own)];

struct Mesh {
    translator: Translator,
    clients: Vec<Client>,
}

impl Mesh {
    fn new() -> Self {
        let mut translator = Translator::new();
        let all = (0..NAMESPACES).flat_map(|namespace| {
            let services = (0..SERVICES).map(move |number| service(namespace, number));
            services.chain((0..PODS).map(move |number| pod(namespace, number)))
        });
        translator.change(all.chain(database(true)));
        let client = |namespace, number| match pod(namespace, number).1 {
            Some(Object::Pod(pod)) => Client::of_pod(&pod),
            _ => unreachable!("a pod was made"),
        };
        let clients: Vec<Client> = (0..NAMESPACES)
            .flat_map(|namespace| (0..PODS).map(move |number| client(namespace, number)))
            .collect();
        for client in &clients {
            for interest in &BEGINNING {
                translator.resolve(client, interest);
            }
        }
        Self { translator, clients }
    }

    /// What the proxy of `client` holds, by name: version and size.
    fn held(&mut self, client: usize) -> BTreeMap<String, (u64, usize)> {
        let mut held = BTreeMap::new();
        for interest in &BEGINNING {
            let resolved = self.translator.resolve(&self.clients[client], interest);
            let answer = serde_json::to_string(&resolved.answer).expect("an answer is JSON");
            held.insert(interest.to_string(), (0, answer.len()));
            held.extend(
                resolved
                    .resources
                    .iter()
                    .map(|piece| (piece.name.to_string(), (piece.hash, piece.json.len()))),
            );
        }
        held
    }

    /// The bytes that a proxy gets to go from `before` to now.
    fn bytes(&mut self, client: usize, before: &BTreeMap<String, (u64, usize)>) -> usize {
        let now = self.held(client);
        let gone = before.keys().filter(|name| !now.contains_key(*name)).map(String::len);
        let came = now.iter().filter(|(name, held)| before.get(*name) != Some(held));
        came.map(|(name, (_, size))| name.len() + size).chain(gone).sum()
    }
}

/// A change may take so many times less of a processor than the whole mesh: 8 ms where that takes
/// 2.4 s.
const SHARE_OF_CHANGE: u64 = 300;

#[test]
fn one_service_more_costs_a_proxy_four_kilobytes_and_the_control_plane_a_300th_of_the_mesh() {
    let before_mesh = used();
    let mut mesh = Mesh::new();
    let whole = used() - before_mesh;
    let mut cheapest = u64::MAX;
    for number in SERVICES..SERVICES + 20 {
        let namespace = number % NAMESPACES;
        let (neighbour, stranger) = (namespace * PODS, (namespace + 1) * PODS);
        let before = [mesh.held(neighbour), mesh.held(stranger)];
        let before_change = used();
        let changed = mesh.translator.change([service(namespace, number)]);
        cheapest = cheapest.min(used() - before_change);
        assert!(changed.len() <= PODS + 2, "{} answers changed", changed.len());
        for (client, before) in [neighbour, stranger].into_iter().zip(&before) {
            let bytes = mesh.bytes(client, before);
            assert!((1..4096).contains(&bytes), "{bytes} bytes to one proxy");
        }
    }
    assert!(cheapest < whole / SHARE_OF_CHANGE, "{cheapest} ns for a change, {whole} ns for all");
}

#[test]
fn an_endpoint_of_a_service_that_all_pods_call_changes_one_answer_for_each_namespace() {
    let mut mesh = Mesh::new();
    let slice = |address: &str| {
        object(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "service-0-1", "namespace": "team-0",
                "labels": {"kubernetes.io/service-name": "service-0"},
            },
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [address]}],
        }))
    };
    mesh.translator.change([slice("10.3.0.1")]);
    let host: Interest = "service-0.team-0.svc.cluster.local:80".parse().expect("an interest");
    for client in &mesh.clients {
        mesh.translator.resolve(client, &host);
    }
    let changed = mesh.translator.change([slice("10.3.0.2")]);
    assert_eq!(changed.len(), NAMESPACES, "1,000 pods with ten kinds of labels");
}

#[test]
fn readiness_of_a_headless_pod_reaches_nobody_who_does_not_use_it() {
    let mut mesh = Mesh::new();
    let host: Interest = "10.2.0.1:5432".parse().expect("an interest");
    mesh.translator.resolve(&mesh.clients[0], &host);
    for ready in [false, true] {
        let changed: Vec<Changed> = mesh.translator.change(database(ready));
        assert_eq!(changed, [], "ready: {ready}");
    }
    let still = mesh.translator.resolve(&mesh.clients[0], &host);
    assert!(matches!(still.answer.entry, weft_config::Entry::Server(_)));
}

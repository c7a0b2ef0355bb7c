//! What translation costs in a large mesh: 5,000 services with ten endpoints
//! each, and 5,000 VirtualServices for sidecars or at a gateway.
//! `cargo run --release -p weft-translate --example cost`

use std::{collections::BTreeMap, time::Instant};

use serde_json::json;
use weft_api::{Object, kubernetes::EndpointSlice, kubernetes::Service};
use weft_config::{Interest, Workload};
use weft_translate::{Client, Role, Translator};

const SERVICES: usize = 5_000;

fn service(n: usize) -> Object {
    let (namespace, address) = (n % 100, format!("10.96.{}.{}", n / 250, n % 250));
    let value = json!({
        "metadata": {"name": format!("s{n}"), "namespace": format!("n{namespace}")},
        "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80}]},
    });
    Object::Service(serde_json::from_value::<Service>(value).expect("a service"))
}

fn slice(n: usize, endpoints: usize) -> Object {
    let addresses: Vec<_> = (0..endpoints)
        .map(|at| json!({"addresses": [format!("10.{}.{}.{at}", n / 250, n % 250)]}))
        .collect();
    let value = json!({
        "metadata": {
            "name": format!("s{n}-1"), "namespace": format!("n{}", n % 100),
            "labels": {"kubernetes.io/service-name": format!("s{n}")},
        },
        "ports": [{"name": "http", "port": 8080}], "endpoints": addresses,
    });
    Object::EndpointSlice(serde_json::from_value::<EndpointSlice>(value).expect("a slice"))
}

fn main() {
    let client = Client {
        namespace: "n1".to_owned(),
        pod: "p".to_owned(),
        labels: BTreeMap::new(),
        account: "default".to_owned(),
        addresses: Vec::new(),
        workload: Workload::default(),
        role: Role::Sidecar,
    };
    let mut translator = Translator::new();
    let objects = (0..SERVICES).flat_map(|n| [service(n), slice(n, 10)]);
    let objects: Vec<_> = objects.map(|object| (object.key(), Some(object))).collect();
    let start = Instant::now();
    translator.change(objects);
    println!("{SERVICES} services taken in: {:?}", start.elapsed());

    let start = Instant::now();
    let own = translator.resolve(&client, &Interest::Own);
    let bytes: usize = own.resources.iter().map(|piece| piece.json.len()).sum();
    println!("what a first sidecar runs: {:?}, {bytes} bytes", start.elapsed());

    let start = Instant::now();
    for n in 0..1000 {
        let host = format!("s{n}.n{}.svc.cluster.local:80", n % 100);
        translator.resolve(&client, &host.parse().expect("an interest"));
    }
    println!("1,000 hosts answered: {:?}", start.elapsed());

    let start = Instant::now();
    let mut changed = 0;
    for n in 0..1000 {
        let object = slice(n, 9);
        changed += translator.change([(object.key(), Some(object))]).len();
    }
    println!("1,000 changes of endpoints: {:?}, {changed} answers", start.elapsed());

    let start = Instant::now();
    for n in SERVICES..SERVICES + 20 {
        let object = service(n);
        translator.change([(object.key(), Some(object))]);
    }
    println!("20 new services, one by one: {:?}", start.elapsed());
    virtual_services("mesh");
    virtual_services("edge/main");
}

/// A VirtualService with three rules for service `n`, on `gateway`.
fn virtual_service(n: usize, gateway: &str, weight: usize) -> Object {
    let host = format!("s{n}.n{}.svc.cluster.local", n % 100);
    let route = |host: &str| json!({"destination": {"host": host, "port": {"number": 80}}});
    let value = json!({
        "metadata": {"name": format!("v{n}"), "namespace": format!("n{}", n % 100)},
        "spec": {
            "hosts": [host], "gateways": [gateway],
            "http": [
                {"match": [{"uri": {"prefix": "/a"}}], "route": [route(&host)]},
                {"match": [{"headers": {"x-b": {"exact": "b"}}}], "route": [route(&host)]},
                {"route": [
                    {"destination": {"host": host, "port": {"number": 80}}, "weight": weight},
                    {"destination": {"host": "s1.n1.svc.cluster.local", "port": {"number": 80}}, "weight": 100 - weight},
                ]},
            ],
        },
    });
    Object::VirtualService(serde_json::from_value(value).expect("a virtual service"))
}

/// All VirtualServices on `gateway`, translated for one proxy that uses all of them; then changes
/// of one.
fn virtual_services(gateway: &str) {
    let is_mesh = gateway == "mesh";
    let labels = BTreeMap::from([("app".to_owned(), "edge".to_owned())]);
    let client = Client {
        namespace: "edge".to_owned(),
        pod: "edge".to_owned(),
        labels: labels.clone(),
        account: "default".to_owned(),
        addresses: Vec::new(),
        workload: Workload::default(),
        role: if is_mesh { Role::Sidecar } else { Role::Gateway },
    };
    let mut translator = Translator::new();
    let own = json!({
        "metadata": {"name": "main", "namespace": "edge"},
        "spec": {"selector": labels, "servers": [
            {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
        ]},
    });
    let own = Object::Gateway(serde_json::from_value(own).expect("a gateway"));
    let objects = (0..SERVICES).flat_map(|n| [service(n), virtual_service(n, gateway, 90)]);
    let objects: Vec<_> = objects.chain([own]).map(|object| (object.key(), Some(object))).collect();
    let interests: Vec<Interest> = match is_mesh {
        true => (0..SERVICES)
            .map(|n| format!("s{n}.n{}.svc.cluster.local:80", n % 100))
            .map(|host| host.parse().expect("an interest"))
            .collect(),
        false => vec![Interest::Own],
    };
    let start = Instant::now();
    translator.change(objects);
    let sizes = interests.iter().map(|interest| {
        let resolved = translator.resolve(&client, interest);
        resolved.resources.iter().map(|piece| piece.json.len()).sum::<usize>()
    });
    let bytes: usize = sizes.sum();
    println!("{SERVICES} VirtualServices on {gateway}: {:?}, {bytes} bytes", start.elapsed());
    let start = Instant::now();
    let mut changed = 0;
    for n in 0..100 {
        let object = virtual_service(n, gateway, 80);
        changed += translator.change([(object.key(), Some(object))]).len();
    }
    println!("one changed: {:?} each, {changed} answers of 100 changes", start.elapsed() / 100);
}

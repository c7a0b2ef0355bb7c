//! Who has an address that several objects claim.

use weft_config::{Entry, Interest};

use crate::worlds;

/// Two headless services with the same address behind them: the slice of the newer one was
/// written by hand, and comes first by name.
const WORLD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
status: {podIP: 10.244.0.5}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {clusterIP: None, ports: [{name: tcp, port: 3306}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.7]}]
ports: [{name: tcp, port: 3306}]
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: bank, creationTimestamp: '2025-01-01T00:00:00Z'}
spec: {clusterIP: None, ports: [{name: tcp, port: 3306}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: bank, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.7]}]
ports: [{name: tcp, port: 3306}]
";

#[test]
fn an_address_stays_with_the_older_of_two_headless_services() {
    let owner = |world: &str| {
        let mut translator = worlds::translator(worlds::objects(world));
        let client = worlds::client(&translator, "shop/web");
        let interest: Interest = "10.244.0.7:3306".parse().expect("an interest");
        match &translator.resolve(&client, &interest).answer.entry {
            Entry::Server(server) => server.origin.object.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(owner(WORLD), "Service/shop/db");
    assert_eq!(owner(&WORLD.replace("2025", "2023")), "Service/bank/other");
}

#[test]
fn slices_with_one_address_are_read_once_for_it() {
    let slices = (0..800).map(|number| {
        let own = (0..100).map(|at| format!("{{addresses: [10.{}.{at}.9]}}", number % 200));
        let endpoints: Vec<String> = own.chain(["{addresses: [10.244.0.7]}".to_owned()]).collect();
        format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{number}, namespace: bank, labels: {{kubernetes.io/service-name: other}}}}
addressType: IPv4
endpoints: [{}]
ports: [{{name: tcp, port: {}}}]
",
            endpoints.join(", "),
            4000 + number
        )
    });
    let world = format!("{WORLD}{}", slices.collect::<String>());
    let mut translator = worlds::translator(worlds::objects(&world));
    let client = worlds::client(&translator, "shop/web");
    let mut entry = |port: u16| {
        let interest: Interest = format!("10.244.0.7:{port}").parse().expect("an interest");
        translator.resolve(&client, &interest).answer.entry.clone()
    };
    let before = std::time::Instant::now();
    // A fiftieth of a second; once for each slice it was most of a minute.
    assert_eq!(entry(9), Entry::Outside);
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    for port in [3306, 4000, 4799] {
        assert!(matches!(entry(port), Entry::Server(_)), "{port}");
    }
}

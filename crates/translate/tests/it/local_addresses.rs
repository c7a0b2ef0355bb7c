//! Addresses that mean another machine to each that dials them.

use weft_config::{Interest, Resource};

use crate::worlds;

const WORLD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
status: {podIP: 10.244.0.5}
---
apiVersion: v1
kind: Service
metadata: {name: lo, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: lo-1, namespace: shop, labels: {kubernetes.io/service-name: lo}}
addressType: IPv4
ports: [{name: http, port: 15000}]
endpoints:
- addresses: [10.244.0.7]
- addresses: [ADDRESS]
";

#[test]
fn endpoints_on_the_clients_own_machine_are_left_out_and_reported() {
    let local = ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "::1", "fe80::1"];
    let mapped = ["'::ffff:127.0.0.1'", "'::ffff:169.254.169.254'"];
    let others = ["10.244.0.8", "'2001:db8::1'"];
    for address in local.iter().chain(&mapped).chain(&others) {
        let is_local = !others.contains(address);
        let text = WORLD.replace("ADDRESS", &format!("'{}'", address.trim_matches('\'')));
        let mut translator = worlds::translator(worlds::objects(&text));
        let client = worlds::client(&translator, "shop/web");
        let interest: Interest = "lo:80".parse().unwrap();
        let resolved = translator.resolve(&client, &interest);
        let endpoints = resolved.resources.iter().map(|piece| match &*piece.resource {
            Resource::Endpoints(chunk) => chunk.endpoints.len(),
            _ => 0,
        });
        assert_eq!(endpoints.sum::<usize>(), if is_local { 1 } else { 2 }, "{address}");
        let told = translator.diagnostics().iter().any(|one| one.message.contains("lo-1"));
        assert_eq!(told, is_local, "{address}");
    }
}

#[test]
fn a_name_of_the_clients_own_machine_is_reported() {
    let names =
        [("localhost", true), ("127.0.0.1", true), ("a.localhost.", true), ("b.com", false)];
    for (name, is_local) in names {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: ext, namespace: shop}}\n\
             spec: {{type: ExternalName, externalName: {name}, ports: [{{name: http, port: 80}}]}}\n"
        );
        let mut translator = worlds::translator(worlds::objects(&text));
        let told = translator.diagnostics().iter().any(|one| one.field == "spec.externalName");
        assert_eq!(told, is_local, "{name}");
    }
}

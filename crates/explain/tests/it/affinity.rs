//! What is said of how an endpoint is chosen.

use weft_explain::{Question, Start, Unlabelled, World, explain};

/// What is said of a request for a service with this `trafficPolicy`.
fn told(policy: &str) -> String {
    let objects = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: cart, namespace: shop}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: cart}}}}
  template:
    metadata: {{labels: {{app: cart}}}}
    spec: {{containers: [{{name: app, image: app}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: cart, namespace: shop}}
spec: {{selector: {{app: cart}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: cart, namespace: shop}}
spec: {{host: cart, trafficPolicy: {policy}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [\"*\"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cart, namespace: shop}}
spec: {{hosts: [\"*\"], gateways: [edge], http: [{{route: [{{destination: {{host: cart}}}}]}}]}}
"
    );
    let objects = weft_manifest::read("objects.yaml", &objects);
    let mut world = World::of_files(objects, Unlabelled::Inject);
    let question = Question::new(None, "http://a.example/", Start::Ingress).unwrap();
    explain(&mut world, &question).unwrap().to_string()
}

#[test]
fn what_the_hash_is_of_is_said() {
    let start = "port 80 has 2 endpoints; a request goes to one by the hash of";
    for (key, expected) in [
        ("{httpHeaderName: X-User}", "header x-user; without it, to any"),
        ("{useSourceIp: true}", "the client's address\n"),
        ("{httpCookie: {name: c, ttl: 0s}}", "cookie c; clients without it are given one"),
    ] {
        let told = told(&format!("{{loadBalancer: {{consistentHash: {key}}}}}"));
        assert!(told.contains(&format!("{start} {expected}")), "{told}");
    }
}

#[test]
fn that_endpoints_are_left_out_is_said() {
    let told = told("{outlierDetection: {consecutive5xxErrors: 3}}");
    let expected = "port 80 has 2 endpoints; those that fail are left out for a while\n";
    assert!(told.contains(expected), "{told}");
}

//! Gateways that are bound to an address, beside one at every address.

use weft_explain::{Explanation, Question, Start, Unlabelled, World, explain};

const OBJECTS: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: narrow, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.2, hosts: [narrow.example]}
  - {port: {number: 81, name: http-81, protocol: HTTP}, bind: 127.0.0.2, hosts: [narrow.example]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: wide, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [wide.example]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: narrow, namespace: shop}
spec: {hosts: [narrow.example], gateways: [narrow], http: [{route: [{destination: {host: narrow.test}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide, namespace: shop}
spec: {hosts: [wide.example], gateways: [wide], http: [{route: [{destination: {host: wide.test}}]}]}
"#;

/// What becomes of a request for `host` over a connection to `to`.
fn ask(host: &str, to: &str) -> Explanation {
    let objects = weft_manifest::read("objects.yaml", OBJECTS);
    let mut world = World::of_files(objects, Unlabelled::Inject);
    let mut question = Question::new(None, &format!("http://{host}/"), Start::Ingress).unwrap();
    question.to = Some(to.parse().unwrap());
    explain(&mut world, &question).unwrap()
}

/// Which object decides about a request for `host` over a connection to `to`.
fn decides(host: &str, to: &str) -> String {
    let explanation = ask(host, to);
    let decided_by = explanation.hops[0].decided_by.as_ref();
    decided_by.map(|decided| decided.object.clone()).unwrap_or_default()
}

#[test]
fn an_address_adds_its_hosts_to_those_of_every_address() {
    let (narrow, wide) = ("VirtualService/shop/narrow", "VirtualService/shop/wide");
    assert_eq!(decides("narrow.example", "127.0.0.2:8080"), narrow);
    assert_eq!(decides("wide.example", "127.0.0.2:8080"), wide);
    assert_eq!(ask("narrow.example", "10.1.0.1:8080").hops[0].status, Some(404));
    assert_eq!(decides("wide.example", "10.1.0.1:8080"), wide);
}

#[test]
fn a_server_that_is_bound_to_another_address_is_told() {
    let told = ask("narrow.example", "10.1.0.1:8080").to_string();
    let why = "its server on port 80 admits `narrow.example`, but is bound to 127.0.0.2; the \
               connection is to 10.1.0.1";
    assert!(told.contains("Gateway/shop/narrow") && told.contains(why), "{told}");
}

#[test]
fn where_no_address_of_a_port_is_dialled_nothing_listens() {
    assert_eq!(decides("narrow.example", "127.0.0.2:81"), "VirtualService/shop/narrow");
    let explanation = ask("narrow.example", "10.1.0.1:81");
    assert_eq!(explanation.hops[0].details.as_deref(), Some("no_listener"));
    let told = explanation.to_string();
    let why = "nothing listens on port 81 at 10.1.0.1: the servers of Gateways for it are bound \
               to 127.0.0.2";
    assert!(told.contains(why), "{told}");
}

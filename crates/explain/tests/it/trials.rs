//! What people tried, and what they expected to be told.

use weft_explain::{Explanation, Question, Unlabelled, World, explain};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: my/web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {containers: [{name: client, image: my/client}]}
---
";

#[track_caller]
fn world(text: &str) -> World {
    let text = format!("{SHOP}{text}");
    World::of_files(weft_manifest::read("w.yaml", &text), Unlabelled::Inject)
}

#[track_caller]
fn ask(text: &str, start: &str, url: &str) -> Explanation {
    let question = Question::new(None, url, start.parse().unwrap()).unwrap();
    explain(&mut world(text), &question).unwrap()
}

/// Lines of `verdict object rule: why` of the first hop.
fn because(explanation: &Explanation) -> Vec<String> {
    let because = explanation.hops[0].because.iter();
    because.map(|one| format!("{} {} {}: {}", one.verdict, one.object, one.rule, one.why)).collect()
}

#[track_caller]
fn has(lines: &[String], start: &str, word: &str) {
    let found = lines.iter().any(|line| line.starts_with(start) && line.contains(word));
    assert!(found, "no `{start}` with `{word}` in {lines:#?}");
}

#[test]
fn kinds_that_decide_nothing_yet_are_told() {
    let text = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody}
spec: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: other}
spec: {}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
";
    let explanation = ask(text, "client", "http://web/");
    let ignored: Vec<_> = explanation.ignored.iter().map(|one| one.object.as_str()).collect();
    assert_eq!(ignored, ["AuthorizationPolicy/default/nobody", "HTTPRoute/other/r"]);
    assert!(
        explanation.to_string().contains("AuthorizationPolicy/default/nobody: not honoured yet")
    );
    has(&world(text).diagnostics(), "w.yaml:18:", "AuthorizationPolicy/default/nobody");
}

#[test]
fn a_wider_host_that_would_have_matched_is_told() {
    let text = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: exact}
spec: {hosts: [www.shop.example], gateways: [edge], http: [{match: [{uri: {prefix: /status}}], route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: any}
spec: {hosts: ['*.shop.example'], gateways: [edge], http: [{match: [{uri: {prefix: /other}}], route: [{destination: {host: web}}]}]}
";
    let explanation = ask(text, "ingress", "http://www.shop.example/other");
    assert_eq!(explanation.hops[0].status, Some(404));
    let lines = because(&explanation);
    has(&lines, "overridden VirtualService/default/any", "VirtualService/default/exact");
    let elsewhere = because(&ask(text, "ingress", "http://www.shop.example/third"));
    assert!(!elsewhere.iter().any(|line| line.contains("default/any")), "{elsewhere:?}");
}

const TWO_GATEWAYS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: first}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [first.example]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [second.example]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [second.example], gateways: [second], http: [{route: [{destination: {host: web}}]}]}
";

#[test]
fn the_gateway_that_admits_the_host_is_named() {
    let lines = because(&ask(TWO_GATEWAYS, "ingress", "http://second.example/"));
    has(&lines, "matched Gateway/default/second servers[0]", "second.example");
    assert!(!lines.iter().any(|line| line.contains("default/first")), "{lines:?}");
    let lines = because(&ask(TWO_GATEWAYS, "ingress", "http://first.example/"));
    has(&lines, "refused Gateway/default/first servers[0]", "nothing here is for the host");
    let lines = because(&ask(TWO_GATEWAYS, "ingress", "http://third.example/"));
    for name in ["first", "second"] {
        has(&lines, &format!("not matched Gateway/default/{name} servers[0]"), "admits");
    }
}

#[test]
fn pods_of_workloads_that_the_laptop_does_not_run_are_known() {
    for kind in ["StatefulSet", "ReplicaSet", "DaemonSet"] {
        let text = format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{name: http, port: 8080}}]}}
---
apiVersion: apps/v1
kind: {kind}
metadata: {{name: db}}
spec:
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{{name: db, image: my/db, ports: [{{containerPort: 8080}}]}}]}}
"
        );
        let host = if kind == "StatefulSet" { "db-0.db" } else { "db" };
        let explanation = ask(&text, "client", &format!("http://{host}:8080/"));
        assert_eq!(explanation.unresolved, None, "{kind}");
        assert_eq!(explanation.hops.len(), 2, "{kind}: {explanation}");
        let diagnostics = world(&text).diagnostics();
        assert!(!diagnostics.iter().any(|line| line.contains("picks no pod")), "{diagnostics:?}");
        ask(&text, "sts/db", "http://web/");
    }
}

#[test]
fn fields_of_the_matched_rule_that_are_not_honoured_stand_in_the_proof() {
    let text = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /old/}}]
    fault: {abort: {percentage: {value: 100}, http2Error: X}}
    route: [{destination: {host: web}}]
  - fault: {abort: {percentage: {value: 100}, http2Error: X}}
    route: [{destination: {host: web}}]
";
    let lines = because(&ask(text, "client", "http://web/old/x"));
    has(&lines, "warning VirtualService/default/web http[0].fault.abort.http2Error", "");
    assert!(!lines.iter().any(|line| line.starts_with("warning") && line.contains("http[1]")));
}

#[test]
fn what_is_kept_away_from_the_sidecar_is_not_decided_by_it() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: web}, ports: [{name: tcp, port: 3306, targetPort: 3306}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: direct
  annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: '3306'}
spec: {containers: [{name: direct, image: my/direct}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: deaf
  labels: {app: deaf}
  annotations: {traffic.sidecar.istio.io/excludeInboundPorts: '9000'}
spec: {containers: [{name: deaf, image: my/deaf}]}
---
apiVersion: v1
kind: Service
metadata: {name: deaf}
spec: {selector: {app: deaf}, ports: [{name: http, port: 9000}]}
";
    let lines = because(&ask(text, "direct", "tcp://db:3306"));
    has(&lines, "not matched Pod/default/direct", "excludeOutboundPorts");
    let lines = because(&ask(text, "direct", "http://web/"));
    assert!(!lines.iter().any(|line| line.contains("exclude")), "{lines:?}");
    let explanation = ask(text, "client", "http://deaf:9000/");
    let second = &explanation.hops[1].because[0].why;
    assert!(second.contains("excludeInboundPorts"), "{second}");
}

#[test]
fn a_request_is_read_as_by_a_proxy() {
    let refused = |url: &str, header: &str| {
        let mut question = Question::new(None, url, "client".parse().unwrap()).unwrap();
        if !header.is_empty() {
            question.add_header(header).unwrap();
        }
        let explanation = explain(&mut world(""), &question).unwrap();
        let hop = &explanation.hops[0];
        format!("{:?} {}", hop.status, hop.details.clone().unwrap_or_default())
    };
    assert_eq!(refused("http://web/%00", ""), "Some(400) path_normalization_failed");
    assert_eq!(refused("http://web/", "host: a/b"), "Some(400) http.invalid_authority");
    assert_eq!(
        refused("http://web/", "transfer-encoding: gzip, chunked"),
        "Some(501) http1.invalid_transfer_encoding"
    );
    let mut question =
        Question::new(Some("CONNECT"), "http://web/", "client".parse().unwrap()).unwrap();
    let explanation = explain(&mut world(""), &question).unwrap();
    assert_eq!(explanation.hops[0].status, Some(404));
    question = Question::new(None, "http://web/a/../b", "client".parse().unwrap()).unwrap();
    question.add_header("x-envoy-retry-on: 5xx").unwrap();
    question.add_header("cookie: a=1").unwrap();
    question.add_header("cookie: b=2").unwrap();
    let explanation = explain(&mut world(""), &question).unwrap();
    let sent = explanation.hops[0].request.as_ref().unwrap();
    assert_eq!(sent.path, "/b");
    assert_eq!(sent.headers["cookie"], ["a=1; b=2"]);
    assert!(!sent.headers.contains_key("x-envoy-retry-on"));
}

#[test]
fn a_request_is_explained_in_a_large_world() {
    let mut text = String::new();
    for number in 0..1_500 {
        text.push_str(&format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: s{number}}}
spec: {{selector: {{app: s{number}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: s{number}, labels: {{app: s{number}}}}}
spec: {{containers: [{{name: c, image: c}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{number}}}
spec: {{hosts: [s{number}], http: [{{route: [{{destination: {{host: s{number}}}}}]}}]}}
"
        ));
    }
    let documents = weft_manifest::read("w.yaml", &format!("{SHOP}{text}"));
    let mut world = World::of_files(documents, Unlabelled::Inject);
    let question = Question::new(None, "http://s77/", "client".parse().unwrap()).unwrap();
    let explanation = explain(&mut world, &question).unwrap();
    assert_eq!(explanation.hops.len(), 2, "{explanation}");
}

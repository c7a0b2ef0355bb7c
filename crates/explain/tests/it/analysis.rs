//! Everything that is wrong with objects.

use serde_json::json;
use weft_api::Severity;
use weft_explain::{Unlabelled, World};

fn world(text: &str) -> World {
    World::of_files(weft_manifest::read("w.yaml", text), Unlabelled::Inject)
}

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
";

#[test]
fn each_finding_has_its_place_and_all_are_counted() {
    let text = format!(
        "{SERVICE}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: [web]
  http:
  - route:
    - destination: {{host: gone}}
  - timeout: often
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: nobody}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: closed}}
---
kind: [broken
"
    );
    let expected = "\
w.yaml:4:8: warning: Service/default/web spec.selector: picks no pod, so requests to it get 503; give pods these labels
w.yaml:13:21: error: VirtualService/default/web spec.http[0].route[0].destination.host: there is no Service/default/gone, so requests sent there get 503
w.yaml:14:5: warning: VirtualService/default/web spec.http[1]: is never used: http[0] takes every request before it
w.yaml:14:5: error: VirtualService/default/web spec.http[1].timeout: `often` is not a time span such as `1.5s`, `250ms` or `1h`
w.yaml:16:1: warning: AuthorizationPolicy/default/nobody: not honoured yet: objects of this kind are stored, and change nothing about traffic
w.yaml:20:1: warning: NetworkPolicy/default/closed: not honoured yet: objects of this kind change nothing about traffic here, and may in Istio
w.yaml:24:7: error: not valid YAML: unclosed bracket '['

3 errors, 4 warnings in 3 objects.
";
    assert_eq!(world(&text).analysis().to_string(), expected);
}

#[test]
fn nothing_wrong_is_said_in_a_line() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let analysis = world(text).analysis();
    assert_eq!(analysis.to_string(), "Nothing is wrong with 1 object.\n");
    assert!(!analysis.has(Severity::Info));
}

#[test]
fn programs_read_the_same() {
    let analysis = world(SERVICE).analysis();
    assert!(analysis.has(Severity::Warning) && !analysis.has(Severity::Error));
    let expected = json!({"objects": 1, "findings": [{
        "place": {"file": "w.yaml", "line": 4, "column": 8},
        "severity": "warning", "object": "Service/default/web", "field": "spec.selector",
        "message": "picks no pod, so requests to it get 503; give pods these labels",
    }]});
    assert_eq!(serde_json::to_value(&analysis).expect("JSON"), expected);
}

//! Lists of rules: what one may have, and which of them a route of a gateway names.

use serde_json::{Value, json};
use weft_config::{Action, Interest, Rule};
use weft_translate::{Resolved, Translator};

use crate::worlds;

fn pod(name: &str, container: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"containers": [{"name": container}]}, "status": {"podIP": "10.1.0.1"},
    })
}

fn gateway(name: &str, servers: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": "edge"}, "servers": servers},
    })
}

fn server(port: u16, bind: Option<&str>, host: &str) -> Value {
    json!({
        "port": {"number": port, "name": format!("http-{port}"), "protocol": "HTTP"},
        "bind": bind, "hosts": [host],
    })
}

fn virtual_service(name: &str, gateways: &[&str], host: &str, http: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"gateways": gateways, "hosts": [host], "http": http},
    })
}

fn to(host: &str, matches: Value) -> Value {
    json!({"match": matches, "route": [{"destination": {"host": host, "port": {"number": 80}}}]})
}

/// What the gateway runs in such a world.
fn edge(objects: &[Value]) -> (Translator, Resolved) {
    let objects = objects.iter().cloned().chain([pod("edge", "istio-proxy"), pod("web", "app")]);
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    let mut translator = worlds::translator(objects);
    let client = worlds::client(&translator, "shop/edge");
    let resolved = Resolved::clone(&translator.resolve(&client, &Interest::Own));
    (translator, resolved)
}

/// Where the rules of a route lead, in order.
fn leads(resolved: &Resolved, route: &str) -> Vec<String> {
    let lead = |rule: &Rule| match &rule.action {
        Action::Forward(targets) => targets[0].backend.clone(),
        Action::Respond { status, .. } => status.to_string(),
        Action::Redirect(_) => "redirect".to_owned(),
        Action::Passthrough => "outside".to_owned(),
    };
    worlds::routes(resolved)[route].rules.iter().map(lead).collect()
}

#[test]
fn what_each_alternative_repeats_has_a_bound_in_bytes() {
    let uri = |at: usize| json!({"uri": {"exact": format!("/{at}")}});
    let matches: Vec<Value> = (0..1_000).map(uri).collect();
    let mut long = to("cart", json!(matches));
    long["name"] = "n".repeat(100_000).into();
    let statuses: Vec<&str> = vec!["503"; 50_000];
    let mut retried = to("cart", json!(matches));
    retried["retries"] = json!({"attempts": 1, "retryOn": statuses.join(",")});
    let all = virtual_service(
        "all",
        &["edge", "mesh"],
        "a.example",
        &[to("cart", json!([uri(0)])), long, retried],
    );
    let (mut translator, resolved) = edge(&[gateway("edge", &[server(80, None, "*")]), all]);
    let web = worlds::client(&translator, "shop/web");
    let of_web = translator.resolve(&web, &"a.example:80".parse().expect("an interest"));
    for resolved in [&resolved, &*of_web] {
        let bytes = resolved.resources.iter().map(|piece| piece.json.len()).sum::<usize>();
        assert!(bytes < 4 << 20, "{bytes} bytes");
    }
    let leads = leads(&resolved, "http.80/a.example");
    assert_eq!((leads.len(), &*leads[1], &*leads[1_001]), (2_001, "500", "500"));
    assert!(leads[0].contains("cart"), "what fits is served");
    let found = translator.diagnostics();
    let told = found.iter().filter(|one| one.message.contains("4 MiB"));
    let told: Vec<&str> = told.map(|one| one.field.as_str()).collect();
    assert_eq!(told, ["spec.http[1].match", "spec.http[2].match"]);
}

#[test]
fn destinations_of_copies_count_as_others_do() {
    let uri = |at: usize| json!({"uri": {"exact": format!("/{at}")}});
    let mut mirrored = to("cart", (0..1_000).map(uri).collect());
    mirrored["mirrors"] = (0..40).map(|_| json!({"destination": {"host": "cart"}})).collect();
    let mut few = mirrored.clone();
    few["mirrors"] = json!([{"destination": {"host": "cart"}}]);
    let all = virtual_service("all", &["edge"], "a.example", &[mirrored, few]);
    let (_, resolved) = edge(&[gateway("edge", &[server(80, None, "*")]), all]);
    let leads = leads(&resolved, "http.80/a.example");
    assert!(leads[..1_000].iter().all(|lead| lead == "500"), "{leads:?}");
    assert!(leads[1_000].contains("cart"), "what fits is served");
}

#[test]
fn ports_of_a_gateway_on_one_port_of_the_pod_have_their_own_rules() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "edge", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "edge"}, "ports": [
            {"name": "http-a", "port": 7001, "targetPort": 7000},
            {"name": "http-b", "port": 7002, "targetPort": 7000},
        ]},
    });
    let rules = [to("one", json!([{"port": 7001}])), to("two", json!([{"port": 7002}]))];
    let (_, resolved) = edge(&[
        service,
        gateway("edge", &[server(7001, None, "a.example"), server(7002, None, "b.example")]),
        virtual_service("site", &["edge"], "*", &rules),
    ]);
    assert!(leads(&resolved, "http.7000/a.example")[0].contains("one"));
    assert!(leads(&resolved, "http.7000/b.example")[0].contains("two"));
}

#[test]
fn a_closed_rule_at_a_gateway_keeps_its_place() {
    let unreadable = json!([{"headers": {"x": {"regex": "("}}}]);
    let rules = [
        to("private", unreadable),
        to("admin", json!([{"uri": {"prefix": "/admin"}}])),
        to("all", json!([{"uri": {"prefix": "/"}}])),
    ];
    let (_, resolved) = edge(&[
        gateway("edge", &[server(80, None, "*")]),
        virtual_service("own", &["edge"], "a.example", &rules),
    ]);
    let leads = leads(&resolved, "http.80/a.example");
    assert_eq!((leads.len(), &*leads[0]), (3, "500"), "{leads:?}");
}

#[test]
fn patterns_that_take_too_long_to_compile_close_their_rules() {
    let pattern = |at: usize| json!([{"uri": {"regex": format!(r"/{at}\pL{{2}}")}}]);
    let mut rules = vec![to("first", json!([{"uri": {"regex": "/a.*"}}]))];
    rules.extend((0..1_000).map(|at| to("many", pattern(at))));
    let (mut translator, resolved) = edge(&[
        gateway("edge", &[server(80, None, "*")]),
        virtual_service("own", &["edge"], "a.example", &rules),
    ]);
    let leads = leads(&resolved, "http.80/a.example");
    assert!(leads[0].contains("first") && leads[1_000] == "500", "{leads:?}");
    let closed = leads.iter().filter(|lead| *lead == "500").count();
    assert!(closed > 500, "{closed}");
    let found = translator.diagnostics();
    let told = found.iter().filter(|one| one.message.contains("regular expressions of"));
    assert!(told.count() > 50);
}

#[test]
fn names_of_lists_in_routes_have_a_bound() {
    let name = |at: usize| format!("{}-{at:03}", "v".repeat(200));
    let hosts: Vec<String> = (0..1_000).map(|at| format!("h{at}.example")).collect();
    // By the bits of its number, so that no two hosts have the same lists.
    let wide = |at: usize| {
        let rule = to("cart", json!([{"uri": {"exact": format!("/{at}")}}]));
        let mut one = virtual_service(&name(at), &["edge"], "*", &[rule]);
        let own = hosts.iter().enumerate().filter(|(nth, _)| nth & (1 << (at % 10)) == 0);
        one["spec"]["hosts"] = json!(own.map(|(_, host)| host).collect::<Vec<_>>());
        one["metadata"]["creationTimestamp"] =
            json!(format!("2026-01-01T00:{:02}:{:02}Z", at / 60, at % 60));
        one
    };
    let mut plain =
        virtual_service("plain", &["shop/edge"], "plain.example", &[to("cart", json!([]))]);
    plain["metadata"]["namespace"] = json!("other");
    let all = (0..240).map(wide);
    let all: Vec<Value> = all.chain([gateway("edge", &[server(80, None, "*")]), plain]).collect();
    let (mut translator, resolved) = edge(&all);
    let bytes = resolved.resources.iter().map(|piece| piece.json.len()).sum::<usize>();
    // Without a bound it is 28 MB.
    assert!(bytes < 16 << 20, "{bytes} bytes");
    let served = leads(&resolved, "http.80/h0.example").len();
    assert!((50..150).contains(&served), "{served} rules");
    assert!(leads(&resolved, "http.80/plain.example")[0].contains("cart"), "of another namespace");
    let found = translator.diagnostics();
    let told = found.iter().filter(|one| one.message.contains("each host names all lists"));
    let told: Vec<&str> = told.map(|one| one.object.name.as_str()).collect();
    assert_eq!(told, (served..240).map(name).collect::<Vec<_>>());
    assert!(translator.check(10_000).is_empty());
}

//! Gateways that send clients to TLS, beside those of others.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weft_config::{Action, Interest, Redirect};
use weft_translate::Translator;

fn gateway(namespace: &str, servers: &[(&str, bool)]) -> Value {
    let server = |(host, redirects): &(&str, bool)| {
        json!({
            "port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [host],
            "tls": if *redirects { json!({"httpsRedirect": true}) } else { Value::Null },
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "own", "namespace": namespace},
        "spec": {
            "selector": {"app": "edge"},
            "servers": servers.iter().map(server).collect::<Vec<_>>(),
        },
    })
}

fn virtual_service(namespace: &str, host: &str, gateways: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "own", "namespace": namespace},
        "spec": {
            "hosts": [host], "gateways": gateways,
            "http": [{"directResponse": {"status": 200}, "name": namespace}],
        },
    })
}

fn translator(objects: &[Value]) -> Translator {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "edge", "namespace": "edge",
            "labels": {"app": "edge", "istio": "ingressgateway"},
        },
        "spec": {"containers": [{"name": "istio-proxy"}]}, "status": {"podIP": "10.1.0.1"},
    });
    let objects = objects.iter().cloned().chain([pod]);
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    crate::worlds::translator(objects)
}

/// What the only rule of each host does.
fn actions(objects: &[Value]) -> BTreeMap<String, Action> {
    let mut translator = translator(objects);
    let edge = crate::worlds::client(&translator, "edge/edge");
    let resolved = translator.resolve(&edge, &Interest::Own);
    let routes = crate::worlds::routes(&resolved).into_values();
    let hosts = routes.flat_map(|route| {
        let action = route.rules[0].action.clone();
        route.hosts.into_iter().map(move |host| (host.to_string(), action.clone()))
    });
    hosts.collect()
}

/// Whose rules the gateway has, by host; and the errors about redirects that do not hold.
fn answers(objects: &[Value]) -> (BTreeMap<String, String>, Vec<String>) {
    let mut translator = translator(objects);
    let edge = crate::worlds::client(&translator, "edge/edge");
    let resolved = translator.resolve(&edge, &Interest::Own);
    let mut found = BTreeMap::new();
    for route in crate::worlds::routes(&resolved).into_values() {
        let rules = route.rules.iter().map(|rule| rule.origin.object.clone());
        let rules: Vec<String> = rules.collect();
        found.extend(route.hosts.iter().map(|host| (host.to_string(), rules.join(", "))));
    }
    let told = translator.diagnostics();
    let told = told.iter().filter(|one| one.message.contains("another Gateway serves"));
    (found, told.map(|one| format!("{} {}", one.object, one.field)).collect())
}

const SHOP: &str = "VirtualService/shop/own";
const OF_EVIL: &str = "Gateway/evil/own";
const TOLD: &[&str] = &["Gateway/evil/own spec.servers[0].tls.httpsRedirect"];

#[track_caller]
fn check(objects: &[Value], expected: &[(&str, &str)], told: &[&str]) {
    let (answers, found) = answers(objects);
    let answers: Vec<_> = answers.iter().map(|(host, to)| (host.as_str(), to.as_str())).collect();
    assert_eq!(answers, expected);
    assert_eq!(found, told);
}

#[test]
fn no_host_that_another_gateway_serves_is_redirected() {
    let shop = [
        gateway("shop", &[("*.example", false)]),
        virtual_service("shop", "web.example", &["shop/own"]),
    ];
    for host in ["*", "web.example"] {
        let expected = [("*", OF_EVIL), ("web.example", SHOP)];
        let expected = if host == "*" { &expected[..] } else { &expected[1..] };
        let evil = gateway("evil", &[(host, true)]);
        check(&[&shop[..], &[evil]].concat(), expected, TOLD);
    }
    // A pattern of another is wider, and serves the rest.
    let shop = [
        gateway("shop", &[("*.example", false)]),
        virtual_service("shop", "*.example", &["shop/own"]),
    ];
    let evil = gateway("evil", &[("web.example", true)]);
    let expected = [("*.example", SHOP), ("web.example", OF_EVIL)];
    check(&[&shop[..], &[evil]].concat(), &expected, &[]);
}

#[test]
fn what_is_said_through_a_redirect_is_not_served() {
    let plain = gateway("shop", &[("*", false)]);
    let shop = virtual_service("shop", "web.example", &["shop/own"]);
    // A virtual service's rules are not served where they are said through the redirect only.
    let evil =
        [gateway("evil", &[("*", true)]), virtual_service("evil", "*.example", &["evil/own"])];
    let expected = [("*", OF_EVIL), ("*.example", OF_EVIL), ("web.example", SHOP)];
    check(&[&[plain.clone(), shop.clone()], &evil[..]].concat(), &expected, TOLD);
    let evil =
        [gateway("evil", &[("*", true)]), virtual_service("evil", "web.example", &["evil/own"])];
    let expected = [("*", OF_EVIL), ("web.example", SHOP)];
    check(&[&[plain.clone(), shop], &evil[..]].concat(), &expected, TOLD);
    // Those of a virtual service that names both Gateways are, by the other.
    let both = virtual_service("shop", "web.example", &["shop/own", "evil/own"]);
    check(&[plain, both, evil[0].clone()], &expected, TOLD);
}

#[test]
fn a_gateway_redirects_what_it_serves_itself() {
    let servers = [("web.example", true), ("*", false)];
    let objects = [gateway("evil", &servers), virtual_service("shop", "*", &["evil/own"])];
    check(&objects, &[("*", SHOP), ("web.example", OF_EVIL)], &[]);
    // Also where only others may serve it there.
    let servers = [("bank/web.example", true), ("*", false)];
    let objects = [gateway("evil", &servers), virtual_service("shop", "*", &["evil/own"])];
    check(&objects, &[("*", SHOP), ("web.example", OF_EVIL)], &[]);
}

/// An Ingress of every host, with this one in a rule.
fn ingress(host: &str) -> [Value; 2] {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    [
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": "istio"}, "spec": {"controller": "istio.io/ingress-controller"},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "own", "namespace": "evil"},
            "spec": {
                "ingressClassName": "istio", "defaultBackend": backend,
                "rules": [{"host": host, "http": {"paths": [path]}}],
            },
        }),
    ]
}

#[test]
fn an_ingress_takes_no_host_from_a_redirect() {
    let mut shop = gateway("shop", &[("web.example", true)]);
    shop["spec"]["selector"] = json!({"istio": "ingressgateway"});
    let redirect = "Gateway/shop/own";
    let of_ingress = "Ingress/evil/own";
    for host in ["web.example", "other.example"] {
        let objects = [&ingress(host)[..], &[shop.clone()]].concat();
        let expected = match host {
            "web.example" => &[("*", of_ingress), ("web.example", redirect)][..],
            _ => &[("*", of_ingress), ("other.example", of_ingress), ("web.example", redirect)],
        };
        check(&objects, expected, &[]);
    }
}

#[test]
fn a_redirect_is_301_to_the_same_over_https() {
    let objects = [gateway("shop", &[("web.example", true)])];
    let action = actions(&objects).remove("web.example").expect("a route");
    assert_eq!(action, Action::Redirect(Box::new(Redirect::to_tls())));
}

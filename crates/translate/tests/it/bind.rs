//! Servers of Gateways that are bound to an address, beside those at every address.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};
use weft_config::{Interest, Resource};
use weft_translate::{Resolved, Translator};

use crate::worlds;

fn gateway((namespace, name): (&str, &str), bind: Option<&str>, host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": "edge"}, "servers": [{
            "port": {"number": 80, "name": "http", "protocol": "HTTP"},
            "bind": bind, "hosts": [host],
        }]},
    })
}

/// A virtual service that was made in the second `made`.
fn virtual_service(
    (namespace, name): (&str, &str),
    made: usize,
    hosts: &[&str],
    gateways: &[&str],
) -> Value {
    let rules = [json!({
        "match": [{"uri": {"prefix": "/"}, "headers": {"x": {"exact": name}}}],
        "directResponse": {"status": 200}, "name": name,
    })];
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {
            "name": name, "namespace": namespace,
            "creationTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", made / 60, made % 60),
        },
        "spec": {"hosts": hosts, "gateways": gateways, "http": rules},
    })
}

/// What the gateway at 10.1.0.1 runs in such a world.
fn edge(objects: impl IntoIterator<Item = Value>) -> (Translator, Resolved) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "edge", "namespace": "edge", "labels": {"app": "edge"}},
        "spec": {"containers": [{"name": "istio-proxy"}]}, "status": {"podIP": "10.1.0.1"},
    });
    let objects = objects.into_iter().chain([pod]);
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    let mut translator = worlds::translator(objects);
    let client = worlds::client(&translator, "edge/edge");
    let resolved = Resolved::clone(&translator.resolve(&client, &Interest::Own));
    (translator, resolved)
}

/// Where the gateway listens, and in each place whose rules stand for which host, in order.
fn places(resolved: &Resolved) -> BTreeMap<String, Vec<String>> {
    let routes = worlds::routes(resolved);
    let listeners = resolved.resources.iter().filter_map(|piece| match &*piece.resource {
        Resource::Listener(listener) => Some(listener),
        _ => None,
    });
    let of_listener = |listener: &weft_config::Listener| {
        let weft_config::Scope::Servers(servers) = &listener.scope else { panic!("servers") };
        let named = servers.iter().flat_map(|server| &server.routes);
        let told = named.flat_map(|name| {
            let route = &routes[name];
            let rules = route.rules.iter().map(|rule| rule.name.as_deref().unwrap_or("closed"));
            let rules = rules.collect::<Vec<_>>().join(" ");
            route.hosts.iter().map(move |host| format!("{host}: {rules}")).collect::<Vec<_>>()
        });
        let mut told: Vec<String> = told.collect();
        told.sort();
        (listener.bind.to_string(), told)
    };
    listeners.map(of_listener).collect()
}

#[track_caller]
fn check(objects: impl IntoIterator<Item = Value>, expected: &[(&str, &[&str])]) -> Translator {
    let (translator, resolved) = edge(objects);
    let places = places(&resolved);
    let places: Vec<(&str, Vec<&str>)> = places
        .iter()
        .map(|(at, told)| (at.as_str(), told.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<(&str, Vec<&str>)> =
        expected.iter().map(|(at, told)| (*at, told.to_vec())).collect();
    assert_eq!(places, expected);
    translator
}

#[test]
fn a_gateway_at_every_address_takes_no_host_from_one_at_an_address() {
    let objects = |bind| {
        [
            gateway(("shop", "own"), Some(bind), "shop.example"),
            gateway(("evil", "own"), None, "evil.example"),
            virtual_service(("shop", "shop"), 0, &["shop.example"], &["shop/own"]),
            virtual_service(("evil", "evil"), 1, &["evil.example"], &["evil/own"]),
        ]
    };
    let apart: &[(&str, &[&str])] =
        &[("0.0.0.0:80", &["evil.example: evil"]), ("10.1.0.1:80", &["shop.example: shop"])];
    check(objects("10.1.0.1"), apart);
    check(objects("::ffff:10.1.0.1"), apart);
    let one: &[(&str, &[&str])] = &[("0.0.0.0:80", &["evil.example: evil", "shop.example: shop"])];
    for every in ["0.0.0.0", "::", "0:0::0", "::ffff:0.0.0.0", ""] {
        check(objects(every), one);
    }
}

#[test]
fn a_host_at_an_address_has_what_is_said_for_it_everywhere_in_the_usual_order() {
    let shop = |bind| gateway(("shop", "own"), bind, "*");
    let evil = |bind| gateway(("evil", "own"), bind, "*");
    let services = [
        virtual_service(("evil", "evil"), 5, &["web.example", "evil.example"], &["evil/own"]),
        virtual_service(("shop", "older"), 1, &["web.example"], &["shop/own"]),
        virtual_service(("shop", "younger"), 9, &["web.example", "other.example"], &["shop/own"]),
    ];
    let in_order = "web.example: older evil younger";
    let with = |gateways: [Value; 2]| gateways.into_iter().chain(services.clone());
    // On one port without addresses,
    check(
        with([shop(None), evil(None)]),
        &[("0.0.0.0:80", &["evil.example: evil", "other.example: younger", in_order])],
    );
    // where the younger object is at the address, and where the older one is.
    check(
        with([shop(None), evil(Some("10.1.0.1"))]),
        &[
            ("0.0.0.0:80", &["other.example: younger", "web.example: older younger"]),
            ("10.1.0.1:80", &["evil.example: evil", in_order]),
        ],
    );
    check(
        with([shop(Some("10.1.0.1")), evil(None)]),
        &[
            ("0.0.0.0:80", &["evil.example: evil", "web.example: evil"]),
            ("10.1.0.1:80", &["other.example: younger", in_order]),
        ],
    );
}

#[test]
fn a_virtual_service_of_both_gateways_has_its_rules_for_each() {
    let mut both = virtual_service(("shop", "both"), 0, &["a.example"], &["inside", "outside"]);
    both["spec"]["http"] = json!([
        {"match": [{"gateways": ["inside"]}], "directResponse": {"status": 200}, "name": "in"},
        {"match": [{"gateways": ["outside"]}], "directResponse": {"status": 403}, "name": "out"},
    ]);
    let objects = [
        gateway(("shop", "inside"), Some("127.0.0.1"), "a.example"),
        gateway(("shop", "outside"), None, "a.example"),
        both,
    ];
    let expected: &[(&str, &[&str])] =
        &[("0.0.0.0:80", &["a.example: out"]), ("127.0.0.1:80", &["a.example: in"])];
    check(objects, expected);
}

#[test]
fn no_host_that_is_served_everywhere_is_redirected_at_an_address_and_both_are_told() {
    let redirecting = |mut gateway: Value| {
        gateway["spec"]["servers"][0]["tls"] = json!({"httpsRedirect": true});
        gateway
    };
    let service = virtual_service(("shop", "shop"), 0, &["web.example"], &["shop/own"]);
    let told = |mut translator: Translator| {
        let found = translator.diagnostics();
        let about = found.iter().filter(|one| one.message.contains("another Gateway serves"));
        about.map(|one| one.object.to_string()).collect::<Vec<_>>()
    };
    let translator = check(
        [
            gateway(("shop", "own"), None, "*"),
            redirecting(gateway(("evil", "own"), Some("10.1.0.1"), "*.example")),
            redirecting(gateway(("evil", "one"), Some("10.1.0.1"), "web.example")),
            service.clone(),
        ],
        &[("0.0.0.0:80", &["web.example: shop"]), ("10.1.0.1:80", &["*.example: closed"])],
    );
    // `*.example` is wider than what is served: the rest is redirected.
    assert_eq!(told(translator), ["Gateway/evil/one"]);
    let translator = check(
        [
            gateway(("shop", "own"), Some("10.1.0.1"), "*"),
            redirecting(gateway(("evil", "own"), None, "*.example")),
            service,
        ],
        &[("0.0.0.0:80", &["*.example: closed"]), ("10.1.0.1:80", &["web.example: shop"])],
    );
    assert_eq!(told(translator), ["Gateway/evil/own"]);
}

/// The `number`th address of a thousand.
fn address(number: usize) -> String {
    format!("10.2.{}.{}", number / 250, number % 250 + 1)
}

fn size(resolved: &Resolved) -> usize {
    resolved.resources.iter().map(|piece| piece.json.len()).sum()
}

#[test]
fn a_thousand_addresses_repeat_nothing_of_what_is_said_everywhere() {
    let hosts: Vec<String> = (0..2_000).map(|at| format!("h{at}.example")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let addresses = (0..1_000).flat_map(|number| {
        let own = format!("own-{number}");
        let host = format!("own-{number}.evil.example");
        let gateways = format!("evil/{own}");
        [
            gateway(("evil", &own), Some(&address(number)), "*"),
            virtual_service(("evil", &own), 1, &[&host], &[&gateways]),
        ]
    });
    let shop = [
        gateway(("shop", "own"), None, "*"),
        virtual_service(("shop", "shop"), 0, &hosts, &["shop/own"]),
    ];
    let before = Instant::now();
    let (_, resolved) = edge(shop.into_iter().chain(addresses));
    // Two million hosts would take a minute here.
    assert!(before.elapsed().as_secs() < 20, "{:?}", before.elapsed());
    let places = places(&resolved);
    assert_eq!((places.len(), places["0.0.0.0:80"].len()), (1_001, 2_000));
    assert_eq!(places[&format!("{}:80", address(7))], ["own-7.evil.example: own-7"]);
    assert!(size(&resolved) < 4 << 20, "{} bytes", size(&resolved));
}

#[test]
fn one_host_at_a_thousand_addresses_has_a_bound_which_closes_nothing_of_others() {
    let shop = (0..600).map(|number| {
        virtual_service(("shop", &format!("s{number}")), number, &["web.example"], &["shop/own"])
    });
    let gateways: Vec<String> = (0..1_000).map(|number| format!("evil/own-{number}")).collect();
    let evil = (0..1_000).map(|number| {
        gateway(("evil", &format!("own-{number}")), Some(&address(number)), "web.example")
    });
    let names: Vec<&str> = gateways.iter().map(String::as_str).collect();
    let service = virtual_service(("evil", "evil"), 900, &["web.example"], &names);
    let objects = [gateway(("shop", "own"), None, "web.example"), service];
    let before = Instant::now();
    let (mut translator, resolved) = edge(shop.chain(evil).chain(objects));
    assert!(before.elapsed().as_secs() < 20, "{:?}", before.elapsed());
    // Six hundred names at each of a thousand addresses would be more than this.
    assert!(size(&resolved) < 24 << 20, "{} bytes", size(&resolved));
    let routes = resolved.resources.iter().filter_map(|piece| match &*piece.resource {
        Resource::Route(route) => Some((route.name.as_str(), route.lists.len())),
        _ => None,
    });
    let routes: BTreeMap<&str, usize> = routes.collect();
    assert_eq!(routes["http.80/web.example"], 600);
    assert_eq!(routes[&*format!("http.{}:80/web.example", address(0))], 601);
    // Where it is beyond the bound, what is said everywhere holds, and nothing stands before it.
    assert!(!routes.contains_key(&*format!("http.{}:80/web.example", address(999))));
    let found = translator.diagnostics();
    let told = found.iter().filter(|one| one.message.contains("32 MiB"));
    let told: std::collections::BTreeSet<_> = told.map(|one| one.object.to_string()).collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["VirtualService/evil/evil"]);
}

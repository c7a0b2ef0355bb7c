//! What virtual services of one namespace cost the clients of another.

use serde_json::{Value, json};
use weft_config::{Action, Entry, Interest, Rule};
use weft_testkit::processor_time::used;
use weft_translate::{Resolved, Translator};

/// Rules of the route that a client in `shop` gets for web.shop, where `namespace` has 12
/// virtual services of 200 KiB each for it; and how many warnings say that the host is another's.
fn rules(namespace: &str) -> (usize, usize) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.1"},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]},
    });
    let rule = |at: usize| {
        json!({
            "match": [{"sourceLabels": {"a": at.to_string()}, "uri": {"prefix": "x".repeat(1000)}}],
            "route": [{"destination": {"host": "web.shop.svc.cluster.local"}}],
        })
    };
    let many = (0..12).map(|number| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {
                "name": format!("v{number}"), "namespace": namespace,
                "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z"),
            },
            "spec": {
                "hosts": ["web.shop.svc.cluster.local"],
                "http": (0..150).map(rule).collect::<Vec<_>>(),
            },
        })
    });
    let objects = [pod, service].into_iter().chain(many);
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    let mut translator = crate::worlds::translator(objects);
    let client = crate::worlds::client(&translator, "shop/web");
    let interest: Interest = "web.shop:80".parse().expect("an interest");
    let resolved = translator.resolve(&client, &interest);
    let count = crate::worlds::routes(&resolved).into_values().map(|route| route.rules.len());
    let found = translator.diagnostics();
    let told = found.iter().filter(|one| one.message.contains("a host of namespace shop"));
    (count.sum(), told.count())
}

#[test]
fn rules_of_another_namespace_are_bounded_and_reported() {
    // Each rule is for clients of its own, and one more ends what is for them.
    let (rules_of_shop, told) = rules("shop");
    assert_eq!((rules_of_shop, told), (12 * 2 * 150 + 1, 0));
    let (rules_of_evil, told) = rules("evil");
    assert_eq!(told, 12);
    // The older ones in full, then the host's own rule.
    assert!((2..=6).contains(&(rules_of_evil / 300)), "{rules_of_evil}");
    assert_eq!(rules_of_evil % 300, 1);
}

/// A world in which `namespace` has 12 virtual services of 200 KiB each for `host`, in `list`.
fn world(namespace: &str, host: &str, list: &str) -> Translator {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.1"},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [
            {"name": "tcp", "port": 5432}, {"name": "tls", "port": 443},
        ]},
    });
    let rule = |at: usize| {
        let mut one = json!({"sourceLabels": {"a": format!("{at}{}", "x".repeat(1000))}});
        if list == "tls" {
            one["sniHosts"] = json!([host]);
        }
        json!({
            "match": [one],
            "route": [{"destination": {"host": "db.shop.svc.cluster.local"}}],
        })
    };
    let many = (0..12).map(|number| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {
                "name": format!("v{number:02}"), "namespace": namespace,
                "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z"),
            },
            "spec": {"hosts": [host], list: (0..150).map(rule).collect::<Vec<Value>>()},
        })
    });
    let objects = [pod, service].into_iter().chain(many);
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    crate::worlds::translator(objects)
}

fn resolved(translator: &mut Translator, interest: &str) -> Resolved {
    let client = crate::worlds::client(translator, "shop/web");
    let interest: Interest = interest.parse().expect("an interest");
    translator.resolve(&client, &interest).as_ref().clone()
}

/// The virtual services that a diagnostic says are left out, with the field of each.
fn told(translator: &mut Translator) -> Vec<(String, String)> {
    let found = translator.diagnostics();
    let left_out = found.iter().filter(|one| one.message.contains("are left out for clients"));
    left_out.map(|one| (one.object.name.clone(), one.field.clone())).collect()
}

/// That the youngest of twelve virtual services are left out, and each has a diagnostic.
#[track_caller]
fn check_left_out(translator: &mut Translator, resolved: &Resolved, field: &str) {
    let left_out: Vec<_> =
        resolved.left_out.iter().map(|key| (key.name.clone(), field.to_owned())).collect();
    assert!((1..11).contains(&left_out.len()), "{left_out:?}");
    assert_eq!(left_out.last().map(|(name, _)| name.as_str()), Some("v11"));
    assert_eq!(told(translator), left_out);
}

#[test]
fn connections_have_the_same_bound_and_it_is_told_of_each_that_is_left_out() {
    let tcp = |translator: &mut Translator, list: &str| {
        let port = if list == "tls" { 443 } else { 5432 };
        let resolved = resolved(translator, &format!("10.96.0.1:{port}"));
        let Entry::Server(server) = &resolved.answer.entry else { panic!("{resolved:?}") };
        (server.tcp.len(), resolved)
    };
    let host = "db.shop.svc.cluster.local";
    let mut own = world("shop", host, "tcp");
    let (targets, of_shop) = tcp(&mut own, "tcp");
    assert_eq!((targets, of_shop.left_out.len()), (12 * 150 + 1, 0));
    assert_eq!(told(&mut own), []);
    for list in ["tcp", "tls"] {
        let mut evil = world("evil", host, list);
        let (targets, of_evil) = tcp(&mut evil, list);
        // For the clients of each rule there is another, for what no server name is for.
        let others = if list == "tls" { 150 } else { 0 };
        assert_eq!(targets, (12 - of_evil.left_out.len()) * 150 + others + 1, "{list}");
        check_left_out(&mut evil, &of_evil, &format!("spec.{list}"));
    }
}

#[test]
fn hosts_without_a_service_have_the_same_bound_and_end_closed() {
    let rules = |resolved: &Resolved| -> Vec<Rule> {
        crate::worlds::routes(resolved).into_values().flat_map(|route| route.rules).collect()
    };
    let mut own = world("shop", "api.example.com", "http");
    let of_shop = resolved(&mut own, "api.example.com:80");
    let last = rules(&of_shop).pop().expect("a rule");
    assert_eq!((of_shop.left_out.len(), last.action), (0, Action::Passthrough));
    let mut evil = world("evil", "api.example.com", "http");
    let of_evil = resolved(&mut evil, "api.example.com:80");
    let found = rules(&of_evil);
    assert_eq!(found.len(), (12 - of_evil.left_out.len()) * 150 + 1);
    let closed = Action::respond(500, "too_many_rules");
    assert_eq!(found.last().map(|rule| &rule.action), Some(&closed));
    check_left_out(&mut evil, &of_evil, "spec.http");
    // With fewer it goes away.
    let gone = of_evil.left_out.iter().map(|key| ((**key).clone(), None));
    evil.change(gone.collect::<Vec<_>>());
    assert_eq!(told(&mut evil), []);
    assert!(resolved(&mut evil, "api.example.com:80").left_out.is_empty());
}

/// A service `web` in shop, a pod and an alias of the service in evil, and virtual services of
/// shop: as many as there are `names`, each with 150 rules of 4 KiB for `hosts`.
fn aliased(namespace: &str, names: &[&str], hosts: &[&str]) -> Translator {
    let pod = |namespace| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": namespace},
            "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.1"},
        })
    };
    let service = |namespace, name, spec: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        })
    };
    let ports = json!([{"name": "http", "port": 80}]);
    let web = service("shop", "web", json!({"clusterIP": "10.96.0.1", "ports": ports}));
    let external = "web.shop.svc.cluster.local";
    let alias = json!({"type": "ExternalName", "externalName": external, "ports": ports});
    let alias = service("evil", "alias", alias);
    let rule = |at: usize| {
        let label = format!("{at}{}", "x".repeat(4000));
        json!({
            "match": [{"sourceLabels": {"a": label}}],
            "route": [{"destination": {"host": external}}],
        })
    };
    let many = names.iter().map(|name| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"hosts": hosts, "http": (0..150).map(rule).collect::<Vec<Value>>()},
        })
    });
    let objects = [pod("evil"), pod("shop"), web, alias].into_iter().chain(many);
    let objects = objects.map(|value| weft_api::read(value).expect("an object"));
    crate::worlds::translator(objects)
}

/// Rules of all routes that the pod gets, and how many virtual services are left out.
fn counted(translator: &mut Translator, pod: &str, interest: &str) -> (usize, usize) {
    let client = crate::worlds::client(translator, pod);
    let resolved = translator.resolve(&client, &interest.parse().expect("an interest"));
    let count = crate::worlds::routes(&resolved).into_values().map(|route| route.rules.len());
    (count.sum(), resolved.left_out.len())
}

#[test]
fn rules_of_the_namespace_behind_an_alias_are_not_left_out() {
    let mut translator = aliased("shop", &["a", "b", "c"], &["web.shop.svc.cluster.local"]);
    assert_eq!(counted(&mut translator, "evil/web", "web.shop:80"), (3 * 150 + 1, 0));
    assert_eq!(counted(&mut translator, "evil/web", "alias:80"), (3 * 150 + 1, 0));
}

#[test]
fn a_virtual_service_for_a_host_and_a_pattern_over_it_counts_once() {
    let hosts = ["web.shop.svc.cluster.local", "*.shop.svc.cluster.local"];
    let mut translator = aliased("evil", &["a"], &hosts);
    assert_eq!(counted(&mut translator, "shop/web", "web.shop:80"), (150 + 1, 0));
}

/// A processor's time to examine `count` virtual services of evil for the same hosts, each with
/// `bytes` of rules, every two for four of `namespaces` of their own; and how many are told that
/// they are left out.
fn examined(count: usize, bytes: usize, namespaces: usize) -> (u64, usize) {
    let hosts: Vec<String> = (0..10).map(|at| format!("h{at}.example")).collect();
    let one = |at: usize| {
        let label = format!("{at}{}", "x".repeat(bytes));
        let names = (0..4).map(|nth| format!("n{}", (at / 2 * 4 + nth) % namespaces));
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": format!("v{at:04}"), "namespace": "evil"},
            "spec": {
                "hosts": hosts, "exportTo": names.collect::<Vec<_>>(),
                "http": [{
                    "match": [{"sourceLabels": {"a": label}}],
                    "route": [{"destination": {"host": "db"}}],
                }],
            },
        })
    };
    let objects = (0..count).map(|at| weft_api::read(one(at)).expect("an object"));
    let mut translator = crate::worlds::translator(objects);
    let begun = used();
    let told = told(&mut translator).len();
    (used() - begun, told)
}

#[test]
fn namespaces_that_see_virtual_services_cost_their_examination_little() {
    for bytes in [10, 4 << 10] {
        let fastest = |namespaces| {
            let all = (0..3).map(|_| examined(400, bytes, namespaces).0);
            all.min().unwrap_or_default()
        };
        let (few, many) = (fastest(4), fastest(800));
        // To look at all for each namespace takes many times as long.
        assert!(many < few * 2, "{bytes}: {few} and {many}");
    }
}

#[test]
fn what_is_left_out_for_one_of_many_namespaces_is_told() {
    assert_eq!(examined(8, 10, 16).1, 0);
    // Two of them are more than 1 MiB together, and each namespace sees two.
    assert_eq!(examined(8, 600 << 10, 16).1, 4);
    assert_eq!(examined(8, 2 << 20, 16).1, 8);
}

/// For a host that no Service defines it is found for the name, and for the pattern once more.
#[test]
fn the_rules_for_a_host_and_a_pattern_over_it_stand_once() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.1.0.1"},
    });
    let service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "both", "namespace": "shop"},
        "spec": {"hosts": ["a.example", "*.example"], "http": [{
            "match": [{"sourceLabels": {"app": "web"}}], "route": [{"destination": {"host": "a"}}],
        }]},
    });
    let objects = [pod, service].map(|value| weft_api::read(value).expect("an object"));
    let mut translator = crate::worlds::translator(objects);
    let client = crate::worlds::client(&translator, "shop/web");
    let resolved = translator.resolve(&client, &"a.example:80".parse().expect("an interest"));
    let routes = crate::worlds::routes(&resolved).into_values();
    let rules: Vec<usize> = routes.map(|route| route.rules.len()).collect();
    assert_eq!(rules, [2], "its rule, and the outside");
}

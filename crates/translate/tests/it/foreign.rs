//! What virtual services of one namespace cost the clients of another.

use serde_json::json;
use weft_config::{Interest, Resource};

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
    let count = resolved.resources.iter().map(|piece| match &*piece.resource {
        Resource::Route(route) => route.rules.len(),
        _ => 0,
    });
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

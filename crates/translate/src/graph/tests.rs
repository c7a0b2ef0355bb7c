//! What is remembered, forgotten and checked.

use std::sync::Arc;

use serde_json::json;
use weft_api::Kind;
use weft_config::Interest;

use super::*;
use crate::{
    Class, Client, Group, Role, Selector, clusters::endpoints::Addresses,
    model::picked::PodSelector,
};

fn cart() -> Key {
    Key::new(Kind::Service, "shop", "cart")
}

fn service(port: u16) -> (Key, Option<Object>) {
    let service = json!({
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"clusterIP": "None", "ports": [{"name": "tcp", "port": port}]},
    });
    let service = serde_json::from_value(service).expect("a service");
    (cart(), Some(Object::Service(service)))
}

#[test]
fn a_wrong_value_is_found_wherever_it_is() {
    let mut graph = Graph::default();
    graph.change([service(80)]);
    let unit = Unit::DirectoryAddresses(cart());
    graph.value(&unit);
    let mut cursor = 0;
    for _ in 0..4 {
        assert_eq!(graph.check(&mut cursor, 1), []);
    }
    let reads = Vec::new();
    let wrong = Addresses::from([([10, 9, 9, 9], 81).into()]);
    let inner = Unit::Addresses(cart());
    graph.slots.get_mut().set(&inner, Value::Addresses(Arc::new(wrong)), reads);
    let found: Vec<Unit> = (0..4).flat_map(|_| graph.check(&mut cursor, 1)).collect();
    // What was computed before is not what the wrong value gives.
    let expected = [&inner, &unit];
    assert!(found.contains(&inner), "{found:?}");
    assert!(found.iter().all(|one| expected.contains(&one)), "{found:?}");
}

#[test]
fn a_forgotten_unit_leaves_nothing_behind() {
    let mut graph = Graph::default();
    graph.change([service(80)]);
    let unit = Unit::DirectoryAddresses(cart());
    graph.value(&unit);
    graph.change([service(81)]);
    graph.check(&mut 0, 10);
    assert!(graph.slots.borrow().len() > 3);
    graph.forget(&unit);
    assert_eq!(graph.slots.borrow().len(), 0);
}

#[test]
fn a_change_runs_what_read_it_and_stops_where_nothing_is_different() {
    let mut graph = Graph::default();
    graph.change([service(80)]);
    graph.value(&Unit::DirectoryAddresses(cart()));
    let effect = graph.change([service(81)]);
    // There is no endpoint, so there is no chunk before and after.
    assert_eq!(effect.changed, [Unit::Definitions(cart())]);
    assert_eq!(graph.change([service(81)]).changed, []);
}

/// Has `reader` look at a pod's ports, which are lazy.
fn exposed_to(reader: &Unit) {
    View::new(&Graph::default(), reader).exposed(&cart());
}

#[test]
fn a_lazy_unit_reads_lazy_ones() {
    exposed_to(&Unit::Findings(cart()));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "not lazy")]
fn no_other_unit_reads_lazy_ones() {
    exposed_to(&Unit::Chunks(cart(), "cart.shop.svc.cluster.local".to_owned()));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "later kind")]
fn no_unit_reads_one_of_a_later_kind() {
    exposed_to(&Unit::Picked(PodSelector { labels: [].into(), namespace: None }));
}

fn gateway(name: &str, label: &str) -> (Key, Option<Object>) {
    let gateway = json!({
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": {"app": label}},
    });
    let gateway = serde_json::from_value(gateway).expect("a gateway");
    (Key::new(Kind::Gateway, "shop", name), Some(Object::Gateway(gateway)))
}

#[test]
fn gateways_are_found_by_the_first_labels_of_their_selectors() {
    let mut graph = Graph::default();
    let with = |name: &str, selector: &[(&str, &str)]| {
        let (key, gateway) = gateway(name, "");
        let Some(Object::Gateway(mut gateway)) = gateway else { panic!("a gateway") };
        let pairs = selector.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        gateway.spec.selector = pairs.collect();
        (key, Some(Object::Gateway(gateway)))
    };
    graph.change([
        with("all", &[]),
        with("one", &[("app", "a")]),
        with("later", &[("tier", "x")]),
        with("both", &[("app", "a"), ("tier", "x")]),
        with("more", &[("app", "a"), ("tier", "y")]),
        with("other", &[("app", "b")]),
    ]);
    let labels = [("app", "a"), ("tier", "x")].map(|(name, value)| (name.into(), value.into()));
    let found = |graph: &Graph| {
        let view = View::new(graph, &Unit::Mesh);
        let found = view.gateways_selecting(&labels.clone().into()).into_iter();
        found.map(|gateway| gateway.metadata.name.clone()).collect::<BTreeSet<_>>()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found(&graph), names(&["all", "both", "later", "one"]));
    graph.change([with("one", &[("app", "b")]), with("other", &[("app", "a")])]);
    assert_eq!(found(&graph), names(&["all", "both", "later", "other"]));
}

#[test]
fn what_a_gateway_reads_does_not_grow_with_the_gateways_of_others() {
    let pod = json!({
        "metadata": {"name": "edge", "namespace": "shop", "labels": {"app": "edge"}},
        "spec": {"containers": [{"name": "istio-proxy"}]},
    });
    let client = Client::of_pod(&serde_json::from_value(pod).expect("a pod"));
    assert_eq!(client.role, Role::Gateway);
    let unit = Unit::Answer(Class::One(Arc::new(client)), Interest::Own);
    let remembered = |count: usize| {
        let mut graph = Graph::default();
        graph.change([gateway("own", "edge")]);
        graph.change((0..count).map(|at| gateway(&format!("g{at}"), &at.to_string())));
        graph.value(&unit);
        graph.slots.borrow().len()
    };
    assert_eq!(remembered(100), remembered(1));
}

#[test]
fn labels_that_nothing_asks_about_any_more_are_forgotten() {
    let mut graph = Graph::default();
    graph.change([gateway("one", "a"), gateway("two", "a")]);
    let units = ["one", "two"].map(|name| Unit::Findings(Key::new(Kind::Gateway, "shop", name)));
    units.iter().for_each(|unit| drop(graph.value(unit)));
    assert_eq!(graph.world().labels_known(), 1);
    // A selector that changes leaves its label behind, unless another one names it.
    for (at, label) in ["b", "c", "d"].into_iter().enumerate() {
        graph.change([gateway("one", label)]);
        graph.renew(&units[0]);
        assert_eq!(graph.world().labels_known(), 2, "{at}");
    }
    graph.check(&mut 0, 100);
    assert_eq!(graph.world().labels_known(), 2);
    units.iter().for_each(|unit| graph.forget(unit));
    assert_eq!(graph.world().labels_known(), 0);
}

/// `count` virtual services of `count` hosts, each for four namespaces of its own.
fn exported(count: usize) -> Vec<(Key, Option<Object>)> {
    let hosts: Vec<String> = (0..count).map(|at| format!("h{at}.example")).collect();
    let one = |at: usize| {
        let name = format!("v{at}");
        let namespaces: Vec<String> = (0..4).map(|nth| format!("n{at}-{nth}")).collect();
        let rule =
            json!({"route": [{"destination": {"host": "db"}}], "name": "x".repeat(600 << 10)});
        let service = json!({
            "metadata": {"name": name, "namespace": "evil"},
            "spec": {"hosts": hosts, "exportTo": namespaces, "http": [rule]},
        });
        let service = serde_json::from_value(service).expect("a virtual service");
        let key = Key::new(Kind::VirtualService, "evil", name);
        (key, Some(Object::VirtualService(service)))
    };
    (0..count).map(one).collect()
}

#[test]
fn what_is_remembered_of_virtual_services_for_many_namespaces_grows_by_their_hosts() {
    let remembered = |count: usize| {
        let mut graph = Graph::default();
        let services = exported(count);
        let keys: Vec<Key> = services.iter().map(|(key, _)| key.clone()).collect();
        graph.change(services);
        keys.into_iter().for_each(|key| drop(graph.value(&Unit::Findings(key))));
        graph.slots.borrow().len()
    };
    let (few, many) = (remembered(6), remembered(24));
    assert!(many < few * 5, "{few} and {many}");
}

/// A destination rule of `shop` for `cart`.
fn rule(name: &str, spec: &serde_json::Value) -> (Key, Option<Object>) {
    let mut spec = spec.clone();
    spec["host"] = json!("cart");
    let rule = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let rule = serde_json::from_value(rule).expect("a destination rule");
    (Key::new(Kind::DestinationRule, "shop", name), Some(Object::DestinationRule(rule)))
}

#[test]
fn groups_that_see_the_same_policies_share_them() {
    let subsets = json!({"subsets": [{"name": "v1", "labels": {"version": "v1"}}]});
    let mut graph = Graph::default();
    graph.change([rule("all", &subsets)]);
    let group = |namespace: &str, selectors: &[&str]| {
        let one = |app: &&str| Selector([("app".to_owned(), (*app).to_owned())].into());
        Arc::new(Group {
            sidecar: None,
            namespace: namespace.to_owned(),
            selectors: selectors.iter().map(one).collect(),
            labels: None,
        })
    };
    let policies = |graph: &Graph, group: Arc<Group>| {
        let host = "cart.shop.svc.cluster.local".to_owned();
        match graph.hold(&Unit::HostPolicies(host, group)) {
            Value::HostPolicies(policies) => policies,
            _ => panic!("other than policies"),
        }
    };
    let share = |graph: &Graph, one: &Arc<Group>, other: &Arc<Group>| {
        Arc::ptr_eq(&policies(graph, Arc::clone(one)), &policies(graph, Arc::clone(other)))
    };
    // Selectors of rules for other hosts tell groups apart, but not here.
    let groups = [group("shop", &[]), group("shop", &["web"]), group("bank", &["till"])];
    assert!(groups.iter().all(|one| share(&graph, &groups[0], one)));
    let own = rule("own", &json!({"workloadSelector": {"matchLabels": {"app": "web"}}}));
    graph.change([own.clone()]);
    assert!(!share(&graph, &groups[0], &groups[1]) && share(&graph, &groups[0], &groups[2]));
    let private = rule("private", &json!({"exportTo": ["bank"]}));
    graph.change([private.clone(), (own.0, None)]);
    assert!(share(&graph, &groups[0], &groups[1]) && !share(&graph, &groups[0], &groups[2]));
    graph.change([(private.0, None)]);
    assert!(groups.iter().all(|one| share(&graph, &groups[0], one)));
    assert_eq!(graph.check(&mut 0, 100), []);
}

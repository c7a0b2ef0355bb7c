//! What it costs to find out what gateways do not serve in full, and for which of them it is done.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weft_api::{Diagnostic, Key, Object};
use weft_config::Interest;
use weft_testkit::processor_time::used;
use weft_translate::{Client, Translator};

type Change = (Key, Option<Object>);

fn object(value: Value) -> Change {
    let object = weft_api::check(&value).object.expect("an object");
    (object.key(), Some(object))
}

fn objects(values: impl IntoIterator<Item = Value>) -> Vec<Change> {
    values.into_iter().map(object).collect()
}

/// The pod of a gateway; `status` is the pod's.
fn pod(namespace: &str, name: &str, labels: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "istio-proxy"}]},
        "status": status,
    })
}

fn running() -> Value {
    json!({"phase": "Running", "podIP": "10.1.0.1"})
}

fn gateway(
    namespace: &str,
    name: &str,
    selector: &Value,
    ports: impl Iterator<Item = usize>,
) -> Value {
    let server = |port| json!({"port": {"number": port, "name": format!("http-{port}"), "protocol": "HTTP"}, "hosts": ["*"]});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector, "servers": ports.map(server).collect::<Vec<_>>()},
    })
}

/// A virtual service of `evil` at Gateway `all`, with `rules` rules of about `bytes` bytes.
fn site(number: usize, rules: usize, bytes: usize) -> Value {
    let rule = |at: usize| {
        json!({
            "match": [{"uri": {"exact": format!("/{at}/{}", "x".repeat(bytes))}}],
            "route": [{"destination": {"host": "db"}}],
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": format!("v{number}"), "namespace": "evil"},
        "spec": {
            "hosts": [format!("h{number}.example")], "gateways": ["all"],
            "http": (0..rules).map(rule).collect::<Vec<_>>(),
        },
    })
}

/// `count` pods in `evil`, each with a Gateway of its own, and one Gateway for all of them.
fn each_with_its_own(count: usize, status: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for at in 0..count {
        let own = json!({"p": at.to_string()});
        let labels = json!({"app": "edge", "p": at.to_string()});
        all.push(pod("evil", &format!("e{at}"), &labels, status));
        all.push(gateway("evil", &format!("g{at}"), &own, std::iter::once(81)));
    }
    all
}

fn for_all(port: usize) -> Value {
    gateway("evil", "all", &json!({"app": "edge"}), [80, port].into_iter())
}

/// A processor's time for a change of the Gateway of `count` pods, with what is examined then.
fn change_of_all(count: usize, status: &Value) -> u64 {
    let mut translator = Translator::new();
    let sites = (0..5).map(|number| site(number, 200, 10));
    let all = each_with_its_own(count, status).into_iter().chain(sites).chain([for_all(90)]);
    translator.change(objects(all));
    translator.diagnostics();
    let change = object(for_all(91));
    let begun = used();
    translator.change([change]);
    translator.diagnostics();
    used() - begun
}

#[test]
fn gateways_that_do_not_run_are_not_examined() {
    let over = json!({"phase": "Failed", "podIP": "10.1.0.1"});
    let waiting = json!({"phase": "Pending", "podIP": "10.1.0.1"});
    for status in [json!({}), waiting, over] {
        let fastest =
            |count| (0..3).map(|_| change_of_all(count, &status)).min().unwrap_or_default();
        let (few, many) = (fastest(1), fastest(40));
        // What a gateway of each pod would serve takes 40 times as long.
        assert!(many < few.max(5_000_000) * 4, "{few} and {many} ns");
    }
}

#[test]
fn a_change_does_not_wait_for_what_only_findings_need() {
    let mut translator = Translator::new();
    let sites = (0..5).map(|number| site(number, 200, 10));
    let all = each_with_its_own(20, &running()).into_iter().chain(sites).chain([for_all(90)]);
    translator.change(objects(all));
    translator.diagnostics();
    let times = [91, 92, 93].map(|port| {
        let change = object(for_all(port));
        let begun = used();
        assert_eq!(translator.change([change]), []);
        let changed = used() - begun;
        let begun = used();
        translator.diagnostics();
        (changed, used() - begun)
    });
    let changed = times.map(|(changed, _)| changed).into_iter().min().unwrap_or_default();
    let examined = times.map(|(_, examined)| examined).into_iter().min().unwrap_or_default();
    assert!(changed < examined / 10, "{changed} of {examined} ns");
}

/// The objects with a finding whose message has `text`.
fn told(translator: &mut Translator, text: &str) -> BTreeSet<String> {
    let found = translator.diagnostics();
    let told = found.iter().filter(|one| one.message.contains(text));
    told.map(|one| one.object.to_string()).collect()
}

#[test]
fn a_namespaces_gateways_are_examined_up_to_a_limit_and_those_beyond_it_are_named() {
    const UNCHECKED: &str = "was not checked";
    let mut translator = Translator::new();
    // Each of the pods repeats 600 KiB of rules.
    let sites = (0..3).map(|number| site(number, 200, 1_000));
    translator.change(objects(each_with_its_own(40, &running())));
    translator.change(objects(sites.chain([for_all(90)])));
    // Nothing of another namespace is concerned.
    let edge = json!({"app": "edge", "istio": "ingressgateway"});
    translator.change(objects([
        pod("shop", "edge", &edge, &running()),
        gateway("shop", "own", &json!({"istio": "ingressgateway"}), 2_000..3_002),
    ]));
    let unchecked = told(&mut translator, UNCHECKED);
    // 4 MiB and four times what is there once.
    assert!((20..40).contains(&unchecked.len()), "{unchecked:?}");
    assert!(unchecked.iter().all(|name| name.starts_with("Gateway/evil/g")), "{unchecked:?}");
    let limit = BTreeSet::from(["Gateway/shop/own".to_owned()]);
    assert_eq!(told(&mut translator, "1000 ports"), limit);
    assert!(translator.check(10_000).is_empty());
    // With less to repeat all are examined.
    let fewer = (0..3).map(|number| site(number, 10, 1_000));
    translator.change(objects(fewer));
    assert_eq!(told(&mut translator, UNCHECKED), BTreeSet::new());
    assert!(translator.check(10_000).is_empty());
}

#[test]
fn the_meshs_own_gateway_is_examined_before_those_of_other_namespaces() {
    let labels = json!({"istio": "ingressgateway"});
    let mut translator = Translator::new();
    let wide = gateway("shop", "wide", &labels, 2_000..3_002);
    let mut own = site(0, 1, 10);
    own["metadata"]["namespace"] = json!("shop");
    own["spec"]["gateways"] = json!(["wide"]);
    translator.change(objects([wide, own]));
    let told = |translator: &mut Translator| told(translator, "1000 ports");
    assert_eq!(told(&mut translator), BTreeSet::new());
    let limit = BTreeSet::from(["Gateway/shop/wide".to_owned()]);
    translator.change(objects([pod("istio-system", "edge", &labels, &running())]));
    assert_eq!(told(&mut translator), limit);
    // The first by name has a Service that leads to one port only.
    let ports: Vec<Value> = (2_000..3_002)
        .map(|port| json!({"name": format!("http-{port}"), "port": port, "targetPort": 8080}))
        .collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "one", "namespace": "a"},
        "spec": {"clusterIP": "10.96.0.9", "selector": labels, "ports": ports},
    });
    translator.change(objects([pod("a", "edge", &labels, &running()), service]));
    assert_eq!(told(&mut translator), limit);
    translator.change([(object(pod("istio-system", "edge", &labels, &running())).0, None)]);
    assert_eq!(told(&mut translator), BTreeSet::new());
}

#[test]
fn what_is_examined_of_a_gateway_is_the_same_whether_its_proxy_is_there_or_not() {
    let labels = json!({"app": "edge"});
    let mut translator = Translator::new();
    let edge = pod("shop", "edge", &labels, &running());
    let wide = |ports| gateway("shop", "wide", &labels, ports);
    translator.change(objects([edge.clone(), wide(2_000..3_002)]));
    let limit = BTreeSet::from(["Gateway/shop/wide".to_owned()]);
    assert_eq!(told(&mut translator, "1000 ports"), limit);
    let Some(Object::Pod(pod)) = object(edge).1 else { panic!("a pod") };
    let client = Client::of_pod(&pod);
    let class = translator.class(&client, &Interest::Own);
    translator.resolve(&client, &Interest::Own);
    for ports in [2_000..2_004, 2_000..3_003] {
        assert_eq!(translator.change(objects([wide(ports.clone())])).len(), 1);
        let limited = ports.len() > 1_000;
        assert_eq!(told(&mut translator, "1000 ports") == limit, limited);
        assert!(translator.check(10_000).is_empty());
    }
    // Nothing asks for the answer any more: it is not computed for its findings.
    translator.forget(&class, &Interest::Own);
    assert_eq!(told(&mut translator, "1000 ports"), limit);
    assert_eq!(translator.change(objects([wide(2_000..2_005)])), []);
    assert_eq!(told(&mut translator, "1000 ports"), BTreeSet::new());
    assert!(translator.check(10_000).is_empty());
    // A change before it is examined again computes the answer once more at most.
    translator.resolve(&client, &Interest::Own);
    translator.change(objects([wide(2_000..2_006)]));
    assert_eq!(told(&mut translator, "1000 ports"), BTreeSet::new());
    translator.forget(&class, &Interest::Own);
    translator.change(objects([wide(2_000..3_004)]));
    assert_eq!(told(&mut translator, "1000 ports"), limit);
    assert_eq!(translator.change(objects([wide(2_000..2_007)])), []);
    assert_eq!(told(&mut translator, "1000 ports"), BTreeSet::new());
    assert!(translator.check(10_000).is_empty());
}

/// The Gateways, by index, that serve none of the 20,000 hosts of a virtual service, as far as
/// that is said; each has as many hosts, and those in `serving` serve the last of them.
fn serving_none(serving: &[usize]) -> Vec<String> {
    let hosts = |of: &str| (0..20_000).map(|at| format!("{at:05}.{of}")).collect::<Vec<_>>();
    let mut site = site(0, 1, 10);
    // Hosts are compared from their ends on.
    let last = "z.zz".to_owned();
    let mut own = hosts("own");
    own.push(last.clone());
    site["spec"]["hosts"] = json!(own);
    site["spec"]["gateways"] = json!((0..8).map(|at| format!("g{at}")).collect::<Vec<_>>());
    let gateways = (0..8).map(|at| {
        let mut one = gateway("evil", &format!("g{at}"), &json!({"a": "b"}), std::iter::once(80));
        let mut others = hosts("other");
        others.extend(serving.contains(&at).then(|| last.clone()));
        one["spec"]["servers"][0]["hosts"] = json!(others);
        one
    });
    let mut translator = Translator::new();
    translator.change(objects(gateways.chain([site])));
    let found = translator.diagnostics();
    let found = found.iter().filter(|one| one.message.contains("serves none of the hosts"));
    found.map(|one| one.field.clone()).collect()
}

#[test]
fn hosts_that_gateways_do_not_serve_are_looked_for_up_to_a_limit() {
    let gateways = |numbers: &[usize]| -> Vec<String> {
        numbers.iter().map(|at| format!("spec.gateways[{at}]")).collect()
    };
    assert_eq!(serving_none(&[]), gateways(&[0, 1, 2]));
    // Those that serve the last of the hosts take as long.
    assert_eq!(serving_none(&[0, 2]), gateways(&[1]));
    assert_eq!(serving_none(&[0, 1, 2]), gateways(&[]));
    assert_eq!(serving_none(&[0, 1, 2, 3, 4, 5, 6, 7]), gateways(&[]));
}

/// What a translator of the same objects finds.
fn found_anew(translator: &Translator) -> Vec<Diagnostic> {
    let all = translator.objects();
    let all = all.map(|(key, object)| (key.clone(), Some(Object::clone(object))));
    let mut anew = Translator::new();
    anew.change(all.collect::<Vec<_>>());
    anew.diagnostics()
}

/// Examines a batch after each of `changes`; returns those of `waiting` of which no finding has
/// a message with the text beside them.
fn left_waiting<'w>(
    translator: &mut Translator,
    changes: impl Iterator<Item = Vec<Change>>,
    mut waiting: Vec<(&'w str, &'w str)>,
) -> Vec<(&'w str, &'w str)> {
    for change in changes {
        translator.change(change);
        for (key, found) in translator.examine(32).changed {
            waiting.retain(|(object, text)| {
                *object != key.to_string() || !found.iter().any(|one| one.message.contains(text))
            });
        }
    }
    waiting
}

#[test]
fn gateways_that_change_before_every_batch_keep_nothing_from_being_examined() {
    let mut translator = Translator::new();
    let all = each_with_its_own(4, &running()).into_iter();
    translator.change(objects(all.chain([site(0, 1, 10), for_all(90)])));
    translator.diagnostics();
    // The last gateway gets too many ports, and a virtual service names no Gateway.
    let wide = gateway("evil", "g3", &json!({"p": "3"}), 2_000..3_002);
    let mut lost = site(9, 1, 10);
    lost["spec"]["gateways"] = json!(["lost"]);
    translator.change(objects([wide, lost]));
    let waiting =
        vec![("Gateway/evil/g3", "1000 ports"), ("VirtualService/evil/v9", "there is no Gateway")];
    let changes = (91..121).map(|port| vec![object(for_all(port))]);
    assert_eq!(left_waiting(&mut translator, changes, waiting), []);
    assert_eq!(translator.diagnostics(), found_anew(&translator));
    assert!(translator.check(10_000).is_empty());
}

#[test]
fn objects_that_change_before_every_batch_do_not_keep_others_from_being_examined() {
    let mut translator = Translator::new();
    let mut lost = site(0, 1, 10);
    lost["metadata"]["namespace"] = json!("shop");
    translator.change(objects([lost]));
    let waiting = vec![("VirtualService/shop/v0", "there is no Gateway")];
    let changes = (1..8).map(|bytes| objects((0..40).map(|number| site(number, 1, bytes))));
    assert_eq!(left_waiting(&mut translator, changes, waiting), []);
    assert_eq!(translator.diagnostics(), found_anew(&translator));
}

#[test]
fn what_a_finding_needs_of_a_gateway_counts_as_much_as_the_gateway() {
    let mut translator = Translator::new();
    translator.change(objects(each_with_its_own(4, &running())));
    // Each of the Gateways is of another gateway, and nothing was found of it before.
    let batches = (0..100).take_while(|_| translator.examine(32).count == 32).count();
    assert!(batches >= 4, "{batches}");
    assert_eq!(translator.diagnostics(), found_anew(&translator));
}

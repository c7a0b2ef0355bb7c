//! Which rules stand in the place of one that delegates.

use std::fmt::Write;

use serde_json::{Value, json};
use weft_api::Object;

use super::*;
use crate::graph::{Graph, unit};

fn key(name: &str) -> Key {
    let (namespace, name) = name.split_once('/').expect("a name is namespace/name");
    Key::new(Kind::VirtualService, namespace, name)
}

fn service(name: &str, spec: Value) -> (Key, Option<Object>) {
    let key = key(name);
    let metadata = json!({"name": key.name, "namespace": key.namespace});
    let service = json!({"metadata": metadata, "spec": spec});
    let service = serde_json::from_value(service).expect("a virtual service");
    (key, Some(Object::VirtualService(service)))
}

fn merged_of(graph: &Graph) -> Option<std::sync::Arc<Merged>> {
    match graph.value(&unit::Unit::Merged(key("shop/root"))) {
        unit::Value::Merged(merged) => merged,
        _ => unreachable!("the unit computes this value"),
    }
}

/// One line for each rule: where it is from, and what is said in it; and for each rule that is
/// left out.
fn said(merged: &Merged) -> String {
    let mut text = String::new();
    for (source, rule) in merged.sources.iter().zip(&merged.service.spec.http) {
        let nth: String = source
            .alternatives
            .iter()
            .map(|nth| nth.map_or("-".to_owned(), |nth| nth.to_string()))
            .collect();
        let place = format!("{}: {} [{}] {nth}", source.root, source.object, source.rule);
        let what = match &source.closed {
            Some(closed) => closed.message.split(';').next().expect("a message").to_owned(),
            None => without_nothing(serde_json::to_value(rule).expect("it is JSON")).to_string(),
        };
        writeln!(text, "{place} {what}").expect("a text can be written");
    }
    for (root, Conflicts { delegate, first, count }) in &merged.conflicts {
        writeln!(text, "{root}: {count} of {delegate} from [{first}] on").expect("as above");
    }
    text
}

/// The value without the fields that say nothing.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, without_nothing(value)));
            let says = |value: &Value| {
                !matches!(value, Value::Null | Value::Bool(false))
                    && value.as_array().is_none_or(|list| !list.is_empty())
                    && value.as_object().is_none_or(|fields| !fields.is_empty())
            };
            Value::Object(fields.filter(|(_, value)| says(value)).collect())
        }
        Value::Array(list) => list.into_iter().map(without_nothing).collect(),
        other => other,
    }
}

#[track_caller]
fn check(root: Value, delegates: &[(&str, Value)], expected: &str) {
    let mut graph = Graph::default();
    graph.change([service("shop/root", json!({"hosts": ["cart"], "http": root}))]);
    graph.change(delegates.iter().map(|(name, spec)| service(name, spec.clone())));
    let found = merged_of(&graph).map_or("as written".to_owned(), |merged| said(&merged));
    assert_eq!(found.trim_end(), expected);
}

/// The alternatives that `root` and `leaf` make together, or that they conflict.
#[track_caller]
fn check_conditions(root: Value, leaf: Value, expected: Value) {
    let read = |matches: &Value| -> Vec<_> {
        serde_json::from_value(matches.clone()).expect("conditions")
    };
    let joined = conditions::joined((&read(&root), "shop"), (&read(&leaf), "team"));
    let found = joined.map(|all| all.into_iter().map(|(one, _)| json!(one)).collect::<Value>());
    assert_eq!(found.map_or(json!("conflict"), without_nothing), expected, "{root} {leaf}");
}

#[test]
fn rules_without_delegates_are_as_written() {
    check(json!([{"redirect": {"uri": "/new"}}]), &[], "as written");
}

#[test]
fn rules_of_a_delegate_stand_in_the_place_of_the_one_that_names_it() {
    check(
        json!([
            {"name": "a", "match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "one"}},
            {"name": "b", "delegate": {"name": "two", "namespace": "team"}},
            {"redirect": {"uri": "/end"}},
        ]),
        &[
            (
                "shop/one",
                json!({"http": [{"redirect": {"uri": "/1"}}, {"name": "x", "redirect": {"uri": "/2"}}]}),
            ),
            ("team/two", json!({"http": [{"match": [{"port": 80}], "redirect": {"uri": "/3"}}]})),
        ],
        "0: VirtualService/shop/one [0] - {\"match\":[{\"uri\":{\"prefix\":\"/a\"}}],\"name\":\"a\",\"redirect\":{\"uri\":\"/1\"}}\n\
         0: VirtualService/shop/one [1] - {\"match\":[{\"uri\":{\"prefix\":\"/a\"}}],\"name\":\"a-x\",\"redirect\":{\"uri\":\"/2\"}}\n\
         1: VirtualService/team/two [0] 0 {\"match\":[{\"port\":80}],\"name\":\"b\",\"redirect\":{\"uri\":\"/3\"}}\n\
         2: VirtualService/shop/root [2]  {\"redirect\":{\"uri\":\"/end\"}}",
    );
}

#[test]
fn a_delegate_that_cannot_be_used_closes_the_rule_that_names_it() {
    let to = |name: &str| json!({"match": [{"port": 80}], "delegate": {"name": name, "namespace": "team"}});
    let http = json!([{"redirect": {"uri": "/1"}}]);
    check(
        json!([to("gone"), to("hosts"), to("private"), to("tcp"), to("closed"), to("other"), {"delegate": {"name": "root"}}]),
        &[
            ("team/hosts", json!({"hosts": ["cart"], "http": http})),
            ("team/private", json!({"exportTo": ["."], "http": http})),
            ("team/tcp", json!({"tcp": [{}]})),
            ("team/closed", json!({"closed": ["exportTo"], "http": http})),
            ("team/other", json!({"exportTo": ["other"], "http": http})),
        ],
        "0: VirtualService/shop/root [0] 0 VirtualService/team/gone is not there\n\
         1: VirtualService/shop/root [1] 0 VirtualService/team/hosts has `hosts`\n\
         2: VirtualService/shop/root [2] 0 VirtualService/team/private is not exported to namespace shop\n\
         3: VirtualService/shop/root [3] 0 VirtualService/team/tcp has no rule for HTTP\n\
         4: VirtualService/shop/root [4] 0 VirtualService/team/closed has `exportTo` that cannot be read\n\
         5: VirtualService/shop/root [5] 0 VirtualService/team/other is not exported to namespace shop\n\
         6: VirtualService/shop/root [6]  VirtualService/shop/root has `hosts`",
    );
}

#[test]
fn a_delegate_of_a_delegate_is_not_followed() {
    check(
        json!([{"delegate": {"name": "one"}}]),
        &[
            (
                "shop/one",
                json!({"http": [{"delegate": {"name": "one"}}, {"delegate": {"name": "two"}}]}),
            ),
            ("shop/two", json!({"http": [{"redirect": {"uri": "/2"}}]})),
        ],
        "0: VirtualService/shop/one [0]  {\"delegate\":{\"name\":\"one\"}}\n\
         0: VirtualService/shop/one [1]  {\"delegate\":{\"name\":\"two\"}}",
    );
}

#[test]
fn conditions_that_are_no_part_of_the_rules_are_left_out() {
    let leaf = |path: &str| json!({"match": [{"uri": {"prefix": path}}], "redirect": {"uri": "/"}});
    check(
        json!([{"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "one"}}]),
        &[("shop/one", json!({"http": [leaf("/b"), leaf("/a/b"), leaf("/c")]}))],
        "0: VirtualService/shop/one [1] 0 {\"match\":[{\"uri\":{\"prefix\":\"/a/b\"}}],\"redirect\":{\"uri\":\"/\"}}\n\
         0: 2 of VirtualService/shop/one from [0] on",
    );
}

#[test]
fn what_a_rule_of_a_delegate_does_not_say_it_inherits() {
    let header = |name: &str| json!({"request": {"remove": [name]}});
    check(
        json!([{
            "delegate": {"name": "one"}, "rewrite": {"uri": "/r"}, "timeout": "1s", "headers": header("root"),
            "retries": {"attempts": 3}, "fault": {"delay": {"percent": 1}}, "corsPolicy": {"maxAge": "1s"},
        }]),
        &[(
            "shop/one",
            json!({"http": [
                {"route": [{"destination": {"host": "x"}}], "timeout": "2s", "headers": header("leaf")},
                {"name": "broken"},
            ]}),
        )],
        "0: VirtualService/shop/one [0]  {\"corsPolicy\":{\"maxAge\":\"1s\"},\"fault\":{\"delay\":{\"percent\":1}},\
         \"headers\":{\"request\":{\"remove\":[\"leaf\"]}},\"retries\":{\"attempts\":3},\"rewrite\":{\"uri\":\"/r\"},\
         \"route\":[{\"destination\":{\"host\":\"x\"}}],\"timeout\":\"2s\"}\n\
         0: VirtualService/shop/one [1]  {\"corsPolicy\":{\"maxAge\":\"1s\"},\"fault\":{\"delay\":{\"percent\":1}},\
         \"headers\":{\"request\":{\"remove\":[\"root\"]}},\"name\":\"broken\",\"retries\":{\"attempts\":3},\
         \"rewrite\":{\"uri\":\"/r\"},\"timeout\":\"1s\"}",
    );
}

#[test]
fn what_does_nothing_does_not_give_the_other_rule_s_answer() {
    let direct = json!({"status": 200});
    check(
        json!([{"delegate": {"name": "one"}, "directResponse": direct}]),
        &[("shop/one", json!({"http": [{"name": "broken"}, {"route": [{"weight": 1}]}]}))],
        "0: VirtualService/shop/one [0]  {\"name\":\"broken\"}\n\
         0: VirtualService/shop/one [1]  {\"directResponse\":{\"status\":200},\"route\":[{\"destination\":{\"host\":\"\"},\"weight\":1}]}",
    );
}

#[test]
fn texts_are_compared_as_istio_does() {
    let conflict = json!("conflict");
    let uri = |kind: &str, text: &str| json!([{"uri": {kind: text}}]);
    let check = |root: [&str; 2], leaf: [&str; 2], expected: bool| {
        let leaf = uri(leaf[0], leaf[1]);
        let expected = if expected { leaf.clone() } else { conflict.clone() };
        check_conditions(uri(root[0], root[1]), leaf, expected);
    };
    check(["prefix", "/a"], ["prefix", "/ab"], true);
    check(["prefix", "/a"], ["exact", "/a"], true);
    check(["prefix", "/a"], ["prefix", "/"], false);
    check(["prefix", "/a"], ["exact", "/b"], false);
    check(["exact", "/a"], ["exact", "/a"], true);
    check(["exact", "/a"], ["exact", "/ab"], false);
    check(["exact", "/a"], ["prefix", "/a"], false);
    check(["regex", "/a.*"], ["prefix", "/ab"], false);
    check(["prefix", "/a"], ["regex", "/a"], false);
    check(["regex", "/a"], ["regex", "/a"], false);
    let header = |one: Value| json!([{"headers": {"x": one}}]);
    check_conditions(header(json!({})), header(json!({"exact": "a"})), conflict.clone());
    check_conditions(header(json!({"prefix": "a"})), header(json!({})), conflict);
}

#[test]
fn each_alternative_has_what_both_say() {
    check_conditions(
        json!([{"name": "r", "uri": {"prefix": "/a"}, "headers": {"x": {"exact": "1"}}}, {"uri": {"prefix": "/"}}, {"uri": {"prefix": "/c"}}]),
        json!([{"name": "l", "uri": {"prefix": "/a/b"}, "headers": {"y": {"regex": "2"}}}, {"uri": {"exact": "/c"}}]),
        json!([
            {"name": "r-l", "uri": {"prefix": "/a/b"}, "headers": {"x": {"exact": "1"}, "y": {"regex": "2"}}},
            {"name": "l", "uri": {"prefix": "/a/b"}, "headers": {"y": {"regex": "2"}}},
            {"uri": {"exact": "/c"}},
            {"uri": {"exact": "/c"}},
        ]),
    );
    let conflict = json!("conflict");
    let path = json!({"prefix": "/a"});
    check_conditions(json!([{"port": 80}]), json!([{"port": 81}]), conflict.clone());
    check_conditions(
        json!([{"uri": path, "ignoreUriCase": true}]),
        json!([{"port": 81}]),
        conflict.clone(),
    );
    check_conditions(json!([{"sourceNamespace": "x"}]), json!([{"port": 81}]), conflict.clone());
    check_conditions(
        json!([{"sourceLabels": {"a": "b"}}]),
        json!([{"sourceLabels": {"a": "c"}}]),
        conflict.clone(),
    );
    check_conditions(
        json!([{"sourceLabels": {"a": "b"}, "port": 80}]),
        json!([{"sourceLabels": {"c": "d"}}]),
        json!([{"sourceLabels": {"a": "b", "c": "d"}, "port": 80}]),
    );
    // A gateway without a namespace is in that of the object that names it.
    let gateways = |names: &[&str]| json!([{"gateways": names}]);
    check_conditions(
        gateways(&["edge", "mesh"]),
        gateways(&["shop/edge"]),
        gateways(&["shop/edge"]),
    );
    check_conditions(gateways(&["edge"]), gateways(&["edge"]), conflict);
    check_conditions(gateways(&["edge"]), json!([]), gateways(&["shop/edge"]));
    check_conditions(json!([]), gateways(&["edge"]), gateways(&["team/edge"]));
}

#[test]
fn many_rules_that_delegate_to_many_are_bounded() {
    let mut graph = Graph::default();
    let path = |at: usize| json!([{"uri": {"prefix": format!("/{at}")}}]);
    let root: Vec<Value> =
        (0..1_000).map(|at| json!({"match": path(at), "delegate": {"name": "one"}})).collect();
    let leaf: Vec<Value> =
        (0..1_000).map(|at| json!({"match": path(at), "redirect": {"uri": "/"}})).collect();
    graph.change([
        service("shop/root", json!({"hosts": ["cart"], "http": root})),
        service("shop/one", json!({"http": leaf})),
    ]);
    let merged = merged_of(&graph).expect("it delegates");
    let closed = merged.sources.iter().filter(|source| source.closed.is_some()).count();
    let used = 1_000 - closed;
    assert!((1..10).contains(&used), "{used}");
    assert!(merged.sources.len() < 3_000, "{}", merged.sources.len());
    let bytes = targets::size(&merged.service);
    assert!(bytes < BYTES + 8 * targets::size(&root), "{bytes}");
    // A small delegate serves all of them.
    graph.change([service("shop/one", json!({"http": [{"redirect": {"uri": "/"}}]}))]);
    let merged = merged_of(&graph).expect("it delegates");
    assert!(merged.sources.iter().all(|source| source.closed.is_none()));
    assert_eq!(merged.sources.len(), 1_000);
}

#[test]
fn a_namespace_takes_a_bounded_amount_from_delegates() {
    let mut graph = Graph::default();
    let leaf: Vec<Value> = (0..250)
        .map(|at| json!({"name": "n".repeat(100), "redirect": {"uri": format!("/{at}")}}))
        .collect();
    graph.change([service("shop/one", json!({"http": leaf}))]);
    let names: Vec<String> = (0..200).map(|at| format!("shop/root-{at:03}")).collect();
    // One that cannot be used takes nothing, and hides nothing.
    let match_of_unusable = json!([{"uri": {"exact": "/unusable"}}]);
    let root = json!({"hosts": ["cart"], "http": [
        {"match": match_of_unusable, "delegate": {"name": names[0].split('/').next_back()}},
        {"delegate": {"name": "one"}},
    ]});
    graph.change(names.iter().map(|name| service(name, root.clone())));
    let is_closed = |graph: &Graph, name: &str| {
        let unit::Value::Merged(Some(merged)) = graph.value(&unit::Unit::Merged(key(name))) else {
            panic!("{name} delegates")
        };
        merged.sources.last().expect("a rule").closed.is_some()
    };
    let closed = |graph: &Graph| names.iter().filter(|name| is_closed(graph, name)).count();
    let taken = names.len() - closed(&graph);
    assert!((50..names.len() - 10).contains(&taken), "{taken}");
    // The older ones are served, and who goes makes room.
    assert!(!is_closed(&graph, &names[0]));
    assert!(is_closed(&graph, &names[199]));
    graph.change(names[..150].iter().map(|name| (key(name), None)));
    assert!(!is_closed(&graph, &names[199]));
    // Others are not concerned.
    graph.change([service(
        "team/root",
        json!({
            "hosts": ["cart"], "http": [{"delegate": {"name": "one", "namespace": "shop"}}],
        }),
    )]);
    graph.change(names[..150].iter().map(|name| service(name, root.clone())));
    assert!(is_closed(&graph, &names[199]));
    assert!(!is_closed(&graph, "team/root"));
}

#[test]
fn a_change_of_a_delegate_runs_what_depends_on_it() {
    let mut graph = Graph::default();
    let leaf = |uri: &str| json!({"http": [{"redirect": {"uri": uri}}]});
    let root = |name: &str| json!({"hosts": ["cart"], "http": [{"delegate": {"name": name}}]});
    graph.change([
        service("shop/root", root("one")),
        service("shop/other", root("two")),
        service("shop/one", leaf("/1")),
        service("shop/two", leaf("/2")),
    ]);
    for name in ["shop/root", "shop/other"] {
        graph.value(&unit::Unit::VirtualService(key(name)));
    }
    let effect = graph.change([service("shop/one", leaf("/3"))]);
    // As much is said as before, so what reads only that stays.
    assert_eq!(effect.changed, [unit::Unit::Merged(key("shop/root"))]);
    let effect = graph.change([(key("shop/one"), None)]);
    assert!(effect.changed.contains(&unit::Unit::Merged(key("shop/root"))), "{effect:?}");
    assert!(!effect.changed.contains(&unit::Unit::Merged(key("shop/other"))), "{effect:?}");
    let merged = merged_of(&graph).expect("it delegates");
    assert!(merged.sources[0].closed.is_some());
}

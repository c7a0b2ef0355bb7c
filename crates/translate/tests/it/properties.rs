//! What holds in every world: incremental equals rebuilt, and a bad object stays
//! among its own.

mod random;

use std::collections::BTreeSet;

use proptest::{prelude::Strategy, test_runner::TestCaseError};
use weft_api::{Key, Object};
use weft_config::{Action, Interest, Resource, Route, RuleList, TextMatch};
use weft_translate::{Changed, Class, Client, Resolved, Translator};

use random::{Change, changes, clients, interests};

/// Every answer to every interest of every client: its class, and the answer as JSON.
fn answers(translator: &mut Translator) -> Vec<(Client, Interest, (Class, String))> {
    let mut all = Vec::new();
    for client in clients() {
        for interest in interests() {
            let class = translator.class(&client, &interest);
            let resolved = translator.answer(&class, &interest);
            all.push((client.clone(), interest, (class, text(&resolved))));
        }
    }
    all
}

fn text(resolved: &Resolved) -> String {
    let mut text = serde_json::to_string(&resolved.answer).expect("an answer is JSON");
    for piece in &resolved.resources {
        text.push('\n');
        text.push_str(std::str::from_utf8(&piece.json).expect("JSON is text"));
    }
    text
}

fn incremental_equals_rebuilt(changes: Vec<Change>) -> Result<(), TestCaseError> {
    let mut incremental = Translator::new();
    let mut world = std::collections::BTreeMap::new();
    let mut before = answers(&mut incremental);
    for change in changes {
        let forget = change.forget;
        let applied: Vec<(Key, Option<Object>)> = change.objects;
        for (key, object) in applied.clone() {
            match object {
                Some(object) => world.insert(key, object),
                None => world.remove(&key),
            };
        }
        let told: BTreeSet<_> = incremental.change(applied).into_iter().collect();
        if forget {
            let client = &clients()[0];
            for interest in interests() {
                let class = incremental.class(client, &interest);
                incremental.forget(&class, &interest);
            }
            incremental.forget_group(&client.labelled());
        }
        let mut rebuilt = Translator::new();
        rebuilt.change(world.clone().into_iter().map(|(key, object)| (key, Some(object))));
        let after = answers(&mut incremental);
        proptest::prop_assert_eq!(&after, &answers(&mut rebuilt));
        incremental.examine(change.examined);
        proptest::prop_assert_eq!(incremental.check(usize::MAX), Vec::<String>::new());
        if change.examined == usize::MAX {
            proptest::prop_assert_eq!(incremental.diagnostics(), rebuilt.diagnostics());
        }
        for ((client, interest, old), (_, _, new)) in before.iter().zip(&after) {
            let changed = match old.0 == new.0 {
                true => Changed::Answer(new.0.clone(), interest.clone()),
                false => Changed::Group(client.labelled()),
            };
            proptest::prop_assert_eq!(old != new, told.contains(&changed), "{:?}", changed);
        }
        before = after;
    }
    Ok(())
}

#[test]
fn incremental_equals_rebuilt_from_scratch() {
    run(48, changes(1..24), incremental_equals_rebuilt);
}

/// Runs a property on as many random values as `cases`, always the same ones.
fn run<S: Strategy>(
    cases: u32,
    strategy: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    runner.run(&strategy, property).unwrap_or_else(|error| panic!("{error}"));
}

/// The hosts that `bad` names, in full, each a name or a pattern.
fn hosts_of(bad: &Object) -> Vec<String> {
    let (hosts, namespace) = match bad {
        Object::VirtualService(service) => {
            (service.spec.hosts.clone(), &service.metadata.namespace)
        }
        Object::DestinationRule(rule) => (vec![rule.spec.host.clone()], &rule.metadata.namespace),
        other => panic!("{} is not among the bad objects", other.key()),
    };
    let full = |host: String| match host.contains(['.', '*']) {
        true => host,
        false => format!("{host}.{namespace}.svc.cluster.local"),
    };
    hosts.into_iter().map(full).collect()
}

/// The hosts that an answer was about before the bad object came.
fn hosts_before(client: &Client, interest: &Interest, old: &Resolved, bad: &Object) -> Vec<String> {
    let mut hosts = Vec::new();
    if let Interest::Host(host, _) = interest {
        let host = host.as_str().trim_end_matches('.');
        hosts.extend([
            host.to_owned(),
            format!("{host}.{}.svc.cluster.local", client.namespace),
            format!("{host}.svc.cluster.local"),
            format!("{host}.cluster.local"),
        ]);
    }
    hosts.extend(old.answer.covers.iter().map(|covers| covers.pattern.to_string()));
    for piece in &old.resources {
        match &*piece.resource {
            Resource::Route(route) => hosts.extend(route.hosts.iter().map(ToString::to_string)),
            Resource::Backend(backend) if backend.subset.is_none() => {
                // Only connections and destination rules are decided by backends.
                let address = matches!(interest, Interest::Address(_));
                if address || matches!(bad, Object::DestinationRule(_)) {
                    hosts.push(backend.service.clone());
                }
            }
            _ => {}
        }
        // A backend that does not exist yet is only named.
        let rules = match &*piece.resource {
            Resource::Route(Route { rules, .. }) | Resource::RuleList(RuleList { rules, .. }) => {
                &rules[..]
            }
            _ => &[],
        };
        if let Object::DestinationRule(_) = bad {
            for action in rules.iter().map(|rule| &rule.action) {
                let Action::Forward(targets) = action else { continue };
                let services = targets.iter().filter_map(|one| one.backend.rsplit('|').next());
                hosts.extend(services.map(str::to_owned));
            }
        }
        if let Resource::Endpoints(chunk) = &*piece.resource {
            hosts.extend(chunk.name.split(':').next().map(str::to_owned));
        }
    }
    // The star of a route for everything stands for its service, which is named elsewhere.
    hosts.retain(|host| host != "*");
    hosts
}

fn overlap(one: &str, other: &str) -> bool {
    let within = |narrow: &str, wide: &str| match wide.strip_prefix('*') {
        Some(suffix) => narrow.ends_with(suffix),
        None => narrow == wide,
    };
    within(one, other) || within(other, one)
}

fn a_bad_object_stays_among_its_own(
    (changes, bad): (Vec<Change>, Object),
) -> Result<(), TestCaseError> {
    let mut translator = Translator::new();
    for change in changes {
        translator.change(change.objects);
    }
    if translator.object(&bad.key()).is_some() {
        return Ok(());
    }
    let named = hosts_of(&bad);
    // What a gateway runs, and directories, hold many hosts: gateways are compared below.
    let on_demand = |one: &Interest| matches!(one, Interest::Host(..) | Interest::Address(_));
    let interests: Vec<_> = interests().into_iter().filter(on_demand).collect();
    let mut before = Vec::new();
    for client in clients() {
        for interest in &interests {
            let old = translator.resolve(&client, interest);
            before.push((client.clone(), interest.clone(), old));
        }
    }
    let routes_before = gateway_routes(&mut translator);
    translator.change([(bad.key(), Some(bad.clone()))]);
    for (client, interest, old) in before {
        let new = translator.resolve(&client, &interest);
        if old == new {
            continue;
        }
        let hosts = hosts_before(&client, &interest, &old, &bad);
        let concerned = hosts.iter().any(|host| named.iter().any(|name| overlap(name, host)));
        proptest::prop_assert!(concerned, "{interest}: {} became {}", text(&old), text(&new));
    }
    let routes_after = gateway_routes(&mut translator);
    for (name, body) in &routes_before {
        if routes_after.get(name) != Some(body) {
            let host = name.rsplit('/').next().unwrap_or_default();
            let concerned = named.iter().any(|name| overlap(name, host));
            proptest::prop_assert!(concerned, "{name}: {body}");
        }
    }
    Ok(())
}

fn gateway_routes(translator: &mut Translator) -> std::collections::BTreeMap<String, String> {
    let gateway = clients().pop().expect("the last client is a gateway");
    let own = translator.resolve(&gateway, &Interest::Own);
    let routes = own.resources.iter().filter(|piece| piece.name.starts_with("route/"));
    routes
        .map(|piece| (piece.name.to_string(), String::from_utf8_lossy(&piece.json).into_owned()))
        .collect()
}

#[test]
fn a_bad_object_changes_no_answer_that_it_does_not_name() {
    let worlds = (changes(4..16), random::bad_object());
    run(96, worlds, a_bad_object_stays_among_its_own);
}

fn what_is_served_can_be_compiled(changes: Vec<Change>) -> Result<(), TestCaseError> {
    let mut translator = Translator::new();
    for change in changes {
        translator.change(change.objects);
    }
    for client in clients() {
        for interest in interests() {
            let resolved = translator.resolve(&client, &interest);
            for piece in &resolved.resources {
                let back: Resource = serde_json::from_slice(&piece.json)
                    .map_err(|error| TestCaseError::fail(format!("{}: {error}", piece.name)))?;
                proptest::prop_assert_eq!(&back, &*piece.resource);
                if let Resource::Route(route) = &back {
                    proptest::prop_assert!(!route.hosts.is_empty(), "{} has no host", piece.name);
                }
                let (Resource::Route(Route { rules, .. })
                | Resource::RuleList(RuleList { rules, .. })) = back
                else {
                    continue;
                };
                for rule in rules {
                    let readable = match &rule.conditions.path {
                        Some(TextMatch::Regex(text)) => {
                            weft_config::text_match::compile(text).is_ok()
                        }
                        _ => true,
                    };
                    proptest::prop_assert!(readable, "{:?}", rule.conditions);
                    let empty = Action::Forward(Vec::new());
                    proptest::prop_assert!(rule.action != empty, "{} goes nowhere", piece.name);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn everything_served_can_be_read_and_compiled() {
    run(48, changes(4..16), what_is_served_can_be_compiled);
}

/// Virtual services of `a` at one Gateway, several for each of ten hosts.
fn at_a_gateway(count: usize) -> Vec<(Key, Option<Object>)> {
    let gateway = serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "x", "namespace": "a"},
        "spec": {
            "selector": {"app": "gateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    });
    let service = |at: usize| {
        let hosts = [at, at * 7 + 3].map(|host| format!("h{}.example", host % 10));
        let rule = serde_json::json!({
            "match": [{"uri": {"exact": format!("/{at}")}}],
            "route": [{"destination": {"host": "db"}}],
        });
        serde_json::json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": format!("v{at}"), "namespace": "a"},
            "spec": {"hosts": hosts, "gateways": ["x"], "http": [rule]},
        })
    };
    let all = std::iter::once(gateway).chain((0..count).map(service));
    let all = all.map(|value| weft_api::check(&value).object.expect("an object"));
    all.map(|object| (object.key(), Some(object))).collect()
}

#[test]
fn what_a_gateway_runs_does_not_depend_on_the_order_of_changes() {
    let gateway = clients().pop().expect("the last client is a gateway");
    let runs = |objects: Vec<(Key, Option<Object>)>| {
        let mut translator = Translator::new();
        objects.into_iter().for_each(|object| drop(translator.change([object])));
        text(&translator.resolve(&gateway, &Interest::Own))
    };
    let objects = at_a_gateway(24);
    let expected = runs(objects.clone());
    assert!((0..10).all(|host| expected.contains(&format!("\"h{host}.example\""))), "{expected}");
    for at in 0..objects.len() {
        let mut others = objects.clone();
        others.rotate_left(at);
        others.reverse();
        assert_eq!(runs(others), expected, "{at}");
    }
}

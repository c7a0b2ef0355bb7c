//! What is said about a field that is not honoured yet is what happens: each such field of
//! the table is set, and what is translated is compared with the same world without it.

use serde_json::{Map, Value, json};
use weft_api::{
    Kind,
    schema::{Field, Holds, Instead, settings},
};
use weft_config::Interest;
use weft_manifest::to_yaml;

use crate::{render, worlds};

/// What is asked, by whom: a sidecar's requests and connections, and a gateway's own.
const ASKED: &[(&str, &str)] = &[
    ("shop/web", "cart:80"),
    ("shop/web", "10.96.0.1:3306"),
    ("shop/web", "10.96.0.1:443"),
    ("shop/web", "api.example:80"),
    ("shop/web", "self"),
    ("edge/edge", "self"),
];

/// The objects around the one in which a field is set.
const WORLD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
status: {podIP: 10.244.0.5}
---
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: edge, labels: {istio: ingressgateway}}
status: {podIP: 10.244.0.6}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: cart}
  ports: [{name: http, port: 80}, {name: tcp-db, port: 3306}, {name: https, port: 443}]
";

/// The object of a kind in which fields are set; every list in it has one item.
fn base(kind: Kind) -> Value {
    let spec = match kind {
        Kind::VirtualService => json!({
            "hosts": ["cart"],
            "gateways": ["mesh", "edge/edge"],
            "http": [{
                "match": [{"uri": {"prefix": "/a"}}],
                "route": [{"destination": {"host": "cart"}, "weight": 1}],
                "retries": {"attempts": 1},
            }],
            "tcp": [{
                "match": [{"port": 3306}],
                "route": [{"destination": {"host": "cart", "port": {"number": 3306}}}],
            }],
        }),
        Kind::DestinationRule => {
            let balancer = json!({"simple": "LEAST_REQUEST"});
            let of_port = json!({
                "port": {"number": 80}, "loadBalancer": balancer, "outlierDetection": {},
            });
            let policy = json!({
                "loadBalancer": balancer, "outlierDetection": {}, "portLevelSettings": [of_port],
                "retryBudget": {"percent": 20},
            });
            json!({
                "host": "cart",
                "trafficPolicy": policy,
                "subsets": [{"name": "v1", "labels": {"a": "b"}, "trafficPolicy": policy}],
            })
        }
        Kind::Gateway => json!({
            "selector": {"istio": "ingressgateway"},
            "servers": [{
                "port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"],
            }],
        }),
        Kind::ServiceEntry => json!({
            "hosts": ["api.example"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "192.0.2.1"}],
        }),
        Kind::WorkloadEntry => json!({"address": "192.0.2.2", "labels": {"app": "cart"}}),
        Kind::Sidecar => json!({
            "workloadSelector": {"labels": {"app": "web"}},
            "ingress": [{
                "port": {"number": 80, "name": "http", "protocol": "HTTP"},
                "defaultEndpoint": "127.0.0.1:8080",
            }],
            "egress": [
                {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*/*"]},
                {"hosts": ["*/*"]},
            ],
            "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
        }),
        other => panic!("{other} needs an object to set its fields in"),
    };
    let namespace = if kind == Kind::Gateway { "edge" } else { "shop" };
    let name = if kind == Kind::Gateway { "edge" } else { "cart" };
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.name(),
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// Something that a field may hold.
fn sample(holds: &Holds) -> Value {
    match holds {
        Holds::Text | Holds::Anything => "10.0.0.0/8".into(),
        Holds::Whole(least, most) | Holds::WholeOrText(least, most) => {
            7.clamp(*least, *most).into()
        }
        Holds::Number | Holds::Quantity => 1.5.into(),
        Holds::Flag => true.into(),
        Holds::Span | Holds::ShortSpan => "5s".into(),
        Holds::Word(words) => words.iter().find(|word| !word.is_empty()).copied().into(),
        Holds::List(each) => vec![sample(each)].into(),
        Holds::Map(each) => json!({"a": sample(each)}),
        Holds::Object(fields) | Holds::Closing(fields, _) | Holds::Partly(fields) => {
            let entries = fields.iter().map(|field| (field.name.to_owned(), sample(&field.holds)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// A field that is not honoured: where it is, what it may hold, what happens.
struct Ignored {
    pointer: String,
    value: Value,
    instead: Instead,
}

fn ignored(fields: &[Field], pointer: &str, found: &mut Vec<Ignored>) {
    for field in fields {
        let mut pointer = format!("{pointer}/{}", field.name);
        if let Some(instead) = field.instead {
            let value = sample(&field.holds);
            found.push(Ignored { pointer, value, instead });
            continue;
        }
        let mut holds = &field.holds;
        while let Holds::List(each) = holds {
            pointer += "/0";
            holds = each;
        }
        if let Holds::Object(fields) | Holds::Closing(fields, _) | Holds::Partly(fields) = holds {
            self::ignored(fields, &pointer, found);
        }
    }
}

/// Sets the value at `pointer`, with the maps on the way there. What is a list has an item.
fn set(object: &mut Value, pointer: &str, new: Value) {
    let mut here = object;
    for part in pointer.split('/').skip(1) {
        here = match here {
            Value::Array(items) => &mut items[part.parse::<usize>().expect("an index")],
            other => &mut other[part],
        };
    }
    *here = new;
}

/// What is translated, for everything that is asked.
fn translated(objects: &[Value]) -> Vec<String> {
    let mut world = worlds::objects(WORLD);
    world.extend(objects.iter().map(|object| weft_api::read(object.clone()).expect("typed")));
    let mut translator = worlds::translator(world);
    let answers = ASKED.iter().map(|(pod, interest)| {
        let client = worlds::client(&translator, pod);
        let interest: Interest = interest.parse().expect("an interest");
        render::resolved(&translator.resolve(&client, &interest))
    });
    answers.collect()
}

/// Compares what is translated with and without a field.
fn compare(name: &str, instead: Instead, (without, with): (&[Value], &[Value])) {
    let (without, with) = (translated(without), translated(with));
    match instead {
        Instead::Same(text) => assert_eq!(with, without, "{name} is said to mean: {text}"),
        Instead::Closed(text) => {
            assert_ne!(with, without, "{name} is said to mean: {text}");
            for (with, without) in with.iter().zip(&without).filter(|(one, other)| one != other) {
                let closed = with.contains("not_honoured_yet") || with.contains("BlackHole");
                assert!(closed, "{name} is said to mean: {text}; it makes of\n{without}\n{with}");
            }
        }
    }
}

/// Every object of the mesh's own, so that rules are joined with gateways and policies.
fn all_with(kind: Kind, object: Value) -> Vec<Value> {
    let kinds = [
        Kind::Gateway,
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::ServiceEntry,
        Kind::WorkloadEntry,
        Kind::Sidecar,
    ];
    let others = kinds.into_iter().filter(|other| *other != kind).map(base);
    others.chain([object]).collect()
}

#[test]
fn fields_that_are_not_honoured_do_what_is_said() {
    let mut number = 0;
    for kind in Kind::deciding() {
        let mut found = Vec::new();
        ignored(kind.fields().unwrap_or_default(), "", &mut found);
        for field in found {
            let mut object = base(kind);
            let value = match field.pointer.as_str() {
                // All conditions together hold for no connection.
                "/spec/tls" => {
                    let route = json!([{"destination": {"host": "cart"}}]);
                    json!([{"match": [{"sniHosts": ["cart"]}], "route": route}])
                }
                _ => field.value,
            };
            set(&mut object, &field.pointer, value);
            let name = format!("{kind} {}", field.pointer);
            compare(&name, field.instead, (&all_with(kind, base(kind)), &all_with(kind, object)));
            number += 1;
        }
    }
    assert!(number > 20, "{number} fields were set");
}

#[test]
fn settings_that_are_not_honoured_change_nothing() {
    let mut found = Vec::new();
    ignored(settings::MESH_CONFIG, "", &mut found);
    let map = |settings: &Value| {
        let metadata = json!({"name": "istio", "namespace": "istio-system"});
        let data = json!({"mesh": to_yaml(settings)});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    };
    for field in found {
        // A part of a policy is not the whole of it.
        let policy = json!({"outlierDetection": {"interval": "10s"}});
        let mut with = json!({"accessLogFile": "/dev/stdout", "defaultTrafficPolicy": policy});
        let without = map(&with);
        set(&mut with, &field.pointer, field.value);
        let name = format!("MeshConfig {}", field.pointer);
        let objects = |settings| all_with(Kind::ConfigMap, settings);
        compare(&name, field.instead, (&objects(without), &objects(map(&with))));
    }
}

/// What is said about values rather than about fields.
#[test]
fn values_that_are_not_honoured_do_what_is_said() {
    let kind = Kind::DestinationRule;
    let said = "spec.trafficPolicy.tls";
    let mut object = base(kind);
    set(&mut object, "/spec/trafficPolicy/tls", json!({"mode": "SIMPLE"}));
    let told = weft_api::check(&object).diagnostics;
    let is_told = |one: &weft_api::Diagnostic| {
        one.field == said && one.message.starts_with("not honoured yet")
    };
    assert!(told.iter().any(is_told), "{said}: {told:?}");
    let same = Instead::Same("the same as without it");
    compare(said, same, (&all_with(kind, base(kind)), &all_with(kind, object)));
}

//! What cannot be read closes: each field of each kind that translation reads holds each
//! type of value that it cannot, in objects that are stored already, and nothing is let
//! through that the object does not let through when it is whole.

mod openings;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weft_api::{
    Key, Kind,
    schema::{Field, Holds, settings},
};
use weft_config::Interest;
use weft_manifest::to_yaml;
use weft_translate::Translator;

use crate::worlds;

/// What is asked, by whom.
const ASKED: &[(&str, &[&str])] = &[
    ("shop/web", CLIENT),
    ("shop/plain", CLIENT),
    ("bank/teller", CLIENT),
    ("shop/cart-1", &["self"]),
    ("shop/other", &["self"]),
    ("edge/edge", &["self"]),
    ("edge/back", &["self"]),
];

const CLIENT: &[&str] = &[
    "cart:80",
    "cart.shop:80",
    "pay:80",
    "pay.shop:80",
    "free.example:80",
    "10.96.0.1:3306",
    "10.244.0.7:3306",
    "self",
];

/// Objects that say everything that translation reads, and as narrowly as they can.
const WORLD: &str = include_str!("unreadable/world.yaml");

/// Fields whose values decide nothing about what is let through, or stand in objects that
/// the Kubernetes API never stores with a value of a wrong type: why each may be read as
/// absent.
const EXEMPT: &[(&str, &str, &str)] = &[
    ("", "/apiVersion", "the object is of another kind, or of none"),
    ("", "/kind", "the object is of another kind, or of none"),
    ("", "/metadata", "the API server refuses objects without metadata of their types"),
    ("", "/metadata/name", "the object has another name"),
    ("", "/metadata/generateName", "the object has another name"),
    ("", "/metadata/namespace", "the object is in another namespace"),
    ("", "/spec", "nothing is known of what the object is for"),
    ("VirtualService", "/spec/hosts", "nothing is known of what the object is for"),
    ("DestinationRule", "/spec/host", "nothing is known of what the object is for"),
    ("ConfigMap", "/data", "the API server refuses texts of other types"),
    ("Pod", "/metadata/annotations", "the API server refuses texts of other types"),
];

fn is_exempt(kind: Kind, pointer: &str) -> bool {
    let same = |(name, path, _): &(&str, &str, &str)| {
        (name.is_empty() || *name == kind.name())
            && (*path == pointer
                || pointer.starts_with(&format!("{path}/"))
                    && *path != "/spec"
                    && *path != "/metadata")
    };
    EXEMPT.iter().any(same)
}

/// A value of each JSON type.
fn values() -> [Value; 5] {
    [json!("mesh"), json!(7), json!([7]), json!({"a": 7}), json!(true)]
}

/// Whether `value` is of the type that belongs there, so that only what is in it can be
/// wrong.
fn fits(holds: &Holds, value: &Value) -> bool {
    match holds {
        Holds::Anything => true,
        Holds::Text | Holds::Word(_) | Holds::Span | Holds::ShortSpan => value.is_string(),
        Holds::Whole(..) | Holds::Number => value.is_number(),
        Holds::WholeOrText(..) | Holds::Quantity => value.is_string() || value.is_number(),
        Holds::Flag => value.is_boolean(),
        Holds::List(_) => value.is_array(),
        Holds::Map(_) | Holds::Object(_) | Holds::Closing(..) | Holds::Partly(_) => {
            value.is_object()
        }
    }
}

/// A place in an object, and what belongs there.
type Place<'f> = (String, &'f Holds);

/// Every place that a value may stand at: fields that `object` has and those that it lacks,
/// items of its lists, entries of its maps.
fn places<'f>(holds: &'f Holds, object: &Value, here: &str, found: &mut Vec<Place<'f>>) {
    let of_fields = |fields: &'f [Field], found: &mut Vec<Place<'f>>| {
        for field in fields {
            let here = format!("{here}/{}", field.name);
            found.push((here.clone(), &field.holds));
            places(&field.holds, &object[field.name], &here, found);
        }
    };
    match holds {
        Holds::Object(fields) | Holds::Closing(fields, _) | Holds::Partly(fields)
            if object.is_object() =>
        {
            of_fields(fields, found);
        }
        Holds::List(each) => {
            for (index, item) in object.as_array().into_iter().flatten().enumerate() {
                let here = format!("{here}/{index}");
                found.push((here.clone(), each));
                places(each, item, &here, found);
            }
        }
        Holds::Map(each) => {
            for (key, value) in object.as_object().into_iter().flatten() {
                let here = format!("{here}/{}", key.replace('/', "~1"));
                found.push((here.clone(), each));
                places(each, value, &here, found);
            }
        }
        _ => {}
    }
}

/// The object with `value` at `pointer`, or without anything there.
fn with(object: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut object = object.clone();
    let (above, last) = pointer.rsplit_once('/').expect("a pointer");
    let last = last.replace("~1", "/");
    match (object.pointer_mut(above).expect("there is something above"), value) {
        (Value::Array(items), value) => {
            items[last.parse::<usize>().expect("an index")] = value.unwrap_or_default();
        }
        (Value::Object(entries), Some(value)) => {
            entries.insert(last, value);
        }
        (Value::Object(entries), None) => {
            entries.remove(&last);
        }
        (other, _) => panic!("{other} has nothing in it"),
    }
    object
}

/// The world as JSON.
fn world() -> Vec<Value> {
    let documents = weft_manifest::read("world.yaml", WORLD).into_iter();
    documents.map(|one| one.value.expect("a document has a value")).collect()
}

/// The world, and the same with every object exported to everybody: there an object that is
/// not seen any more takes its refusals with it.
fn exported() -> [Vec<Value>; 2] {
    let mut wide = world();
    for object in &mut wide {
        match object["kind"].as_str() {
            Some("VirtualService" | "DestinationRule") => object["spec"]["exportTo"] = json!(["*"]),
            Some("Service") => {
                object["metadata"]["annotations"] = json!({"networking.istio.io/exportTo": "*"});
            }
            _ => {}
        }
    }
    [world(), wide]
}

/// What is let through, by who asks what.
type Asked = BTreeMap<(&'static str, &'static str), (u64, BTreeSet<String>)>;

/// A world, one object of which changes now and then.
struct Mesh {
    translator: Translator,
    key: Key,
    whole: Asked,
}

impl Mesh {
    /// The world with `object` in it.
    fn with(world: &[Value], object: &Value) -> Self {
        let typed = world.iter().map(|one| weft_api::read(one.clone()).expect("an object"));
        let key = weft_api::key(object).expect("a kind");
        let mut mesh = Self { translator: worlds::translator(typed), key, whole: Asked::new() };
        mesh.whole = mesh.lets_through(object);
        mesh
    }

    /// What is let through when the object is this one.
    fn lets_through(&mut self, object: &Value) -> Asked {
        self.translator.change([(self.key.clone(), weft_api::read(object.clone()))]);
        let mut all = Asked::new();
        for (pod, interests) in ASKED {
            let client = worlds::client(&self.translator, pod);
            for interest in *interests {
                let asked: Interest = interest.parse().expect("an interest");
                let class = self.translator.class(&client, &asked);
                let resolved = self.translator.answer(&class, &asked);
                let found = match self.whole.get(&(*pod, *interest)) {
                    Some((version, found)) if *version == resolved.version => found.clone(),
                    _ => openings::of(&resolved),
                };
                all.insert((pod, interest), (resolved.version, found));
            }
        }
        all
    }

    /// What is let through when the object is `damaged` and is not when it is `whole`.
    fn opened(&mut self, name: &str, (whole, damaged): (&Asked, &Value)) -> Option<String> {
        let damaged = self.lets_through(damaged);
        let more = damaged.iter().flat_map(|(asked @ (pod, interest), (_, found))| {
            found
                .difference(&whole[asked].1)
                .map(move |one| format!("\n    {pod} {interest}: {one}"))
        });
        let more: String = more.collect();
        (!more.is_empty()).then(|| format!("{name}:{more}\n"))
    }
}

/// The fields of a kind as one.
fn fields(kind: Kind) -> Holds {
    Holds::Object(kind.fields().expect("a kind that decides has fields"))
}

#[test]
fn a_value_of_a_wrong_type_opens_nothing() {
    for world in exported() {
        let (mut number, mut wrong) = (0, Vec::new());
        for object in &world {
            let mut mesh = Mesh::with(&world, object);
            let (kind, whole) = (mesh.key.kind, mesh.whole.clone());
            let (fields, mut found) = (fields(kind), Vec::new());
            places(&fields, object, "", &mut found);
            found.retain(|(pointer, _)| !is_exempt(kind, pointer));
            for (pointer, holds) in found {
                for value in values().into_iter().filter(|value| !fits(holds, value)) {
                    let name = format!("{} {pointer} {value}", mesh.key);
                    let damaged = with(object, &pointer, Some(value));
                    wrong.extend(mesh.opened(&name, (&whole, &damaged)));
                    number += 1;
                }
            }
        }
        assert!(number > 1_000, "{number} values were set");
        assert!(wrong.is_empty(), "{} of {number}:\n{}", wrong.len(), wrong.concat());
    }
}

/// As the API server has it, which drops fields that are null.
#[test]
fn nothing_is_the_same_as_no_field() {
    for world in exported() {
        let mut wrong = Vec::new();
        for object in &world {
            let mut mesh = Mesh::with(&world, object);
            let kind = mesh.key.kind;
            let (fields, mut found) = (fields(kind), Vec::new());
            places(&fields, object, "", &mut found);
            found.retain(|(pointer, _)| !is_exempt(kind, pointer) && is_field(object, pointer));
            for (pointer, _) in found {
                let without = mesh.lets_through(&with(object, &pointer, None));
                let damaged = with(object, &pointer, Some(Value::Null));
                wrong.extend(mesh.opened(&format!("{} {pointer}", mesh.key), (&without, &damaged)));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.concat());
    }
}

/// Whether something stands at `pointer`, under a name that its owner did not choose.
fn is_field(object: &Value, pointer: &str) -> bool {
    const MAPS: [&str; 8] = [
        "labels",
        "annotations",
        "headers",
        "withoutHeaders",
        "queryParams",
        "sourceLabels",
        "selector",
        "matchLabels",
    ];
    let (above, name) = pointer.rsplit_once('/').expect("a pointer");
    let map = above.rsplit('/').next().expect("a name");
    object.pointer(pointer).is_some() && name.parse::<usize>().is_err() && !MAPS.contains(&map)
}

/// The ConfigMap with the mesh's settings.
fn settings_in(mesh: &str) -> Value {
    let metadata = json!({"name": "istio", "namespace": "istio-system"});
    let data = json!({"mesh": mesh});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

/// Settings as narrow as they can be.
fn narrow() -> Value {
    json!({
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "defaultServiceExportTo": ["."],
        "defaultVirtualServiceExportTo": ["."],
        "defaultDestinationRuleExportTo": ["."],
    })
}

#[test]
fn settings_that_are_no_settings_open_nothing_and_are_reported_with_their_line() {
    let whole = to_yaml(&narrow());
    let mut mesh = Mesh::with(&world(), &settings_in(&whole));
    let before = mesh.whole.clone();
    let broken =
        [&format!("{whole}\n  ][\n"), "just words", "[1, 2]", "a: b: c", "\t{", "a: *nobody"];
    for text in broken {
        assert_eq!(mesh.opened(text, (&before, &settings_in(text))), None);
        let found = mesh.translator.diagnostics();
        let found =
            found.iter().find(|found| found.object == mesh.key && found.field == "data.mesh");
        assert!(found.is_some(), "{text:?} is not reported");
    }
    mesh.lets_through(&settings_in("accessLogFile: /dev/stdout\ntrustDomain: [\n"));
    let found = mesh.translator.diagnostics();
    let found = found.iter().find(|found| found.object == mesh.key).expect("it is reported");
    let text = found.to_string();
    assert!(text.starts_with("ConfigMap/istio-system/istio data.mesh: is not YAML: "), "{text}");
    assert!(text.contains("line 2") || text.contains("line 3"), "{text}");
}

#[test]
fn a_setting_of_a_wrong_type_opens_nothing() {
    let world = world();
    let map = |settings: &Value| settings_in(&to_yaml(settings));
    let settings = narrow();
    let mut mesh = Mesh::with(&world, &map(&settings));
    let whole = mesh.whole.clone();
    let (fields, mut found) = (Holds::Object(settings::MESH_CONFIG), Vec::new());
    places(&fields, &settings, "", &mut found);
    let mut wrong = Vec::new();
    for (pointer, holds) in found {
        for value in values().into_iter().filter(|value| !fits(holds, value)) {
            let name = format!("MeshConfig {pointer} {value}");
            let damaged = map(&with(&settings, &pointer, Some(value)));
            wrong.extend(mesh.opened(&name, (&whole, &damaged)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// A VirtualService of `namespace` for the host of `shop`, which leads to subset `to`.
fn for_cart(namespace: &str, export_to: Value, to: &str, made: &str) -> Value {
    let destination = json!({"host": "cart.shop.svc.cluster.local", "subset": to});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": to, "namespace": namespace, "creationTimestamp": made},
        "spec": {
            "hosts": ["cart.shop.svc.cluster.local"], "exportTo": export_to,
            "http": [{"route": [{"destination": destination}]}],
        },
    })
}

/// What decides about `cart` for a client in `shop`.
fn decides_for_cart(services: [Value; 2]) -> String {
    let pod = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [{"name": "app"}]},
        })
    };
    let cart = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]},
    });
    let all = services.into_iter().chain([pod("web"), cart]);
    let mut translator = worlds::translator(all.map(|one| weft_api::read(one).expect("an object")));
    let client = worlds::client(&translator, "shop/web");
    let resolved = translator.resolve(&client, &"cart:80".parse().expect("an interest"));
    let route = worlds::routes(&resolved).into_values().next().expect("a route");
    route.rules[0].origin.object.clone()
}

/// Nobody knows whom a broken `exportTo` was for, so the object closes its hosts; but it does
/// not take a place that no list of namespaces could have given it.
#[test]
fn a_broken_object_has_no_more_say_over_another_namespaces_hosts_than_a_whole_one() {
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z");
    for own in [json!(["."]), json!(["shop"]), json!(["*"]), Value::Null] {
        for (ours, theirs) in [(old, new), (new, old)] {
            let decides = |export_to: Value| {
                decides_for_cart([
                    for_cart("shop", own.clone(), "ours", ours),
                    for_cart("evil", export_to, "theirs", theirs),
                ])
            };
            let whole = [json!(["*"]), json!(["shop"]), json!(["evil", "shop"])].map(decides);
            let broken = decides(json!(7));
            assert!(whole.contains(&broken), "{own} {ours}: {broken} is not among {whole:?}");
        }
    }
}

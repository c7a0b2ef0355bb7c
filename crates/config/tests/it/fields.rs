//! Every field and variant belongs to the first version or to a feature, and no other is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
};

use serde_json::Value;
use weft_config::{Feature, Features, Resource, decode, encode, stand_in};

use crate::{forms, samples};

/// Which field or variant came when: `PATH` for those of the first version, `PATH FEATURE` for others.
const FIELDS: &str = "tests/it/fields.txt";

/// The paths of all fields and variants in `resource`.
fn paths(resource: &Resource) -> BTreeSet<String> {
    let resource = json(resource);
    let (mut pointers, mut found) = (Vec::new(), BTreeSet::new());
    forms::pointers(&resource, "", &mut pointers);
    for pointer in pointers {
        let path = forms::path(&pointer);
        let variant = resource.pointer(&pointer).and_then(Value::as_str);
        if let (Some(name), Some(_)) = (variant, forms::of(&resource, &pointer)) {
            found.insert(format!("{path}/{name}"));
        }
        found.insert(path);
    }
    found.remove("");
    found
}

/// Lists the fields that there are, with the features that they had.
fn update(listed: &str) {
    let paths: BTreeSet<String> = samples::all().iter().flat_map(paths).collect();
    let feature = |path: &str| {
        let line = listed.lines().find_map(|line| line.strip_prefix(path)?.strip_prefix(' '));
        line.map_or_else(String::new, |name| format!(" {name}"))
    };
    let lines: BTreeSet<String> =
        paths.iter().map(|path| format!("{path}{}\n", feature(path))).collect();
    let text: String = lines.into_iter().collect();
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FIELDS), text).expect("it is writable");
}

fn json(resource: &Resource) -> Value {
    serde_json::from_slice(&encode(resource).body).expect("it is JSON")
}

#[test]
fn the_samples_have_every_field_and_every_variant() {
    let samples: Vec<Value> = samples::all().iter().map(json).collect();
    let missing = forms::missing(&samples);
    assert!(missing.is_empty(), "in no sample: {missing:#?}");
}

#[test]
fn a_field_that_is_new_belongs_to_a_feature() {
    let listed = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FIELDS))
        .expect("the list of fields");
    if env::var_os("UPDATE").is_some() {
        return update(&listed);
    }
    let known: BTreeMap<&str, Option<&str>> = listed
        .lines()
        .map(|line| line.split_once(' ').map_or((line, None), |(path, name)| (path, Some(name))))
        .collect();
    for sample in samples::all() {
        for path in paths(&sample) {
            let feature = known.get(path.as_str()).unwrap_or_else(|| {
                panic!(
                    "{path} is new: make a Feature, compute it in `needs`, and add it to {FIELDS}"
                )
            });
            let Some(name) = feature else { continue };
            let feature = Features::named([*name]);
            assert_ne!(feature, Features::default(), "{name} is no feature");
            assert!(feature.are_in(encode(&sample).needs), "{path} does not need {name}");
        }
    }
    for feature in Feature::ALL {
        assert!(known.values().any(|name| *name == Some(feature.name())), "{feature:?}");
    }
}

/// Puts an unknown field into the `nth` map of `value`; whether there is one.
fn spoil(value: &mut Value, nth: &mut usize) -> bool {
    match value {
        Value::Object(entries) => {
            if *nth == 0 {
                entries.insert(forms::UNKNOWN.to_owned(), Value::Bool(true));
                return true;
            }
            *nth -= 1;
            entries.values_mut().any(|value| spoil(value, nth))
        }
        Value::Array(items) => items.iter_mut().any(|value| spoil(value, nth)),
        _ => false,
    }
}

#[test]
fn what_is_not_known_is_refused_wherever_it_stands() {
    for sample in samples::all() {
        let whole = json(&sample);
        assert_eq!(decode(whole.to_string().as_bytes()).expect("it was written here"), sample);
        for nth in 0.. {
            let mut spoilt = whole.clone();
            if !spoil(&mut spoilt, &mut nth.clone()) {
                break;
            }
            let text = spoilt.to_string();
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
        let more = format!("{whole} 1");
        assert!(decode(more.as_bytes()).is_err(), "{more}");
    }
}

#[test]
fn what_a_proxy_cannot_do_is_closed_and_the_rest_stays() {
    for sample in samples::all() {
        let none = Features::default();
        let reduced = stand_in(&sample, none);
        assert!(encode(&reduced).needs.are_in(none), "{reduced:?}");
        assert_eq!(reduced.name(), sample.name());
        assert_eq!(stand_in(&sample, Features::all()), sample);
    }
    let Some(Resource::Route(route)) = samples::all().into_iter().nth(1) else {
        panic!("the second sample is a route")
    };
    let Resource::Route(reduced) = stand_in(&Resource::Route(route.clone()), Features::default())
    else {
        panic!("a route stays one")
    };
    assert_eq!(reduced.rules[0].conditions, route.rules[0].conditions);
    let action = json(&Resource::Route(reduced.clone()));
    assert_eq!(action["route"]["rules"][0]["action"]["respond"]["status"], 500);
    assert_eq!(reduced.rules[1], route.rules[1]);
}

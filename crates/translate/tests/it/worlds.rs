//! Worlds from YAML, and clients in them.

use std::collections::BTreeMap;

use weft_api::{Key, Kind, Object};
use weft_config::{Resource, Route, RuleList};
pub use weft_testkit::objects::objects;
use weft_translate::{Client, Resolved, Translator};

/// A translator that has taken in `objects`.
pub fn translator(objects: impl IntoIterator<Item = Object>) -> Translator {
    let mut translator = Translator::new();
    translator.change(objects.into_iter().map(|object| (object.key(), Some(object))));
    translator
}

/// The proxy of a pod, given as `namespace/name`.
pub fn client(translator: &Translator, pod: &str) -> Client {
    let (namespace, name) = pod.split_once('/').expect("a pod is namespace/name");
    let key = Key::new(Kind::Pod, namespace, name);
    match translator.object(&key).map(|object| &**object) {
        Some(Object::Pod(pod)) => Client::of_pod(pod),
        _ => panic!("there is no {key}"),
    }
}

/// The routes of an answer, by name. The rules of the lists that one names stand before its own.
pub fn routes(resolved: &Resolved) -> BTreeMap<String, Route> {
    let list = |name: &String| {
        let lists = resolved.resources.iter().filter_map(|piece| match &*piece.resource {
            Resource::RuleList(RuleList { name: own, rules }) if own == name => Some(rules),
            _ => None,
        });
        let rules: Vec<_> = lists.collect();
        let [rules] = rules[..] else { panic!("there is no list {name}") };
        rules.clone()
    };
    let routes = resolved.resources.iter().filter_map(|piece| match &*piece.resource {
        Resource::Route(route) => Some(route.clone()),
        _ => None,
    });
    let whole = routes.map(|mut route| {
        let lists: Vec<_> = std::mem::take(&mut route.lists).iter().flat_map(list).collect();
        route.rules.splice(..0, lists);
        (route.name.clone(), route)
    });
    whole.collect()
}

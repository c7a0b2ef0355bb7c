//! Changes reported for given events, and by an API server that answers as a real one does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::*;
use crate::control_plane::scripted::{self, Reply};

fn service(name: &str) -> StoredObject {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "7"},
        "spec": {"clusterIP": "10.96.0.7"},
    }))
    .unwrap()
}

/// `+KEY` for something applied, `-KEY` for something gone, `synced`.
fn changes_after(known_objects: &mut KnownObjects, event: Event<StoredObject>) -> String {
    let word = |change: Change| match change {
        Change::Apply(object, _) => format!("+{}", object.key()),
        Change::Delete(key, _) => format!("-{key}"),
        Change::Synced => "synced".to_owned(),
    };
    known_objects.take(Kind::Service, event).into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_vanished_while_nobody_looked_is_told_as_gone() {
    let mut known_objects = KnownObjects::default();
    assert_eq!(changes_after(&mut known_objects, Event::Init), "");
    assert_eq!(
        changes_after(&mut known_objects, Event::InitApply(service("a"))),
        "+Service/shop/a"
    );
    assert_eq!(changes_after(&mut known_objects, Event::InitDone), "");
    assert_eq!(changes_after(&mut known_objects, Event::Apply(service("b"))), "+Service/shop/b");
    changes_after(&mut known_objects, Event::Init);
    changes_after(&mut known_objects, Event::InitApply(service("b")));
    assert_eq!(changes_after(&mut known_objects, Event::InitDone), "-Service/shop/a");
    assert_eq!(changes_after(&mut known_objects, Event::Delete(service("b"))), "-Service/shop/b");
}

#[test]
fn a_kind_that_is_not_defined_holds_nobody_up_and_may_come_later() {
    let mut known_objects = KnownObjects::default();
    for kind in Kind::deciding().filter(|kind| *kind != Kind::Service) {
        known_objects.take(kind, Event::Init);
        assert!(known_objects.take(kind, Event::InitDone).is_empty());
    }
    assert_eq!(known_objects.undefined(Kind::Service), [Change::Synced]);
    assert!(known_objects.undefined(Kind::Service).is_empty(), "once is enough");
    changes_after(&mut known_objects, Event::Init);
    assert_eq!(
        changes_after(&mut known_objects, Event::InitApply(service("a"))),
        "+Service/shop/a"
    );
    assert_eq!(changes_after(&mut known_objects, Event::InitDone), "");
    let gone = known_objects.undefined(Kind::Service);
    assert!(matches!(gone.as_slice(), [Change::Delete(..)]), "with its kind it goes");
}

#[test]
fn only_an_unknown_kind_is_undefined() {
    let refused = |code: u16| {
        let mut status = kube::core::Status::failure("no", "Any");
        status.code = code;
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    };
    assert!(is_undefined(&refused(404)));
    assert!(!is_undefined(&refused(403)));
    assert!(!is_undefined(&refused(503)));
    assert!(!is_undefined(&watcher::Error::NoResourceVersion));
}

#[test]
fn the_start_is_complete_when_every_kind_is() {
    let mut known_objects = KnownObjects::default();
    let mut last = String::new();
    for kind in Kind::deciding() {
        assert_eq!(last, "");
        known_objects.take(kind, Event::Init);
        let changes = known_objects.take(kind, Event::InitDone);
        last = if changes == [Change::Synced] { "synced".to_owned() } else { String::new() };
    }
    assert_eq!(last, "synced");
    assert!(known_objects.take(Kind::Pod, Event::InitDone).is_empty(), "once is enough");
}

/// Objects by the last part of their list's path, and what their watches will say.
#[derive(Default)]
struct Script {
    items: BTreeMap<&'static str, Vec<Value>>,
    /// The answers to the watches of a kind, in order; then they stay silent.
    watches: BTreeMap<&'static str, Vec<Reply>>,
    /// Paths and queries, as they were asked.
    asked: Vec<String>,
}

impl Script {
    /// A list as a real server gives it: no item of a built-in kind has its type.
    fn answer(&mut self, path: &str, query: &str) -> Reply {
        self.asked.push(format!("{path}?{query}"));
        let plural = path.rsplit('/').next().unwrap_or_default();
        if query.contains("watch=true") {
            let answers = self.watches.get_mut(plural).filter(|answers| !answers.is_empty());
            return answers.map_or(Reply::Silence, |answers| answers.remove(0));
        }
        let number = |name: &str| -> Option<usize> {
            let (_, value) = query
                .split('&')
                .filter_map(|one| one.split_once('='))
                .find(|(one, _)| *one == name)?;
            value.parse().ok()
        };
        let items = self.items.get(plural).map(Vec::as_slice).unwrap_or_default();
        let begin = number("continue").unwrap_or(0);
        let end = items.len().min(begin + number("limit").unwrap_or(items.len()));
        let more = if end < items.len() { end.to_string() } else { String::new() };
        Reply::Json(
            200,
            json!({
                "apiVersion": "v1",
                "kind": "List",
                "metadata": {"resourceVersion": "100", "continue": more},
                "items": items[begin..end],
            }),
        )
    }
}

fn named(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "resourceVersion": "7", "uid": name}})
}

/// Runs the watches against `script`.
async fn watching(script: Script) -> (Arc<Mutex<Script>>, mpsc::Receiver<Change>) {
    let script = Arc::new(Mutex::new(script));
    let answers = Arc::clone(&script);
    let cluster =
        scripted::serve(move |path, query| answers.lock().unwrap().answer(path, query)).await;
    let (changes, receiver) = mpsc::channel(64);
    let inputs = Arc::new(InjectionInputs::new());
    tokio::spawn(run(cluster, "istio-system".to_owned(), changes, inputs));
    (script, receiver)
}

fn word(change: Change) -> String {
    match change {
        Change::Apply(object, _) => format!("+{}", object.key()),
        Change::Delete(key, _) => format!("-{key}"),
        Change::Synced => "synced".to_owned(),
    }
}

/// The changes up to the first complete list of every kind, sorted.
async fn until_synced(changes: &mut mpsc::Receiver<Change>) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        match word(changes.recv().await.expect("the watches go on")) {
            synced if synced == "synced" => break,
            other => told.push(other),
        }
    }
    told.sort();
    told
}

#[tokio::test]
async fn items_of_a_list_have_no_types_and_are_seen() {
    let mut items = BTreeMap::new();
    items.insert("namespaces", vec![json!({"metadata": {"name": "shop", "resourceVersion": "1"}})]);
    for plural in ["pods", "services", "endpointslices"] {
        items.insert(plural, vec![named("shop", "cart")]);
    }
    items.insert("configmaps", vec![named("istio-system", "istio")]);
    let mut custom = named("shop", "cart");
    custom["apiVersion"] = "networking.istio.io/v1".into();
    for (plural, kind) in [
        ("gateways", "Gateway"),
        ("virtualservices", "VirtualService"),
        ("destinationrules", "DestinationRule"),
    ] {
        custom["kind"] = kind.into();
        items.insert(plural, vec![custom.clone()]);
    }
    let (_, mut changes) = watching(Script { items, ..Script::default() }).await;
    assert_eq!(
        until_synced(&mut changes).await,
        [
            "+ConfigMap/istio-system/istio",
            "+DestinationRule/shop/cart",
            "+EndpointSlice/shop/cart",
            "+Gateway/shop/cart",
            "+Namespace/shop",
            "+Pod/shop/cart",
            "+Service/shop/cart",
            "+VirtualService/shop/cart",
        ]
    );
}

/// A watch that a test speaks for.
fn spoken() -> (UnboundedSender<Value>, Reply) {
    let (lines, receiver): (_, UnboundedReceiver<Value>) = mpsc::unbounded_channel();
    (lines, Reply::Lines(receiver))
}

fn gone() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 100 (200)", "reason": "Expired", "code": 410,
    })
}

#[tokio::test]
async fn a_version_that_is_too_old_begins_a_new_list_and_loses_nothing() {
    let (lines, first) = spoken();
    // The first is said in the stream, the second with the status of the answer.
    let watches = vec![first, Reply::Json(410, gone())];
    let script = Script {
        items: [("services", vec![named("shop", "a"), named("shop", "b")])].into(),
        watches: [("services", watches)].into(),
        ..Script::default()
    };
    let (script, mut changes) = watching(script).await;
    assert_eq!(until_synced(&mut changes).await, ["+Service/shop/a", "+Service/shop/b"]);

    script.lock().unwrap().items.insert("services", vec![named("shop", "b"), named("shop", "c")]);
    lines.send(json!({"type": "ERROR", "object": gone()})).unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(word(changes.recv().await.unwrap()));
    }
    assert_eq!(told, ["+Service/shop/b", "+Service/shop/c", "-Service/shop/a"]);

    script.lock().unwrap().items.insert("services", vec![named("shop", "d")]);
    let mut told = Vec::new();
    while told.len() < 3 || !told.contains(&"-Service/shop/c".to_owned()) {
        told.push(word(changes.recv().await.unwrap()));
    }
    assert!(told.contains(&"+Service/shop/d".to_owned()), "{told:?}");
}

#[tokio::test]
async fn bookmarks_move_the_version_from_which_a_broken_watch_goes_on() {
    let (lines, first) = spoken();
    let (more, second) = spoken();
    let script =
        Script { watches: [("services", vec![first, second])].into(), ..Script::default() };
    let (script, mut changes) = watching(script).await;
    assert!(until_synced(&mut changes).await.is_empty());
    let bookmark = json!({"kind": "Service", "apiVersion": "v1", "metadata": {
        "resourceVersion": "150", "creationTimestamp": null,
    }});
    lines.send(json!({"type": "BOOKMARK", "object": bookmark})).unwrap();
    drop(lines);
    more.send(json!({"type": "ADDED", "object": named("shop", "late")})).unwrap();
    assert_eq!(word(changes.recv().await.unwrap()), "+Service/shop/late");
    let asked = script.lock().unwrap().asked.clone();
    let of_services =
        asked.iter().filter(|one| one.contains("/services?") && one.contains("watch"));
    let from: Vec<bool> = of_services.map(|one| one.contains("resourceVersion=150")).collect();
    assert_eq!(from, [false, true], "{asked:?}");
}

#[tokio::test]
async fn a_server_that_fails_for_a_while_is_asked_again_and_nothing_counts_as_gone() {
    let down = || {
        Reply::Json(
            503,
            json!({"kind": "Status", "apiVersion": "v1", "code": 503, "status": "Failure"}),
        )
    };
    let (lines, first) = spoken();
    let (more, last) = spoken();
    let script = Script {
        items: [("services", vec![named("shop", "a")])].into(),
        watches: [("services", vec![first, down(), last])].into(),
        ..Script::default()
    };
    let (_script, mut changes) = watching(script).await;
    assert_eq!(until_synced(&mut changes).await, ["+Service/shop/a"]);
    drop(lines);
    more.send(json!({"type": "ADDED", "object": named("shop", "b")})).unwrap();
    assert_eq!(word(changes.recv().await.unwrap()), "+Service/shop/b");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_hides_no_other() {
    let mut deep = named("shop", "deep");
    for _ in 0..120 {
        deep = json!({"f:a": deep});
    }
    let kept = json!([{"manager": "m", "operation": 7, "time": "never", "fieldsV1": deep}]);
    let mut with_deep_fields = named("shop", "fields");
    with_deep_fields["metadata"]["managedFields"] = kept;
    let mut too_deep = named("shop", "deep");
    too_deep["spec"] = deep;
    let mut odd = named("shop", "odd");
    odd["metadata"]["deletionGracePeriodSeconds"] = json!(u64::MAX);
    odd["metadata"]["creationTimestamp"] = json!("never");
    odd["metadata"]["ownerReferences"] = json!([{"controller": "yes"}]);
    let items = vec![with_deep_fields, too_deep, odd, named("shop", "whole"), json!(7)];
    let items = [("services", items.clone()), ("pods", items)].into();
    let (_, mut changes) = watching(Script { items, ..Script::default() }).await;
    let told = until_synced(&mut changes).await;
    for kind in ["Service", "Pod"] {
        for name in ["fields", "whole"] {
            assert!(told.contains(&format!("+{kind}/shop/{name}")), "{kind} {name}: {told:?}");
        }
        assert!(told.contains(&format!("-{kind}/shop/deep")), "{told:?}");
    }
}

/// A user who may write objects may write so many. A list comes in pages.
#[tokio::test]
async fn ten_thousand_objects_that_cannot_be_read_hold_up_nothing() {
    const ALL: usize = 10_000;
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let mut items: Vec<Value> =
        (0..ALL).map(|number| named("shop", &format!("s{number}"))).collect();
    for (number, item) in items.iter_mut().enumerate() {
        match number % 5 {
            0 => item["spec"] = deep.clone(),
            1 => item["metadata"] = json!(7),
            2 => *item = json!("nothing"),
            3 => item["spec"] = json!({"x": deep}),
            _ => {}
        }
    }
    // The last, in the last place.
    items[ALL - 2] = deep;
    let (script, mut changes) =
        watching(Script { items: [("services", items)].into(), ..Script::default() }).await;
    let told = until_synced(&mut changes).await;
    assert_eq!(told.iter().filter(|one| one.starts_with('+')).count(), ALL / 5);
    assert!(told.contains(&format!("+Service/shop/s{}", ALL - 1)));
    let asked = script.lock().unwrap().asked.clone();
    let pages = asked.iter().filter(|one| one.contains("/services?") && one.contains("limit=500"));
    assert_eq!(pages.count(), ALL / 500, "{asked:?}");
}

/// Nearly as much as etcd takes.
#[tokio::test]
async fn an_object_of_1_4_mb_of_each_kind_is_served() {
    let text = "x".repeat(1_400_000);
    let items = Kind::deciding().map(|kind| {
        let namespace = match kind {
            Kind::ConfigMap => "istio-system",
            _ => "shop",
        };
        let mut large = named(namespace, "large");
        large["metadata"]["annotations"] = json!({"notes": text});
        (kind.plural(), vec![large, named(namespace, "small")])
    });
    let script = Script { items: items.collect(), ..Script::default() };
    let (_, mut changes) = watching(script).await;
    let told = until_synced(&mut changes).await;
    for kind in Kind::deciding() {
        let all = told.iter().filter(|one| one.starts_with(&format!("+{}/", kind.name())));
        assert_eq!(all.count(), 2, "{}: {told:?}", kind.name());
    }
}

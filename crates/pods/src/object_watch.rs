//! Watching all objects of one resource: the list first, then each change, and the list
//! again after a gap.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use weft_apiserver::{Change, Resource, Store};

/// Calls `apply` with every object that exists, and then with every change:
/// the object, or its last state when it is gone. Never ends.
pub(crate) async fn watch_objects(
    store: &Store,
    resource: &Resource,
    mut apply: impl FnMut(Existence, &Arc<Value>),
) {
    let mut known: BTreeMap<String, Arc<Value>> = BTreeMap::new();
    loop {
        let list = store.list(resource, None);
        let now: BTreeMap<String, Arc<Value>> =
            list.items.into_iter().map(|object| (uid(&object), object)).collect();
        for (_, gone) in known.iter().filter(|(uid, _)| !now.contains_key(*uid)) {
            apply(Existence::Gone, gone);
        }
        now.values().for_each(|object| apply(Existence::There, object));
        known = now;
        let mut watch = store.watch(resource, list.version);
        // An error means that the history is gone: everything is read again.
        while let Ok(event) = watch.next().await {
            match event.change {
                Change::Added | Change::Modified => {
                    known.insert(uid(&event.object), Arc::clone(&event.object));
                    apply(Existence::There, &event.object);
                }
                Change::Deleted => {
                    known.remove(&uid(&event.object));
                    apply(Existence::Gone, &event.object);
                }
            }
        }
    }
}

/// Whether an object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    There,
    Gone,
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

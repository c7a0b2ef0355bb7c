//! Whatever calls itself a pod: its patch can be applied, and a second one is empty.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};
use weft_inject::{Namespace, Owner, Settings};

fuzz_target!(|data: &[u8]| {
    let mut choices = Unstructured::new(data);
    let object = match serde_json::from_slice(data) {
        Ok(object) => object,
        Err(_) => match weft_fuzz::object(&mut choices) {
            Ok(object) => object,
            Err(_) => return,
        },
    };
    let settings = Settings::default();
    let namespace = Namespace {
        name: "default".to_owned(),
        labels: BTreeMap::from([("istio-injection".to_owned(), "enabled".to_owned())]),
    };
    weft_inject::decide(&object, &namespace, &settings);
    weft_inject::warnings(&object);

    let owner = Owner::default();
    let mut pod = object.clone();
    let patch = weft_inject::patch(&pod, &owner, "default", &settings);
    json_patch::patch(&mut pod, &patch).expect("a patch can be applied to the pod it is for");
    let again = weft_inject::patch(&pod, &owner, "default", &settings);
    assert!(again.0.is_empty() || patch.0.is_empty(), "{again}");

    let Ok(once) = weft_inject::document(&object, &settings) else { return };
    assert_eq!(weft_inject::document(&once, &settings).ok(), Some(once));
});

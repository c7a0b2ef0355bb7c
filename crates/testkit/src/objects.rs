//! Objects as users write them, and the same ones damaged.

use serde_json::Value;
use weft_api::Object;

/// The objects in `text`, YAML documents.
///
/// # Panics
///
/// Where a document cannot be read, or is no object that Weft knows.
pub fn objects(text: &str) -> Vec<Object> {
    let mut objects = Vec::new();
    for document in weft_manifest::read("world.yaml", text) {
        assert!(document.problems.is_empty(), "{:?}", document.problems);
        let value = document.value.expect("a document without problems has a value");
        let checked = weft_api::check(&value);
        let object = checked.object.unwrap_or_else(|| panic!("not an object: {value}"));
        objects.push(object);
    }
    objects
}

/// Every copy of `value` in which one of `odd` stands in the place of something, the whole
/// included; with the place, as a JSON pointer.
pub fn damaged<'a>(
    value: &'a Value,
    odd: &'a [Value],
) -> impl Iterator<Item = (String, Value)> + 'a {
    let mut found = Vec::new();
    places(value, "", &mut found);
    found.into_iter().flat_map(move |place| {
        odd.iter().map(move |odd| {
            let mut damaged = value.clone();
            *damaged.pointer_mut(&place).expect("a place of this value") = odd.clone();
            (place.clone(), damaged)
        })
    })
}

/// Pointers to everything inside `value`, itself included.
pub fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{here}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{here}/{index}"), found);
            }
        }
        _ => {}
    }
}

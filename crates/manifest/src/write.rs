//! A value → YAML, as `get -o yaml` and `inject` print it.

use serde_json::Value;

/// `value` as one YAML document, keys in the order of the alphabet as kubectl prints them.
pub fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        folded_wrap_chars: usize::MAX,
    };
    serde_saphyr::to_string_with_options(value, options)
        .expect("a JSON value has only texts as keys and only finite numbers")
}

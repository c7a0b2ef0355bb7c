//! What a pod's annotations ask of its sidecar.

use serde_json::Value;

/// A view of a pod's annotations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Annotations<'a>(Option<&'a Value>);

impl<'a> Annotations<'a> {
    /// The annotations of `pod`.
    pub(crate) fn of(pod: &'a Value) -> Self {
        Self(pod.pointer("/metadata/annotations"))
    }

    /// The text of one, if it is there and not empty.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.0?.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The text of one, if it is there; one that is there and empty says "none".
    pub(crate) fn given(self, name: &str) -> Option<&'a str> {
        self.0?.get(name)?.as_str().map(str::trim)
    }

    /// The text of one, or `otherwise`.
    pub(crate) fn text_or(self, name: &str, otherwise: &str) -> String {
        self.text(name).unwrap_or(otherwise).to_owned()
    }

    /// A number, or `otherwise` when it is missing or cannot be read.
    pub(crate) fn number_or(self, name: &str, otherwise: u64) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    }

    /// `true` or `false`, if it is one of the two.
    pub(crate) fn flag(self, name: &str) -> Option<bool> {
        self.text(name)?.parse().ok()
    }

    /// The items of a JSON array, or the entries of a JSON object with their keys as names.
    pub(crate) fn items(self, name: &str) -> Vec<Value> {
        let parsed = self.text(name).and_then(|text| serde_json::from_str(text).ok());
        match parsed {
            Some(Value::Array(items)) => items,
            Some(Value::Object(entries)) => entries.into_iter().map(named).collect(),
            _ => Vec::new(),
        }
    }
}

fn named((name, mut value): (String, Value)) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.entry("name").or_insert_with(|| name.into());
    }
    value
}

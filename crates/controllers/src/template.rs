//! The hash that tells one pod template from another.

use std::hash::Hasher as _;

use serde_json::Value;
use twox_hash::XxHash64;

/// The label that keeps the pods of two templates apart.
pub const LABEL: &str = "pod-template-hash";

/// Letters without vowels, as in names on a cluster.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short text that differs between templates; `attempt` counts collisions.
pub fn hash(template: &Value, attempt: u64) -> String {
    text(template, attempt, 9)
}

/// A short text that differs between values.
pub fn text(value: &Value, seed: u64, length: usize) -> String {
    let mut hasher = XxHash64::with_seed(seed);
    feed(&mut hasher, value);
    let mut rest = hasher.finish();
    let base = LETTERS.len() as u64;
    (0..length)
        .map(|_| {
            let letter = LETTERS[usize::try_from(rest % base).unwrap_or(0)];
            rest /= base;
            char::from(letter)
        })
        .collect()
}

/// Whether two templates make the same pods, hash label aside.
pub fn is_same(one: &Value, other: &Value) -> bool {
    bare(one) == bare(other)
}

fn bare(template: &Value) -> Value {
    let mut bare = template.clone();
    if let Some(labels) = bare["metadata"]["labels"].as_object_mut() {
        labels.remove(LABEL);
    }
    bare
}

/// Feeds a value independently of the order of its fields.
fn feed(hasher: &mut XxHash64, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(field, _)| *field);
            hasher.write(b"{");
            for (field, value) in fields {
                hasher.write(field.as_bytes());
                hasher.write(b":");
                feed(hasher, value);
            }
            hasher.write(b"}");
        }
        Value::Array(items) => {
            hasher.write(b"[");
            items.iter().for_each(|item| feed(hasher, item));
            hasher.write(b"]");
        }
        other => {
            hasher.write(other.to_string().as_bytes());
            hasher.write(b",");
        }
    }
}

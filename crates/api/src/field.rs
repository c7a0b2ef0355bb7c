//! Paths of fields, such as `spec.http[0].match[1].uri`, and their spellings.

use std::borrow::Cow;

/// The longest key that a path shows, in letters; a key of Kubernetes has at most 317.
const LONGEST: usize = 320;

/// The path of the entry `key` of the map at `path`.
///
/// A key that is not a plain name is put in brackets: `metadata.labels["a.example/b"]`.
/// A key that is longer than any valid one is cut.
pub fn child(path: &str, key: &str) -> String {
    let key = clipped(key, LONGEST);
    let plain = !key.is_empty()
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$' | '@'));
    match (plain, path.is_empty()) {
        (false, _) => format!("{path}[\"{key}\"]"),
        (true, true) => key.into_owned(),
        (true, false) => format!("{path}.{key}"),
    }
}

/// The first `most` letters of a text, with `…` in place of the rest.
pub fn clipped(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// The path of an item of the list at `path`.
pub fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// `sni_hosts` → `sniHosts`, as protobuf's JSON mapping has it; other names stay as they are.
pub fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

//! Paths of fields, such as `spec.http[0].match[1].uri`, and their spellings.

/// The path of the entry `key` of the map at `path`.
///
/// A key that is not a plain name is put in brackets: `metadata.labels["a.example/b"]`.
pub fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$' | '@'));
    match (plain, path.is_empty()) {
        (false, _) => format!("{path}[\"{key}\"]"),
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
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

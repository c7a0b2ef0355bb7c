//! Which lists are merged by key, and by which.
//!
//! The built-in kinds' struct tags as a table over field names (the owner is
//! named where a name is used twice); for custom resources the schema says.

use serde_json::Value;

/// How two versions of a list become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// The newer one counts.
    Atomic,
    /// Values are elements of a set.
    Set,
    /// Elements with the same values of these fields are the same.
    Keyed(Vec<String>),
}

/// Field, field above it or `*`, keys of strategic merge, further keys of apply.
const KEYED: &[(&str, &str, &str, &[&str])] = &[
    ("containers", "*", "name", &[]),
    ("initContainers", "*", "name", &[]),
    ("ephemeralContainers", "*", "name", &[]),
    ("env", "*", "name", &[]),
    ("ports", "containers", "containerPort", &["protocol"]),
    ("ports", "initContainers", "containerPort", &["protocol"]),
    ("ports", "ephemeralContainers", "containerPort", &["protocol"]),
    ("ports", "spec", "port", &["protocol"]),
    ("volumeMounts", "*", "mountPath", &[]),
    ("volumeDevices", "*", "devicePath", &[]),
    ("volumes", "*", "name", &[]),
    ("imagePullSecrets", "*", "name", &[]),
    ("secrets", "*", "name", &[]),
    ("hostAliases", "*", "ip", &[]),
    ("topologySpreadConstraints", "*", "topologyKey", &["whenUnsatisfiable"]),
    ("schedulingGates", "*", "name", &[]),
    ("resourceClaims", "*", "name", &[]),
    ("conditions", "*", "type", &[]),
    ("addresses", "status", "type", &[]),
    ("podIPs", "*", "ip", &[]),
    ("ownerReferences", "metadata", "uid", &[]),
    ("webhooks", "*", "name", &[]),
    ("matchConditions", "*", "name", &[]),
];

/// Lists of values that are sets.
const SETS: &[&str] = &["finalizers"];

/// How a list of a built-in kind is merged; `above` is the nearest field over it.
pub fn built_in(above: &str, field: &str) -> ListType {
    if SETS.contains(&field) {
        return ListType::Set;
    }
    row(above, field).map_or(ListType::Atomic, |(_, _, key, more)| {
        let keys = std::iter::once(key).chain(more.iter()).map(|key| (*key).to_owned());
        ListType::Keyed(keys.collect())
    })
}

/// The key by which strategic merge finds an element.
pub fn merge_key(above: &str, field: &str) -> Option<&'static str> {
    row(above, field).map(|(_, _, key, _)| *key)
}

/// Whether strategic merge treats a list of values as a set.
pub fn is_set(field: &str) -> bool {
    SETS.contains(&field)
}

fn row(
    above: &str,
    field: &str,
) -> Option<&'static (&'static str, &'static str, &'static str, &'static [&'static str])> {
    KEYED.iter().find(|(name, owner, ..)| *name == field && (*owner == "*" || *owner == above))
}

/// How a list with this schema is merged.
pub fn by_schema(schema: &Value) -> ListType {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            ListType::Keyed(keys.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListType::Atomic,
    }
}

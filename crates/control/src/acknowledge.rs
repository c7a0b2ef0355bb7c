//! Who has taken note of a change.

use serde::Serialize;

/// Whether every proxy concerned has an object's version in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// Whether the control plane knows the object at that version, and nobody
    /// is behind.
    pub complete: bool,
    /// Whether the control plane knows the object at that version.
    pub seen: bool,
    /// How many proxies the change concerned.
    pub proxies: usize,
    /// Pods whose proxies do not have it in force, as `NAMESPACE/NAME`; those of other
    /// namespaces are only named to accounts of the root namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<String>,
}

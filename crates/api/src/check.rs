//! Everything that is wrong with one object, and what can be used of it.
//!
//! Judges one object alone: whether what it names exists is for translation to
//! say. Never fails: a broken piece is left out of the typed object, is told,
//! and closes the rule it belongs to.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Diagnostic, Key, Kind, Object, mesh_config::MeshConfig};

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The object's name; absent when the kind is not one that Weft reads.
    pub key: Option<Key>,
    /// The typed object, for the kinds that decide something about traffic.
    ///
    /// Broken pieces are replaced by nothing, and a rule of a VirtualService
    /// that had one has no destination left, so that it serves nothing else.
    pub object: Option<Object>,
    /// The object with its fields in today's spelling.
    pub normalised: Value,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks one object of any kind.
pub fn check(object: &Value) -> Checked {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let key = Kind::of(text("/apiVersion"), text("/kind")).map(|kind| {
        let namespace = match (kind.namespaced(), text("/metadata/namespace")) {
            (false, _) => "",
            (true, "") => "default",
            (true, namespace) => namespace,
        };
        Key::new(kind, namespace, text("/metadata/name"))
    });
    let typed = key.as_ref().and_then(|key| typed(key, object.clone()));
    Checked { key, object: typed, normalised: object.clone(), diagnostics: Vec::new() }
}

/// Reads the mesh's settings, given as what the YAML under key `mesh` of the ConfigMap `key` says.
pub fn mesh_config(settings: &Value, key: &Key) -> (MeshConfig, Vec<Diagnostic>) {
    match serde_json::from_value(settings.clone()) {
        Ok(config) => (config, Vec::new()),
        Err(error) => {
            let diagnostic = Diagnostic::error(key, "data.mesh", error.to_string());
            (MeshConfig::default(), vec![diagnostic])
        }
    }
}

/// The object as translation reads it, with its namespace filled in.
fn typed(key: &Key, object: Value) -> Option<Object> {
    fn read<T: DeserializeOwned>(object: Value, variant: fn(T) -> Object) -> Option<Object> {
        serde_json::from_value(object).ok().map(variant)
    }
    let mut object = match key.kind {
        Kind::Namespace => read(object, Object::Namespace),
        Kind::Pod => read(object, Object::Pod),
        Kind::Service => read(object, Object::Service),
        Kind::ConfigMap => read(object, Object::ConfigMap),
        Kind::EndpointSlice => read(object, Object::EndpointSlice),
        Kind::Gateway => read(object, Object::Gateway),
        Kind::VirtualService => read(object, Object::VirtualService),
        Kind::DestinationRule => read(object, Object::DestinationRule),
        _ => None,
    }?;
    object.metadata_mut().namespace.clone_from(&key.namespace);
    Some(object)
}

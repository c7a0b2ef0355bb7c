//! Everything that is wrong with one object, and what can be used of it.
//!
//! Judges one object alone: whether what it names exists is for translation to
//! say. Never fails: a broken piece is left out of the typed object, is told,
//! and closes the rule it belongs to.

mod cluster;
mod destination_rule;
mod findings;
mod gateway;
mod http_route;
mod names;
mod near;
mod virtual_service;
mod walk;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Diagnostic, Key, Kind, Object,
    mesh_config::MeshConfig,
    schema::{self, Holds},
};

use self::{
    findings::Findings,
    walk::{Spelling, Walk},
};

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
    /// The object with its fields in today's spelling, and nothing else changed.
    pub normalised: Value,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks one object of any kind. One without a namespace is taken to be in `default`.
pub fn check(object: &Value) -> Checked {
    let mut normalised = object.clone();
    let Some(key) = key(object) else {
        return Checked { key: None, object: None, normalised, diagnostics: Vec::new() };
    };
    let mut findings = Findings::new(key.clone());
    let mut usable = walk(&key, &mut normalised, &mut findings);
    cluster::metadata(&key, &mut findings);
    close_broken_rules(&mut usable, &findings.broken);
    cluster::object(key.kind, &usable, &mut findings);
    let typed = typed(&key, usable, &mut findings);
    match &typed {
        Some(Object::VirtualService(object)) => virtual_service::check(object, &mut findings),
        Some(Object::DestinationRule(object)) => destination_rule::check(object, &mut findings),
        Some(Object::Gateway(object)) => gateway::check(object, &mut findings),
        _ => {}
    }
    Checked { key: Some(key), object: typed, normalised, diagnostics: findings.finish() }
}

/// What of an object can be used: its known fields, in today's spelling, without those that
/// hold what they cannot. `None` when the kind is not one that Weft reads.
pub fn usable(object: &Value) -> Option<Value> {
    let key = key(object)?;
    Some(walk(&key, &mut object.clone(), &mut Findings::new(key.clone())))
}

/// Puts the names in `object` right, and returns what of it can be used.
fn walk(key: &Key, object: &mut Value, findings: &mut Findings) -> Value {
    let spelling = match key.kind.group() {
        "networking.istio.io" => Spelling::Both,
        _ => Spelling::Strict,
    };
    let fields = Holds::Object(schema::fields(key.kind));
    let usable = Walk { findings, spelling }.value(&fields, object, "");
    usable.unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

/// Reads the mesh's settings, given as what the YAML under key `mesh` of the ConfigMap `key` says.
///
/// What is wrong keeps its default.
pub fn mesh_config(settings: &Value, key: &Key) -> (MeshConfig, Vec<Diagnostic>) {
    let mut findings = Findings::new(key.clone());
    let mut walk = Walk { findings: &mut findings, spelling: Spelling::Both };
    let fields = Holds::Object(schema::settings::MESH_CONFIG);
    let usable = match settings {
        Value::Null => None,
        settings => walk.value(&fields, &mut settings.clone(), "data.mesh"),
    };
    let config = serde_json::from_value(usable.unwrap_or_default()).unwrap_or_default();
    (config, findings.finish())
}

/// Reads a proxy's settings, given as the object `key` has them in `field`: what
/// can be used of them, in today's spelling, and what is wrong.
pub fn proxy_config(settings: &Value, key: &Key, field: &str) -> (Value, Vec<Diagnostic>) {
    let mut findings = Findings::new(key.clone());
    let mut walk = Walk { findings: &mut findings, spelling: Spelling::Both };
    let fields = Holds::Object(schema::settings::PROXY_CONFIG);
    let usable = match settings {
        Value::Null => None,
        settings => walk.value(&fields, &mut settings.clone(), field),
    };
    (usable.unwrap_or_else(|| Value::Object(serde_json::Map::new())), findings.finish())
}

/// The object's name, if it is of a kind that Weft reads.
pub fn key(object: &Value) -> Option<Key> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let kind = Kind::of(text("/apiVersion"), text("/kind"))?;
    let namespace = match (kind.namespaced(), text("/metadata/namespace")) {
        (false, _) => "",
        (true, "") => "default",
        (true, namespace) => namespace,
    };
    let name = match text("/metadata/name") {
        "" => text("/metadata/generateName"),
        name => name,
    };
    Some(Key::new(kind, namespace, name))
}

/// Takes the destinations of the rules of a VirtualService in which something is broken.
///
/// A rule that lost a condition would take requests that it does not mean.
fn close_broken_rules(object: &mut Value, broken: &[String]) {
    for protocol in ["http", "tcp"] {
        let list = format!("spec.{protocol}[");
        let Some(rules) = object.pointer_mut(&format!("/spec/{protocol}")) else { continue };
        let broken = broken.iter().filter_map(|path| path.strip_prefix(&list)?.split_once(']'));
        for (index, _) in broken {
            let rule = index.parse::<usize>().ok().and_then(|index| rules.get_mut(index));
            if let Some(Value::Object(rule)) = rule {
                rule.retain(|name, _| matches!(name.as_str(), "name" | "match"));
            }
        }
    }
}

/// The object as translation reads it, with its namespace filled in.
fn typed(key: &Key, object: Value, findings: &mut Findings) -> Option<Object> {
    let read = match key.kind {
        Kind::Namespace => read(object, Object::Namespace),
        Kind::Pod => read(object, Object::Pod),
        Kind::Service => read(object, Object::Service),
        Kind::ConfigMap => read(object, Object::ConfigMap),
        Kind::EndpointSlice => read(object, Object::EndpointSlice),
        Kind::Gateway => read(object, Object::Gateway),
        Kind::VirtualService => read(object, Object::VirtualService),
        Kind::DestinationRule => read(object, Object::DestinationRule),
        _ => return None,
    };
    match read {
        Ok(mut object) => {
            object.metadata_mut().namespace.clone_from(&key.namespace);
            Some(object)
        }
        Err(error) => {
            findings.error("", format!("cannot be read: {error}"));
            None
        }
    }
}

fn read<T: DeserializeOwned>(
    object: Value,
    variant: fn(T) -> Object,
) -> Result<Object, serde_json::Error> {
    serde_json::from_value(object).map(variant)
}

#[cfg(test)]
mod tests;

//! Everything that is wrong with one object, and what can be used of it.
//!
//! Judges one object alone: whether what it names exists is for translation to
//! say. Never fails: a broken piece is left out of the typed object, is reported,
//! and closes the rule it belongs to.

mod cluster;
mod destination_rule;
mod findings;
mod gateway;
mod http_route;
mod ingress;
mod names;
mod near;
mod overlap;
mod service_entry;
mod sidecar;
mod virtual_service;
mod walk;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use names::subnet;
pub use near::nearest;
pub use service_entry::MOST_HOSTS;

use crate::{
    Diagnostic, Key, Kind, Object,
    field::clipped,
    json::Most,
    kind::Effect,
    mesh_config::MeshConfig,
    schema::{self, Holds},
};

use self::{
    findings::{Findings, Path, Report},
    walk::{Spelling, Unusable, Walk},
};

/// The most that an object may hold that is checked: 6,000 plain rules of a VirtualService.
pub const MOST: Most = Most { maps: 30_000, values: 200_000 };
/// What objects do whose kind has no effect yet.
const NOTHING_YET: &str = "objects of this kind are stored, and change nothing about traffic";
/// The longest name and the longest namespace that are repeated in messages.
const LONGEST_NAME: usize = 253;

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The object's name; absent when the kind is not one that Weft reads.
    pub key: Option<Key>,
    /// The typed object, for the kinds that decide something about traffic.
    ///
    /// Broken pieces are replaced by nothing, and what a broken piece would make
    /// wider is closed: a rule of a VirtualService has no destination left, a
    /// subset has no name, a server of a Gateway has no host. Where it says for whom the object
    /// is, a stand-in is for nobody.
    pub object: Option<Object>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether `text` is a label of a DNS name in lower case, as the names of namespaces are.
pub fn is_dns_label(text: &str) -> bool {
    names::is_label(text) && !text.contains(|c: char| c.is_ascii_uppercase())
}

/// Checks one object of any kind. One without a namespace is taken to be in `default`.
///
/// Time and memory are bounded by the size of the object, whatever is in it.
pub fn check(object: &Value) -> Checked {
    check_whole(object.clone())
}

/// What [`check`] does, for an object that is not needed any more: a large one is not in
/// memory twice.
pub fn check_whole(object: Value) -> Checked {
    let Some(key) = key(&object) else {
        return Checked { key: None, object: None, diagnostics: Vec::new() };
    };
    let mut findings = Findings::new(key.clone(), Report::Diagnostics);
    if let Some(message) = too_large(&object) {
        findings.error("", message);
        return Checked { key: Some(key), object: None, diagnostics: findings.finish() };
    }
    if key.kind.effect() == Effect::NotYet {
        findings.not_honoured("", NOTHING_YET);
    }
    let mut usable = object;
    walk(&key, &mut usable, (&mut findings, Unusable::Removed));
    cluster::metadata(&key, &mut findings);
    cluster::object(key.kind, &usable, &mut findings);
    let typed = typed(&key, usable, &mut findings);
    match &typed {
        Some(Object::VirtualService(object)) => virtual_service::check(object, &mut findings),
        Some(Object::DestinationRule(object)) => destination_rule::check(object, &mut findings),
        Some(Object::Gateway(object)) => gateway::check(object, &mut findings),
        Some(Object::Ingress(object)) => ingress::check(object, &mut findings),
        Some(Object::ServiceEntry(object)) => service_entry::check(object, &mut findings),
        Some(Object::Sidecar(object)) => sidecar::check(object, &mut findings),
        Some(Object::WorkloadEntry(object)) => {
            service_entry::check_workload(&object.spec, &mut findings);
        }
        _ => {}
    }
    Checked { key: Some(key), object: typed, diagnostics: findings.finish() }
}

/// A warning about an object of Istio whose kind is not in the table of kinds.
pub fn unknown_istio_kind(object: &Value) -> Option<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split('/').next()?;
    let kind = text("/kind");
    if !group.ends_with(".istio.io") || crate::Kind::of(text("/apiVersion"), kind).is_some() {
        return None;
    }
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    Some(format!(
        "{kind}/{namespace}/{name}: not honoured yet: objects of this kind are stored, and change \
         nothing about traffic"
    ))
}

/// Reads one object of a kind that decides something about traffic, without looking for
/// what its owner should be told: what [`check`] types, for objects that are stored already.
pub fn read(object: Value) -> Option<Object> {
    let key = key(&object)?;
    let mut findings = Findings::new(key.clone(), Report::Nothing);
    let mut usable = object;
    walk(&key, &mut usable, (&mut findings, Unusable::Removed));
    typed(&key, usable, &mut findings)
}

/// The object with its fields in today's spelling, and nothing else changed. `None` when the
/// kind is not one that Weft reads.
pub fn normalised(object: &Value) -> Option<Value> {
    rewritten(object, Unusable::Kept)
}

/// What of an object can be used: its known fields, in today's spelling, without those that
/// hold what they cannot. `None` when the kind is not one that Weft reads.
pub fn usable(object: &Value) -> Option<Value> {
    rewritten(object, Unusable::Removed)
}

fn rewritten(object: &Value, unusable: Unusable) -> Option<Value> {
    let key = key(object)?;
    let mut object = object.clone();
    let mut findings = Findings::new(key.clone(), Report::Nothing);
    walk(&key, &mut object, (&mut findings, unusable));
    Some(object)
}

/// Puts the names in `object` right, and keeps or removes what of it cannot be used.
fn walk(key: &Key, object: &mut Value, (findings, unusable): (&mut Findings, Unusable)) {
    let spelling = match key.kind.group() {
        "networking.istio.io" => Spelling::Both,
        _ => Spelling::Strict,
    };
    let Some(fields) = key.kind.fields() else { return };
    let fields = Holds::Object(fields);
    Walk { findings, spelling, unusable }.value(&fields, object, &Path::Top(""));
}

/// Reads the mesh's settings, given as what the YAML under key `mesh` of the ConfigMap `key` says.
///
/// What is wrong keeps its default; what would open the mesh by that is closed.
pub fn mesh_config(settings: &Value, key: &Key) -> (MeshConfig, Vec<Diagnostic>) {
    let (usable, diagnostics) =
        read_settings(settings, key, ("data.mesh", schema::settings::MESH_CONFIG));
    let settings = match settings {
        Value::Null | Value::Object(_) => serde_json::from_value(usable).unwrap_or_default(),
        _ => closed_mesh_config(),
    };
    (settings, diagnostics)
}

/// The settings of a mesh of which none can be read: each field that may not be wider than it
/// was meant to be is as narrow as it can be.
pub fn closed_mesh_config() -> MeshConfig {
    let guarded = schema::settings::MESH_CONFIG.iter().filter_map(|field| {
        let value = field.stand_in?.value()?;
        Some((field.name.to_owned(), value))
    });
    serde_json::from_value(Value::Object(guarded.collect()))
        .expect("stand-ins are of their fields' own types")
}

/// Reads a proxy's settings, given as the object `key` has them in `field`: what
/// can be used of them, in today's spelling, and what is wrong.
pub fn proxy_config(settings: &Value, key: &Key, field: &str) -> (Value, Vec<Diagnostic>) {
    read_settings(settings, key, (field, schema::settings::PROXY_CONFIG))
}

fn read_settings(
    settings: &Value,
    key: &Key,
    (field, fields): (&str, &'static [schema::Field]),
) -> (Value, Vec<Diagnostic>) {
    let mut findings = Findings::new(key.clone(), Report::Diagnostics);
    let mut walk =
        Walk { findings: &mut findings, spelling: Spelling::Both, unusable: Unusable::Removed };
    let mut usable = settings.clone();
    let whole = match settings {
        Value::Null => false,
        _ => walk.value(&Holds::Object(fields), &mut usable, &Path::Top(field)),
    };
    let usable = if whole { usable } else { Value::Object(Map::new()) };
    (usable, findings.finish())
}

/// Why an object is not checked, if it has too many values for that.
fn too_large(object: &Value) -> Option<String> {
    let (mut values, mut maps) = (0, 0);
    count(object, (&mut values, &mut maps));
    (values > MOST.values || maps > MOST.maps).then(|| {
        format!(
            "the object has more than {} maps or {} values; divide it into smaller ones",
            MOST.maps, MOST.values
        )
    })
}

/// Counts the values of an object, and the maps among them, until there are too many.
fn count(value: &Value, (values, maps): (&mut usize, &mut usize)) {
    *values += 1;
    if *values > MOST.values || *maps > MOST.maps {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| count(item, (values, maps))),
        Value::Object(entries) => {
            *maps += 1;
            entries.values().for_each(|value| count(value, (values, maps)));
        }
        _ => {}
    }
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
    let cut = |text| clipped(text, LONGEST_NAME).into_owned();
    Some(Key::new(kind, cut(namespace), cut(name)))
}

/// The object as translation reads it, with its namespace filled in.
fn typed(key: &Key, object: Value, findings: &mut Findings) -> Option<Object> {
    let read = match key.kind {
        Kind::Namespace => typed_as(object, Object::Namespace),
        Kind::Pod => typed_as(object, Object::Pod),
        Kind::Service => typed_as(object, Object::Service),
        Kind::ConfigMap => typed_as(object, Object::ConfigMap),
        Kind::EndpointSlice => typed_as(object, Object::EndpointSlice),
        Kind::Ingress => typed_as(object, Object::Ingress),
        Kind::IngressClass => typed_as(object, Object::IngressClass),
        Kind::Gateway => typed_as(object, Object::Gateway),
        Kind::VirtualService => typed_as(object, Object::VirtualService),
        Kind::DestinationRule => typed_as(object, Object::DestinationRule),
        Kind::Sidecar => typed_as(object, Object::Sidecar),
        Kind::ServiceEntry => typed_as(object, Object::ServiceEntry),
        Kind::WorkloadEntry => typed_as(object, Object::WorkloadEntry),
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

fn typed_as<T: DeserializeOwned>(
    object: Value,
    variant: fn(T) -> Object,
) -> Result<Object, serde_json::Error> {
    serde_json::from_value(object).map(variant)
}

#[cfg(test)]
mod tests;

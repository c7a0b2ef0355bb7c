//! What holds for every object, and for the cluster's own kinds.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{findings::Findings, names};
use crate::{Key, Kind, field::item};

/// Checks the object's name.
pub(super) fn metadata(key: &Key, findings: &mut Findings) {
    let lower = |name: &str| !name.contains(|c: char| c.is_ascii_uppercase());
    let valid = match key.kind {
        // What a definition is called has dots, and what a generated name begins with may end in `-`.
        _ if key.name.ends_with('-') => true,
        Kind::Service | Kind::Namespace => names::is_label(&key.name),
        _ => names::host(&key.name).is_none(),
    };
    if key.name.is_empty() {
        findings.error("metadata.name", "the object has no name; give it one");
    } else if !(valid && lower(&key.name)) {
        let message = format!("`{}` is not a name: small letters, digits and `-`", key.name);
        findings.error("metadata.name", message);
    }
    if !key.namespace.is_empty() && !names::is_label(&key.namespace) {
        let message = format!("`{}` is not the name of a namespace", key.namespace);
        findings.error("metadata.namespace", message);
    }
}

/// Checks what the mesh relies on in objects of the cluster.
pub(super) fn object(kind: Kind, object: &Value, findings: &mut Findings) {
    match kind {
        Kind::Service => service(object, findings),
        Kind::Deployment | Kind::ReplicaSet => workload(object, findings),
        _ => {}
    }
}

fn service(object: &Value, findings: &mut Findings) {
    let none = Vec::new();
    let ports = object.pointer("/spec/ports").and_then(Value::as_array).unwrap_or(&none);
    let headless = object.pointer("/spec/clusterIP").is_some_and(|address| address == "None");
    let external = object.pointer("/spec/type").is_some_and(|kind| kind == "ExternalName");
    if ports.is_empty() && !headless && !external {
        findings.error("spec.ports", "the service has no port; name at least one");
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let place = item("spec.ports", index);
        let text = |name: &str| port[name].as_str().unwrap_or_default();
        let name = text("name");
        let protocol = match text("protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        match port.get("port").and_then(Value::as_u64) {
            None => findings.error(format!("{place}.port"), "the port has no number"),
            Some(number) if !numbers.insert((number, protocol)) => {
                findings.error(format!("{place}.port"), format!("port {number} is given twice"));
            }
            Some(_) => {}
        }
        if ports.len() > 1 && name.is_empty() {
            findings.error(
                format!("{place}.name"),
                "the port has no name; with several ports each needs one",
            );
        }
        if !name.is_empty() && !names.insert(name) {
            findings.error(format!("{place}.name"), format!("`{name}` names two ports"));
        }
    }
}

/// A selector that does not select the template's own pods would make pods without end.
fn workload(object: &Value, findings: &mut Findings) {
    let none = serde_json::Map::new();
    let labels = |pointer: &str| object.pointer(pointer).and_then(Value::as_object);
    let own = labels("/spec/template/metadata/labels").unwrap_or(&none);
    for (key, value) in labels("/spec/selector/matchLabels").into_iter().flatten() {
        if own.get(key) != Some(value) {
            let wanted = format!("{key}={}", value.as_str().unwrap_or_default());
            let message = format!("the pods of the template do not have the label {wanted}");
            findings.error("spec.selector.matchLabels", message);
        }
    }
    let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    if containers.is_none_or(Vec::is_empty) {
        let message = "the pods have no container; name at least one";
        findings.error("spec.template.spec.containers", message);
    }
}

//! Service → EndpointSlices: which pods stand behind it, on which ports.
//!
//! Pods whose named ports lead to different numbers come into different slices.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weft_api::selector;

use crate::{
    object::{self, items},
    pods, template,
    write::Write,
};

/// The label that leads from a slice to its Service.
pub const OF_SERVICE: &str = "kubernetes.io/service-name";

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What the slices of a Service are to become.
///
/// `pods` and `slices` are those of its namespace.
pub fn step(service: &Value, pods: &[&Value], slices: &[&Value]) -> Vec<Write> {
    let own: Vec<&Value> = slices
        .iter()
        .copied()
        .filter(|slice| {
            object::label(slice, OF_SERVICE) == Some(object::name(service))
                && object::label(slice, MANAGED_BY) == Some(MANAGER)
        })
        .collect();
    let wanted = self::slices(service, pods);
    let mut writes = Vec::new();
    for slice in &wanted {
        match own.iter().find(|known| object::name(known) == object::name(slice)) {
            None => writes.push(Write::Create(slice.clone())),
            Some(known) => writes.extend(changed(known, slice)),
        }
    }
    for slice in own {
        if !wanted.iter().any(|one| object::name(one) == object::name(slice)) {
            writes.push(Write::Delete(slice.clone()));
        }
    }
    writes
}

fn changed(known: &Value, wanted: &Value) -> Option<Write> {
    let fields = ["endpoints", "ports"];
    let is_same = fields.iter().all(|field| known[field] == wanted[field])
        && known["metadata"]["labels"] == wanted["metadata"]["labels"];
    (!is_same).then(|| {
        let mut slice = known.clone();
        for field in fields {
            slice[field] = wanted[field].clone();
        }
        slice["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
        Write::Update(slice)
    })
}

/// Whether a Service's endpoints are found by its selector.
pub fn has_selector(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName"
        && service["spec"]["selector"].as_object().is_some_and(|labels| !labels.is_empty())
}

/// The slices of a Service in front of `pods`.
pub fn slices(service: &Value, all: &[&Value]) -> Vec<Value> {
    if !has_selector(service) || object::is_terminating(service) {
        return Vec::new();
    }
    let mut groups: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    let mut behind: Vec<&Value> = all
        .iter()
        .copied()
        .filter(|pod| object::namespace(pod) == object::namespace(service))
        .filter(|pod| selector::includes(&service["spec"]["selector"], &pod["metadata"]["labels"]))
        .filter(|pod| pod["status"]["podIP"].is_string() && !pods::is_over(pod))
        .collect();
    behind.sort_by_key(|pod| object::name(pod));
    for pod in behind {
        let ports = ports(service, pod);
        let (_, endpoints) = groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new()));
        endpoints.push(endpoint(service, pod));
    }
    if groups.is_empty() {
        // A Service with nothing behind it says so: an empty slice.
        groups.insert(String::new(), (json!([]), Vec::new()));
    }
    let many = groups.len() > 1;
    groups
        .into_values()
        .map(|(ports, endpoints)| slice(service, (ports, endpoints), many))
        .collect()
}

fn slice(service: &Value, (ports, endpoints): (Value, Vec<Value>), many: bool) -> Value {
    let name = object::name(service);
    // One slice keeps its name while pods come and go; several differ by ports.
    let of = if many { json!([name, ports]) } else { json!([name]) };
    let mut labels = service["metadata"]["labels"].clone();
    if !labels.is_object() {
        labels = json!({});
    }
    labels[OF_SERVICE] = name.into();
    labels[MANAGED_BY] = MANAGER.into();
    if service["spec"]["clusterIP"] == "None" {
        labels[HEADLESS] = "".into();
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-{}", template::text(&of, 0, 5)),
            "generateName": format!("{name}-"),
            "namespace": object::namespace(service), "labels": labels,
            "ownerReferences": [object::controller_reference(service)],
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

/// The ports of a Service as numbers of one pod; a name that the pod lacks is left out.
fn ports(service: &Value, pod: &Value) -> Value {
    let found = items(&service["spec"]["ports"]).filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = match &port["targetPort"] {
            Value::String(name) => named_port(pod, name, protocol)?,
            Value::Number(number) => number.as_u64()?,
            _ => port["port"].as_u64()?,
        };
        let mut one = json!({
            "name": port["name"].as_str().unwrap_or_default(), "port": number, "protocol": protocol,
        });
        if port["appProtocol"].is_string() {
            one["appProtocol"] = port["appProtocol"].clone();
        }
        Some(one)
    });
    found.collect()
}

fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<u64> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let containers = items(&pod["spec"]["containers"]).chain(
        items(&pod["spec"]["initContainers"]).filter(|one| one["restartPolicy"] == "Always"),
    );
    containers
        .flat_map(|container| items(&container["ports"]))
        .find(|port| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol)
        .and_then(|port| port["containerPort"].as_u64())
}

fn endpoint(service: &Value, pod: &Value) -> Value {
    let serving = object::is_true(pod, "Ready");
    let terminating = object::is_terminating(pod);
    let published = service["spec"]["publishNotReadyAddresses"] == true;
    let mut endpoint = json!({
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": published || (serving && !terminating),
            "serving": serving, "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod),
            "uid": object::uid(pod),
        },
    });
    if pod["spec"]["nodeName"].is_string() {
        endpoint["nodeName"] = pod["spec"]["nodeName"].clone();
    }
    let hostname = pod["spec"]["hostname"].as_str();
    if let Some(hostname) = hostname.filter(|_| pod["spec"]["subdomain"] == object::name(service)) {
        endpoint["hostname"] = hostname.into();
    }
    endpoint
}

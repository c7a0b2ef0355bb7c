//! Service → Endpoints, and Endpoints of Services without selector → EndpointSlices.
//!
//! Endpoints are what came before EndpointSlices: people still look at them, and
//! write them for servers outside the cluster.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    object::{self, items},
    service::{self, OF_SERVICE},
    template,
    write::Write,
};

const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// What the Endpoints of a Service, and the slices made from them, are to become.
///
/// `known` are the Endpoints of its name; `slices` those of its namespace.
pub fn step(
    service: &Value,
    pods: &[&Value],
    known: Option<&Value>,
    slices: &[&Value],
) -> Vec<Write> {
    if object::is_terminating(service) {
        return Vec::new();
    }
    if service::has_selector(service) {
        let mut writes = mirror(service, None, slices);
        writes.extend(write(known, endpoints(service, pods), "subsets"));
        return writes;
    }
    mirror(service, known, slices)
}

/// The Endpoints of a Service that selects its pods.
fn endpoints(service: &Value, pods: &[&Value]) -> Value {
    let subsets: Vec<Value> = service::slices(service, pods).iter().filter_map(subset).collect();
    let mut labels = service["metadata"]["labels"].clone();
    if !labels.is_object() {
        labels = json!({});
    }
    labels[MANAGED_BY] = MANAGER.into();
    labels[SKIP] = "true".into();
    let mut endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {
        "name": object::name(service), "namespace": object::namespace(service), "labels": labels,
    }});
    if !subsets.is_empty() {
        endpoints["subsets"] = subsets.into();
    }
    endpoints
}

fn subset(slice: &Value) -> Option<Value> {
    let (mut ready, mut others) = (Vec::new(), Vec::new());
    for endpoint in items(&slice["endpoints"]) {
        if endpoint["conditions"]["terminating"] == true {
            continue;
        }
        let list = if endpoint["conditions"]["ready"] == true { &mut ready } else { &mut others };
        for address in items(&endpoint["addresses"]) {
            let mut one = json!({"ip": address, "targetRef": endpoint["targetRef"]});
            for field in ["nodeName", "hostname"] {
                if endpoint[field].is_string() {
                    one[field] = endpoint[field].clone();
                }
            }
            list.push(one);
        }
    }
    let mut subset = json!({});
    for (field, list) in [("addresses", ready), ("notReadyAddresses", others)] {
        if !list.is_empty() {
            subset[field] = list.into();
        }
    }
    let ports: Vec<Value> = items(&slice["ports"]).map(without_empty_name).collect();
    if !ports.is_empty() {
        subset["ports"] = ports.into();
    }
    let has_addresses = subset["addresses"].is_array() || subset["notReadyAddresses"].is_array();
    has_addresses.then_some(subset)
}

fn without_empty_name(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"] == "" {
        port.as_object_mut().map(|port| port.remove("name"));
    }
    port
}

/// Makes the slices of a Service without selector as its Endpoints are.
fn mirror(service: &Value, endpoints: Option<&Value>, slices: &[&Value]) -> Vec<Write> {
    let own = slices.iter().copied().filter(|slice| {
        object::label(slice, OF_SERVICE) == Some(object::name(service))
            && object::label(slice, SLICE_MANAGED_BY) == Some(MIRROR)
    });
    let mut own: BTreeMap<&str, &Value> = own.map(|slice| (object::name(slice), slice)).collect();
    let mirrored = endpoints.filter(|one| object::label(one, SKIP) != Some("true"));
    let mut writes = Vec::new();
    for (index, subset) in mirrored.iter().flat_map(|one| items(&one["subsets"])).enumerate() {
        let wanted = slice(mirrored.unwrap_or(&Value::Null), (index, subset));
        let known = own.remove(object::name(&wanted));
        writes.extend(write(known, wanted, "endpoints"));
    }
    writes.extend(own.into_values().map(|slice| Write::Delete(slice.clone())));
    writes
}

fn slice(endpoints: &Value, (index, subset): (usize, &Value)) -> Value {
    let name = object::name(endpoints);
    let endpoint = |address: &Value, ready: bool| {
        let mut one = json!({
            "addresses": [address["ip"]], "conditions": {"ready": ready, "serving": ready, "terminating": false},
        });
        for field in ["hostname", "nodeName", "targetRef"] {
            if !address[field].is_null() {
                one[field] = address[field].clone();
            }
        }
        one
    };
    let ready = items(&subset["addresses"]).map(|address| endpoint(address, true));
    let others = items(&subset["notReadyAddresses"]).map(|address| endpoint(address, false));
    let ports = items(&subset["ports"]).map(|port| {
        let mut port = port.clone();
        if port["name"].is_null() {
            port["name"] = "".into();
        }
        if port["protocol"].is_null() {
            port["protocol"] = "TCP".into();
        }
        port
    });
    let mut reference = object::controller_reference(endpoints);
    reference["apiVersion"] = "v1".into();
    reference["kind"] = "Endpoints".into();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{name}-{}", template::text(&json!(["mirror", name, index]), 0, 5)),
            "namespace": object::namespace(endpoints),
            "labels": {OF_SERVICE: name, SLICE_MANAGED_BY: MIRROR},
            "ownerReferences": [reference],
        },
        "endpoints": ready.chain(others).collect::<Vec<_>>(),
        "ports": ports.collect::<Vec<_>>(),
    })
}

/// The write that makes `known` what is wanted, if any is needed.
fn write(known: Option<&Value>, wanted: Value, content: &str) -> Option<Write> {
    let Some(known) = known else { return Some(Write::Create(wanted)) };
    let is_same = known[content] == wanted[content]
        && known["ports"] == wanted["ports"]
        && known["metadata"]["labels"] == wanted["metadata"]["labels"];
    (!is_same).then(|| {
        let mut new = known.clone();
        for field in [content, "ports"] {
            match wanted.get(field) {
                Some(value) => new[field] = value.clone(),
                None => {
                    new.as_object_mut().map(|new| new.remove(field));
                }
            }
        }
        new["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
        Write::Update(new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(selector: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n", "uid": "s"},
               "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}})
    }

    fn pod(name: &str, address: &str, ready: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}},
               "status": {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn a_service_with_selector_has_endpoints() {
        let (one, two) = (pod("a", "10.244.0.2", "True"), pod("b", "10.244.0.3", "False"));
        let service = service(json!({"app": "web"}));
        let writes = step(&service, &[&one, &two], None, &[]);
        let [Write::Create(made)] = writes.as_slice() else { panic!("{writes:?}") };
        let subset = &made["subsets"][0];
        assert_eq!(subset["addresses"][0]["ip"], "10.244.0.2");
        assert_eq!(subset["notReadyAddresses"][0]["ip"], "10.244.0.3");
        assert_eq!(subset["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
        assert_eq!(step(&service, &[&one, &two], Some(made), &[]), []);
        let writes = step(&service, &[], Some(made), &[]);
        assert!(matches!(writes.as_slice(), [Write::Update(new)] if new["subsets"].is_null()));
    }

    #[test]
    fn endpoints_without_selector_become_slices() {
        let service = service(Value::Null);
        let known = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "n", "uid": "e"},
            "subsets": [{"addresses": [{"ip": "10.244.0.1"}], "ports": [{"name": "http", "port": 8080}]}]});
        let writes = step(&service, &[], Some(&known), &[]);
        let [Write::Create(made)] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!(object::label(made, OF_SERVICE), Some("web"));
        assert_eq!(made["endpoints"][0]["addresses"], json!(["10.244.0.1"]));
        assert_eq!(made["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
        assert_eq!(step(&service, &[], Some(&known), &[made]), []);
        assert_eq!(step(&service, &[], None, &[made]), [Write::Delete(made.clone())]);
    }
}

//! Services, Endpoints and EndpointSlices as rows.

use serde_json::Value;
use weft_controllers::object::items;

use super::{aged, joined, name, pairs, text_of};

/// The columns of Services.
pub const SERVICE: &str = "Name, Type, Cluster-IP, External-IP, Port(s), Age, +Selector";

/// The columns of EndpointSlices.
pub const SLICE: &str = "Name, AddressType, Ports, Endpoints, Age";

/// The columns of Endpoints.
pub const ENDPOINTS: &str = "Name, Endpoints, Age";

/// Endpoints of which the address is shown.
const SHOWN: usize = 3;

/// The cells of Endpoints.
pub fn endpoints(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let all: Vec<String> = items(&object["subsets"])
        .flat_map(|subset| {
            items(&subset["addresses"]).flat_map(move |address| {
                let ip = address["ip"].as_str().unwrap_or_default();
                let ports =
                    items(&subset["ports"]).map(move |port| format!("{ip}:{}", port["port"]));
                let alone = items(&subset["ports"]).next().is_none().then(|| ip.to_owned());
                ports.chain(alone)
            })
        })
        .collect();
    let mut text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if all.len() > SHOWN {
        text.push_str(&format!(" + {} more...", all.len() - SHOWN));
    }
    let text = if text.is_empty() { "<none>".to_owned() } else { text };
    vec![name(object), text.into(), aged(object, now)]
}

/// The cells of a Service.
pub fn service(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let address = match spec["clusterIP"].as_str() {
        Some(address) if !address.is_empty() => address.into(),
        _ => "<none>".into(),
    };
    let ports = items(&spec["ports"]).map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        match port["nodePort"].as_u64() {
            Some(node @ 1..) => format!("{}:{node}/{protocol}", port["port"]),
            _ => format!("{}/{protocol}", port["port"]),
        }
    });
    vec![
        name(object),
        text_of(&spec["type"]),
        address,
        outside(object),
        joined(ports, "<none>"),
        aged(object, now),
        pairs(&spec["selector"]),
    ]
}

fn outside(object: &Value) -> Value {
    let spec = &object["spec"];
    let mut addresses: Vec<String> = items(&object["status"]["loadBalancer"]["ingress"])
        .filter_map(|one| one["ip"].as_str().or(one["hostname"].as_str()))
        .map(str::to_owned)
        .collect();
    addresses.extend(items(&spec["externalIPs"]).filter_map(Value::as_str).map(str::to_owned));
    match spec["type"].as_str() {
        Some("ExternalName") => spec["externalName"].clone(),
        Some("LoadBalancer") => joined(addresses, "<pending>"),
        _ => joined(addresses, "<none>"),
    }
}

/// The cells of an EndpointSlice.
pub fn slice(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let ports = items(&object["ports"]).map(|port| port["port"].to_string());
    let addresses = items(&object["endpoints"])
        .flat_map(|endpoint| items(&endpoint["addresses"]))
        .filter_map(Value::as_str)
        .map(str::to_owned);
    vec![
        name(object),
        text_of(&object["addressType"]),
        joined(ports, "<unset>"),
        joined(addresses, "<unset>"),
        aged(object, now),
    ]
}

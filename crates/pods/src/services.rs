//! Services and their endpoints, read from the API's objects.
//!
//! Pure readers; what is done with them (addresses, names, host ports) is
//! decided elsewhere.

use std::{net::Ipv4Addr, sync::Arc};

use serde_json::Value;

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service, as far as the node cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) kind: ServiceKind,
    pub(crate) ports: Vec<Port>,
}

/// How a Service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceKind {
    /// By an address of its own.
    Address(Ipv4Addr),
    /// By its endpoints' addresses.
    Headless,
    /// By another name.
    Alias(String),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) number: u16,
}

/// What is spoken below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// One endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: Ipv4Addr,
    pub(crate) hostname: Option<String>,
    pub(crate) fitness: Fitness,
    /// The name of the Service's port, and the number on the endpoint; all endpoints of a
    /// slice share them.
    pub(crate) ports: Arc<[Port]>,
}

/// Whether an endpoint is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// It is.
    Ready,
    /// It is ending but still serves: when there is no better.
    Serving,
    /// It is not.
    Unfit,
}

/// Reads a Service.
pub(crate) fn service(object: &Value) -> Service {
    let spec = &object["spec"];
    let kind = match (spec["type"].as_str(), spec["clusterIP"].as_str()) {
        (Some("ExternalName"), _) => ServiceKind::Alias(text(&spec["externalName"])),
        (_, address) => match address.and_then(|address| address.parse().ok()) {
            Some(address) => ServiceKind::Address(address),
            None => ServiceKind::Headless,
        },
    };
    Service {
        namespace: text(&object["metadata"]["namespace"]),
        name: text(&object["metadata"]["name"]),
        kind,
        ports: each(&spec["ports"]).filter_map(port).collect(),
    }
}

/// The name of the Service that a slice belongs to.
pub(crate) fn owner(slice: &Value) -> Option<&str> {
    slice["metadata"]["labels"][SERVICE_NAME].as_str()
}

/// Reads the endpoints of a slice.
pub(crate) fn endpoints(slice: &Value) -> Vec<Endpoint> {
    let ports: Arc<[Port]> = each(&slice["ports"]).filter_map(port).collect();
    let mut found = Vec::new();
    for endpoint in each(&slice["endpoints"]) {
        let conditions = &endpoint["conditions"];
        // What a condition does not say counts as said (discovery.k8s.io/v1).
        let holds = |name: &str, unsaid: bool| conditions[name].as_bool().unwrap_or(unsaid);
        let fitness = match (holds("ready", true), holds("terminating", false)) {
            (true, _) => Fitness::Ready,
            (false, true) if holds("serving", false) => Fitness::Serving,
            _ => Fitness::Unfit,
        };
        let hostname = endpoint["hostname"].as_str().map(str::to_owned);
        let addresses = each(&endpoint["addresses"]).filter_map(|one| one.as_str()?.parse().ok());
        found.extend(addresses.map(|address| Endpoint {
            address,
            hostname: hostname.clone(),
            fitness,
            ports: Arc::clone(&ports),
        }));
    }
    found
}

/// The endpoints to use: those that are ready, else those that still serve.
pub(crate) fn usable(endpoints: &[Endpoint]) -> Vec<&Endpoint> {
    let of = |fitness| endpoints.iter().filter(move |one| one.fitness == fitness);
    let ready: Vec<&Endpoint> = of(Fitness::Ready).collect();
    match ready.is_empty() {
        true => of(Fitness::Serving).collect(),
        false => ready,
    }
}

fn port(value: &Value) -> Option<Port> {
    let number = value["port"].as_u64().and_then(|number| u16::try_from(number).ok())?;
    let protocol = match value["protocol"].as_str() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some(_) => return None,
    };
    Some(Port { name: text(&value["name"]), protocol, number })
}

fn each(list: &Value) -> std::slice::Iter<'_, Value> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_endpoints_of_a_slice_share_its_ports() {
        let found = endpoints(&json!({
            "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
            "endpoints": [{"addresses": ["10.244.0.2", "10.244.0.3"]}, {"addresses": ["10.244.0.4"]}],
        }));
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|one| Arc::ptr_eq(&one.ports, &found[0].ports)));
    }
}

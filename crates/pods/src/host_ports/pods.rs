//! Which Services want ports of the host, and which pods stand behind them.
//!
//! Pure readers of the API's objects.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_api::selector::selects;

use crate::spec::{Container, Pod, port_number};

/// Pods with this annotation, set to `"true"`, take their listening sockets from
/// the node, so that nothing is relayed to them.
pub(crate) const TAKES_SOCKETS: &str = "weft.internal/host-sockets";

/// A Service of type LoadBalancer or NodePort.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Balanced {
    selector: BTreeMap<String, String>,
    /// Its TCP ports, or the first of them.
    pub(crate) ports: Vec<BalancedPort>,
    /// How many it has.
    all: usize,
}

/// Ports of a Service that are bound at most: as many as an EndpointSlice has.
const MOST_OF_SERVICE: usize = 100;

/// A port of such a Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BalancedPort {
    /// Its number.
    pub(crate) number: u16,
    /// The port of the host that it should have.
    pub(crate) host: u16,
    /// What it is on the pod.
    target: Value,
}

/// Reads a Service, if it wants ports of the host.
pub(crate) fn balanced(object: &Value) -> Option<Balanced> {
    let spec = &object["spec"];
    let is_node_port = spec["type"] == "NodePort";
    if spec["type"] != "LoadBalancer" && !is_node_port {
        return None;
    }
    let selector = spec["selector"].as_object().into_iter().flatten();
    let selector = selector.map(|(key, value)| (key.clone(), text(value))).collect();
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports = ports
        .filter(|port| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|port| {
            let number = u16::try_from(port["port"].as_u64()?).ok()?;
            let target = match &port["targetPort"] {
                Value::Null => Value::from(number),
                target => target.clone(),
            };
            let host = match is_node_port {
                true => u16::try_from(port["nodePort"].as_u64()?).ok()?,
                false => number,
            };
            Some(BalancedPort { number, host, target })
        });
    let mut ports: Vec<BalancedPort> = ports.collect();
    let all = ports.len();
    ports.truncate(MOST_OF_SERVICE);
    Some(Balanced { selector, ports, all })
}

impl Balanced {
    /// Whether the Service selects a pod.
    pub(crate) fn selects(&self, pod: &Pod) -> bool {
        let labels = &pod.metadata.labels;
        !self.selector.is_empty() && selects(&self.selector, labels)
    }

    /// Says that some of its ports are not bound.
    pub(crate) fn left_out(&self) -> Option<String> {
        let (some, all) = (self.ports.len(), self.all);
        (some < all).then(|| format!("only the first {some} of its {all} ports are on the host"))
    }

    /// The Service's port that leads to this port of the pod.
    pub(crate) fn port_for(&self, pod: &Pod, wanted: u16) -> Option<&BalancedPort> {
        let all = pod.spec.containers.iter().chain(&pod.spec.init_containers);
        let containers: Vec<&Container> = all.collect();
        let leads = |target: &Value| {
            containers.iter().any(|container| port_number(target, container) == Some(wanted))
        };
        self.ports.iter().find(|port| leads(&port.target))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"labels": {"istio": "ingressgateway", "pod": "x"}},
            "spec": {"containers": [{"ports": [{"name": "tls", "containerPort": 8443}]}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pods_port_is_found_by_number_and_by_name() {
        let service = balanced(&json!({"spec": {
            "type": "LoadBalancer",
            "selector": {"istio": "ingressgateway"},
            "ports": [
                {"port": 80, "targetPort": 8080},
                {"port": 443, "targetPort": "tls"},
                {"port": 15021},
                {"port": 53, "protocol": "UDP"},
            ],
        }}))
        .unwrap();
        assert!(service.selects(&gateway()));
        for (wanted, expected) in
            [(8080, Some(80)), (8443, Some(443)), (15021, Some(15021)), (9, None)]
        {
            let found = service.port_for(&gateway(), wanted).map(|port| port.number);
            assert_eq!(found, expected);
        }
        assert_eq!(service.ports.len(), 3);
    }

    #[test]
    fn a_node_port_is_the_port_of_the_host() {
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
        let service = balanced(&json!({"spec": spec})).unwrap();
        assert_eq!((service.ports[0].number, service.ports[0].host), (80, 30080));
    }

    #[test]
    fn a_service_has_no_more_ports_on_the_host_than_an_endpoint_slice_has() {
        let ports: Vec<Value> = (1..=800).map(|port| json!({"port": port})).collect();
        let service = balanced(&json!({"spec": {"type": "LoadBalancer", "ports": ports}})).unwrap();
        assert_eq!(service.ports.len(), 100);
        let text = service.left_out().unwrap();
        assert_eq!(text, "only the first 100 of its 800 ports are on the host");
    }

    #[test]
    fn other_services_want_nothing_of_the_host() {
        assert_eq!(balanced(&json!({"spec": {"type": "ClusterIP"}})), None);
        let selectorless = balanced(&json!({"spec": {"type": "LoadBalancer"}})).unwrap();
        assert!(!selectorless.selects(&gateway()));
    }
}

//! What a proxy runs itself. The words sidecar and gateway end here: what comes
//! out is listeners.

mod gateway;
mod sidecar;

pub(crate) use gateway::{
    COVERED, Conflict, FURTHER, HOST, Limited, NAMES, PORTS, PodPorts, READ, Rival, Served, TIMES,
    anywhere, bound, gateway, hosts_of, limited, redirects, served,
};
pub(crate) use sidecar::sidecar;

use weft_api::kubernetes::{ContainerPort, Pod, PortRef, ServicePort};

/// Ports of a proxy itself: admin, capture, tunnels, merged metrics, readiness, DNS and
/// metrics, on whatever address. A listener on one of them could never be opened.
const RESERVED: [u16; 8] = [15000, 15001, 15006, 15008, 15020, 15021, 15053, 15090];

/// Whether proxies use `port` of their pods themselves.
pub(crate) fn is_reserved(port: u16) -> bool {
    RESERVED.contains(&port)
}

/// The port of `pod` that connections to `port` of a service arrive at.
pub(crate) fn target_port(port: &ServicePort, pod: Option<&Pod>) -> Option<u16> {
    match &port.target_port {
        None | Some(PortRef::Number(0)) => Some(port.port),
        Some(PortRef::Number(number)) => Some(*number),
        Some(PortRef::Name(name)) => {
            let mut ports = ports(pod?);
            ports.find(|known| known.name == *name).map(|known| known.container_port)
        }
    }
}

/// The names of the ports of a pod.
pub(crate) fn port_names(pod: &Pod) -> impl Iterator<Item = &str> {
    ports(pod).map(|port| port.name.as_str())
}

fn ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    containers.flat_map(|container| &container.ports)
}

//! Services, and how they lead to pods.

use std::net::SocketAddr;

use weft_api::{
    Key, Kind, Object,
    kubernetes::{EndpointSlice, Pod, PortRef, Service, ServicePort},
    selector,
};

use super::{World, as_service};

impl World {
    /// The Service called `name`.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        let key = Key::new(Kind::Service, namespace, name);
        match self.translator.object(&key).map(|object| &**object) {
            Some(Object::Service(service)) => Some(service),
            _ => None,
        }
    }

    /// The EndpointSlices of a Service.
    pub(crate) fn slices(&self, service: &Service) -> impl Iterator<Item = &EndpointSlice> {
        let own = &service.metadata;
        let slices = self.index.slices.get(&(own.namespace.clone(), own.name.clone()));
        slices.into_iter().flatten().filter_map(|object| match &**object {
            Object::EndpointSlice(slice) => Some(slice),
            _ => None,
        })
    }

    /// Where the kernel sends a connection to `address`: an endpoint when it is a
    /// Service's, else the address itself.
    pub(crate) fn behind(&self, address: SocketAddr) -> Option<SocketAddr> {
        let Some(service) = self.service_at(address.ip()) else { return Some(address) };
        let port = service.spec.ports.iter().find(|port| port.port == address.port())?;
        self.slices(service).find_map(|slice| {
            let target = slice.ports.iter().find(|target| target.name == port.name)?;
            let ready =
                slice.endpoints.iter().find(|endpoint| endpoint.conditions.ready != Some(false))?;
            let ip = ready.addresses.first()?.parse().ok()?;
            Some(SocketAddr::new(ip, target.port))
        })
    }

    /// The pod's port behind `port` of the Services that select the pod, else the
    /// same number.
    pub(crate) fn container_port(&self, pod: &Pod, port: u16) -> u16 {
        self.port_behind(pod, port).unwrap_or(port)
    }

    /// The pod's port behind `port` of the Services that select the pod.
    pub(crate) fn port_behind(&self, pod: &Pod, port: u16) -> Option<u16> {
        let mut ports = self.selecting(pod).flat_map(|service| &service.spec.ports);
        let own = ports.find(|own| own.port == port)?;
        Some(target(pod, own))
    }

    /// The Service and its port that lead to `port` of the pod.
    pub(crate) fn port_before(&self, pod: &Pod, port: u16) -> Option<(&Service, u16)> {
        self.selecting(pod).find_map(|service| {
            let leads = |own: &&ServicePort| target(pod, own) == port;
            Some((service, service.spec.ports.iter().find(leads)?.port))
        })
    }

    /// The Services that select a pod.
    fn selecting(&self, pod: &Pod) -> impl Iterator<Item = &Service> {
        let services = self.index.selecting.get(&pod.metadata.namespace);
        let services = services.into_iter().flatten().filter_map(|object| as_service(object));
        services.filter(|service| selects(service, pod))
    }
}

/// Whether a Service selects a pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = &service.spec.selector;
    service.metadata.namespace == pod.metadata.namespace
        && !selector.is_empty()
        && selector::selects(selector, &pod.metadata.labels)
}

/// The pod's port that a Service's port leads to.
fn target(pod: &Pod, port: &ServicePort) -> u16 {
    match &port.target_port {
        Some(PortRef::Number(number)) if *number != 0 => *number,
        Some(PortRef::Name(name)) => {
            let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
            let mut ports = containers.flat_map(|container| &container.ports);
            ports.find(|own| own.name == *name).map_or(port.port, |own| own.container_port)
        }
        _ => port.port,
    }
}

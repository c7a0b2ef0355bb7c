//! Services and their endpoints as the store has them now: for names, for the
//! router's rules, and for the host's ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use serde_json::Value;
use weft_api::host_ports::HostPort;
use weft_apiserver::Resource;

use crate::{
    dns::Directory,
    host_ports::{Balanced, BalancedPort, Key, Relayed, TAKES_SOCKETS, balanced, shown},
    network::PodNetworks,
    pod_store::PodStore,
    services::{Endpoint, Service, ServiceKind, endpoints, owner, service, usable},
    spec::Pod,
};

/// Reads Services; clones are the same.
#[derive(Clone)]
pub(crate) struct ServiceView {
    store: PodStore,
    networks: Arc<PodNetworks>,
}

impl ServiceView {
    pub(crate) fn new(store: PodStore, networks: Arc<PodNetworks>) -> Self {
        Self { store, networks }
    }

    pub(crate) fn store(&self) -> &PodStore {
        &self.store
    }

    pub(crate) fn networks(&self) -> &PodNetworks {
        &self.networks
    }

    /// Every Service and its endpoints.
    pub(crate) fn pairs(&self) -> Vec<(Service, Vec<Endpoint>)> {
        let mut all: BTreeMap<(String, String), Vec<Endpoint>> = BTreeMap::new();
        if let Some(slices) = self.slices() {
            for slice in self.store.all().list(&slices, None).items {
                if let Some(name) = owner(&slice) {
                    let namespace = slice["metadata"]["namespace"].as_str().unwrap_or_default();
                    let key = (namespace.to_owned(), name.to_owned());
                    all.entry(key).or_default().extend(endpoints(&slice));
                }
            }
        }
        let services = self.store.all().resource("", "services");
        let services = services.map(|services| self.store.all().list(&services, None).items);
        let services = services.into_iter().flatten().map(|object| service(&object));
        services
            .map(|service| {
                let key = (service.namespace.clone(), service.name.clone());
                let endpoints = all.remove(&key).unwrap_or_default();
                (service, endpoints)
            })
            .collect()
    }

    /// Ports of Services that are to be relayed to, and their address.
    /// `pods` are those that run.
    pub(crate) fn relayed_ports(&self, pods: &[Arc<Pod>]) -> Relayed {
        let takes = |pod: &Pod| {
            pod.metadata.annotations.get(TAKES_SOCKETS).is_some_and(|value| value == "true")
        };
        let (mut ports, mut left_out) = (BTreeMap::new(), BTreeSet::new());
        for (service, balanced) in self.balanced() {
            let ServiceKind::Address(address) = service.kind else { continue };
            let behind = |pod: &&Arc<Pod>| {
                pod.metadata.namespace == service.namespace && balanced.selects(pod)
            };
            let lends = pods.iter().filter(behind).any(|pod| takes(pod));
            let found = self.endpoints(&service.namespace, &service.name);
            if lends || usable(&found).is_empty() {
                continue;
            }
            for port in &balanced.ports {
                ports.insert(key(&service, port), address);
            }
            left_out.extend(
                balanced
                    .left_out()
                    .map(|text| format!("Service {}/{}: {text}", service.namespace, service.name)),
            );
        }
        Relayed { ports, left_out }
    }

    /// The port of a Service on the host that stands for this port of the pod.
    pub(crate) fn port_of(&self, pod: &Pod, wanted: u16) -> Option<Key> {
        self.balanced().into_iter().find_map(|(service, balanced)| {
            let own = service.namespace == pod.metadata.namespace && balanced.selects(pod);
            let port = balanced.port_for(pod, wanted).filter(|_| own)?;
            Some(key(&service, port))
        })
    }

    /// Shows on a Service where it is reached on the host.
    pub(crate) fn show_ingress(&self, namespace: &str, name: &str, ports: &[HostPort]) {
        let Some(services) = self.store.all().resource("", "services") else { return };
        let Some(current) = self.store.all().get(&services, namespace, name) else { return };
        let shown = shown(&current, ports);
        // The annotation belongs to the object and the rest to its status. Who
        // writes at the same time wins: the change brings this here again.
        let written = self.store.all().update(&services, shown.clone()).and_then(|_| {
            let mut shown = shown;
            shown["metadata"]["resourceVersion"] = Value::Null;
            self.store.all().update_status(&services, shown)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "a Service's address is not shown");
        }
    }

    fn balanced(&self) -> Vec<(Service, Balanced)> {
        let Some(services) = self.store.all().resource("", "services") else { return Vec::new() };
        let list = self.store.all().list(&services, None);
        let wanted = |object: &Arc<Value>| Some((service(object), balanced(object)?));
        list.items.iter().filter_map(wanted).collect()
    }

    /// The resource of EndpointSlices.
    pub(crate) fn slices(&self) -> Option<Arc<Resource>> {
        self.store.all().resource("discovery.k8s.io", "endpointslices")
    }
}

impl Directory for ServiceView {
    fn service(&self, namespace: &str, name: &str) -> Option<Service> {
        self.store.find("", "services", namespace, name).map(|object| service(&object))
    }

    fn endpoints(&self, namespace: &str, name: &str) -> Vec<Endpoint> {
        let Some(slices) = self.slices() else { return Vec::new() };
        let list = self.store.all().list(&slices, Some(namespace));
        let own = list.items.iter().filter(|slice| owner(slice) == Some(name));
        own.flat_map(|slice| endpoints(slice)).collect()
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.store.find("", "namespaces", "", name).is_some()
    }

    fn outside(&self, name: &str) -> Option<Ipv4Addr> {
        self.networks.played_name(name)
    }
}

fn key(service: &Service, port: &BalancedPort) -> Key {
    Key {
        namespace: service.namespace.clone(),
        service: service.name.clone(),
        port: port.number,
        host: port.host,
    }
}

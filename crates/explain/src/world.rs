//! Every object, from files or from a running mesh, and where each is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde_json::Value;
use weft_api::{
    Diagnostic, Key, Kind, Object,
    host_ports::{self, HostPort},
    kubernetes::{EndpointSlice, Pod, PortRef, SERVICE_NAME_LABEL, Service, ServicePort},
};
use weft_config::Origin;
use weft_manifest::{Document, Problem};
use weft_translate::{Client, Role, Translator};

use crate::{files, files::Unlabelled, question::PodName};

/// Where the mesh's settings are kept.
const MESH_CONFIG: &str = "ConfigMap/istio-system/istio";

/// The annotation of pods into which a sidecar was injected.
const INJECTED: &str = "sidecar.istio.io/status";

/// The label of pods that speak the mesh's TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// Every object, and where each is written.
pub struct World {
    pub(crate) translator: Translator,
    written: BTreeMap<String, Document>,
    found: Vec<Diagnostic>,
    problems: Vec<Problem>,
}

impl World {
    /// The world that these documents would make in a cluster: pods run, Services
    /// have addresses, and the injector has done its work.
    pub fn of_files(documents: Vec<Document>, unlabelled: Unlabelled) -> Self {
        let (objects, found) = files::settle(&documents, unlabelled);
        let mut world = Self::of_objects(objects);
        world.found = found;
        for document in documents {
            world.problems.extend(document.problems.iter().cloned());
            let checked = document.value.as_ref().map(weft_api::check);
            if let Some(key) = checked.and_then(|checked| checked.key) {
                world.written.insert(key.to_string(), document);
            }
        }
        world
    }

    /// The world of a running mesh: the objects as its API server lists them.
    pub fn of_objects(objects: impl IntoIterator<Item = Value>) -> Self {
        let mut translator = Translator::new();
        let mut found = Vec::new();
        let mut changes = Vec::new();
        for object in objects {
            let checked = weft_api::check(&object);
            found.extend(checked.diagnostics);
            changes.extend(checked.key.map(|key| (key, checked.object)));
        }
        translator.change(changes);
        Self { translator, written: BTreeMap::new(), found, problems: Vec::new() }
    }

    /// Adds the gateway that the mesh installs, to a world of files.
    pub(crate) fn add_gateway(&mut self) {
        if self.written.is_empty() {
            return;
        }
        let checked = files::added_gateway().map(|object| weft_api::check(&object));
        let changes = checked.into_iter().filter_map(|one| Some((one.key?, one.object)));
        self.translator.change(changes);
    }

    /// Everything that is wrong with the objects, each by itself and together: a
    /// line each, with the place where it is written.
    pub fn complaints(&mut self) -> Vec<String> {
        let mut lines: BTreeSet<(Option<weft_manifest::Place>, String)> = BTreeSet::new();
        for problem in &self.problems {
            lines.insert((Some(problem.place.clone()), problem.to_string()));
        }
        let together = self.translator.diagnostics();
        for diagnostic in self.found.iter().chain(&together) {
            let document = self.written.get(&diagnostic.object.to_string());
            let place = document.and_then(|document| document.locate(&diagnostic.field));
            let line = weft_manifest::render(diagnostic, place.as_ref());
            lines.insert((place, line));
        }
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Where a rule is written.
    pub(crate) fn place(&self, origin: &Origin) -> Option<String> {
        let (object, rule) = match origin.object.as_str() {
            "MeshConfig" => (MESH_CONFIG, "data.mesh"),
            object => (object, origin.rule.as_str()),
        };
        let field = match rule {
            "" | "data.mesh" => rule.to_owned(),
            rule => format!("spec.{rule}"),
        };
        self.written.get(object)?.locate(&field).map(|place| place.to_string())
    }

    /// The pod called `name`, else the first of a workload of that name.
    pub(crate) fn pod(&self, name: &PodName) -> Option<&Pod> {
        let mut pods = self.pods().filter(|pod| pod.metadata.namespace == name.namespace);
        let named = pods.clone().find(|pod| pod.metadata.name == name.name);
        named.or_else(|| pods.find(|pod| Client::of_pod(pod).workload.name == name.name))
    }

    /// The facts of a pod's proxy. A pod that a Gateway selects and that has no
    /// sidecar is a gateway, whatever its containers are called.
    pub(crate) fn client(&self, pod: &Pod) -> Client {
        let mut client = Client::of_pod(pod);
        if !pod.metadata.annotations.contains_key(INJECTED) && self.is_selected(pod) {
            client.role = Role::Gateway;
        }
        client
    }

    /// Whether a proxy takes what comes to the pod and leaves it: its own container
    /// says so, or the label that the injector gives to pods with one.
    pub(crate) fn has_proxy(&self, pod: &Pod) -> bool {
        let spec = &pod.spec;
        let mut containers = spec.containers.iter().chain(&spec.init_containers);
        containers.any(|container| container.name == "istio-proxy")
            || pod.metadata.labels.get(TLS_MODE).is_some_and(|mode| mode == "istio")
            || self.is_selected(pod)
    }

    /// Whether some Gateway selects the pod by labels.
    pub(crate) fn is_selected(&self, pod: &Pod) -> bool {
        let labels = &pod.metadata.labels;
        self.sorted(Kind::Gateway).into_iter().any(|object| match object {
            Object::Gateway(gateway) => {
                let selector = &gateway.spec.selector;
                !selector.is_empty()
                    && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
            }
            _ => false,
        })
    }

    /// The pod with the address, if it runs.
    pub(crate) fn pod_at(&self, address: SocketAddr) -> Option<&Pod> {
        self.pods().find(|pod| pod.status.pod_ip == Some(address.ip()))
    }

    /// All pods, by name.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> + Clone {
        self.sorted(Kind::Pod).into_iter().filter_map(|object| match object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
    }

    /// All Services, by name.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> + Clone {
        self.sorted(Kind::Service).into_iter().filter_map(|object| match object {
            Object::Service(service) => Some(service),
            _ => None,
        })
    }

    /// The names of all Namespaces that are written.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        let all = self.translator.objects();
        all.filter(|(key, _)| key.kind == Kind::Namespace).map(|(key, _)| key.name.as_str())
    }

    /// The ports of Services that are reached on the machine that runs the mesh.
    pub(crate) fn host_ports(&self) -> Vec<(&Service, HostPort)> {
        let mut bound = Vec::new();
        for service in self.services() {
            let text = service.metadata.annotations.get(host_ports::ANNOTATION);
            let ports = text.map(|text| host_ports::read(text)).unwrap_or_default();
            bound.extend(ports.into_iter().map(|port| (service, port)));
        }
        bound
    }

    /// The Service called `name`.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        let key = Key::new(Kind::Service, namespace, name);
        match self.translator.object(&key).map(|object| &**object) {
            Some(Object::Service(service)) => Some(service),
            _ => None,
        }
    }

    /// The EndpointSlices of a Service.
    pub(crate) fn slices<'w>(
        &'w self,
        service: &'w Service,
    ) -> impl Iterator<Item = &'w EndpointSlice> {
        let own = &service.metadata;
        self.sorted(Kind::EndpointSlice).into_iter().filter_map(move |object| match object {
            Object::EndpointSlice(slice)
                if slice.metadata.namespace == own.namespace
                    && slice.metadata.labels.get(SERVICE_NAME_LABEL) == Some(&own.name) =>
            {
                Some(slice)
            }
            _ => None,
        })
    }

    /// Where the kernel sends a connection to `address`: an endpoint when it is a
    /// Service's, else the address itself.
    pub(crate) fn behind(&self, address: SocketAddr) -> Option<SocketAddr> {
        let of_service = |service: &&Service| service.addresses().any(|own| own == address.ip());
        let Some(service) = self.services().find(of_service) else { return Some(address) };
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
        self.services().filter(|service| selects(service, pod))
    }

    fn sorted(&self, kind: Kind) -> Vec<&Object> {
        let mut found: Vec<_> =
            self.translator.objects().filter(|(key, _)| key.kind == kind).collect();
        found.sort_by_key(|(key, _)| *key);
        found.into_iter().map(|(_, object)| &**object).collect()
    }
}

/// Whether a Service selects a pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = &service.spec.selector;
    service.metadata.namespace == pod.metadata.namespace
        && !selector.is_empty()
        && selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
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

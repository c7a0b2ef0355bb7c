//! Every object, from files or from a running mesh, and where each is written.

mod index;
mod services;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde_json::Value;
use weft_api::{
    Diagnostic, Kind, Object,
    gateway::Gateway,
    host_ports::{self, HostPort},
    kubernetes::{Pod, Service},
    selector,
};
use weft_config::Origin;
use weft_inject::Settings;
use weft_manifest::{Document, Problem, Remark};
use weft_translate::{Client, Installation, Role, Translator};

use self::index::Index;
pub(crate) use self::services::selects;
use crate::{
    explanation::Ignored,
    files::{self, Unlabelled},
    question::PodName,
    sidecar_settings::ConfigMaps,
};

/// The annotation of pods into which a sidecar was injected.
const INJECTED: &str = "sidecar.istio.io/status";

/// The label of pods that speak the mesh's TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// Every object, and where each is written.
pub struct World {
    pub(crate) translator: Translator,
    index: Index,
    pub(crate) written: BTreeMap<String, Document>,
    found: Vec<Diagnostic>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) remarks: Vec<Remark>,
    pub(crate) ignored: Vec<Ignored>,
    sidecars: Settings,
}

impl World {
    /// The world that these documents would make in a cluster: pods run, Services
    /// have addresses, and the injector has done its work.
    pub fn of_files(documents: Vec<Document>, unlabelled: Unlabelled) -> Self {
        Self::of_files_in(documents, unlabelled, Installation::default())
    }

    /// The same, of a mesh that is installed so.
    pub fn of_files_in(
        documents: Vec<Document>,
        unlabelled: Unlabelled,
        installation: Installation,
    ) -> Self {
        let files::Settled { objects, found, ignored } =
            files::settle(&documents, unlabelled, &installation);
        let mut world = Self::of_objects_in(objects, installation);
        world.found = found;
        world.ignored = ignored;
        for document in documents {
            world.problems.extend(document.problems.iter().cloned());
            world.problems.extend(weft_manifest::foreign(&document));
            world.remarks.extend(document.remarks.iter().cloned());
            if let Some(key) = document.value.as_ref().and_then(weft_api::key) {
                world.written.insert(key.to_string(), document);
            }
        }
        world
    }

    /// The world of a running mesh: the objects as its API server lists them.
    pub fn of_objects(objects: impl IntoIterator<Item = Value>) -> Self {
        Self::of_objects_in(objects, Installation::default())
    }

    /// The same, of a mesh that is installed so.
    pub fn of_objects_in(
        objects: impl IntoIterator<Item = Value>,
        installation: Installation,
    ) -> Self {
        let mut translator = Translator::with(installation);
        let (mut found, mut changes) = (Vec::new(), Vec::new());
        let mut config_maps = ConfigMaps::default();
        for object in objects {
            config_maps.note(&object, translator.installation());
            let checked = weft_api::check_whole(object);
            found.extend(checked.diagnostics);
            changes.extend(checked.key.map(|key| (key, checked.object)));
        }
        translator.change(changes);
        Self {
            index: Index::of(&translator),
            sidecars: config_maps.settings(translator.installation()),
            translator,
            written: BTreeMap::new(),
            found,
            problems: Vec::new(),
            remarks: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// Adds the gateway that the mesh installs, to a world of files.
    pub(crate) fn add_gateway(&mut self) {
        if self.written.is_empty() {
            return;
        }
        let checked =
            files::added_gateway(self.installation()).map(|object| weft_api::check(&object));
        let changes = checked.into_iter().filter_map(|one| Some((one.key?, one.object)));
        self.translator.change(changes);
        self.index = Index::of(&self.translator);
    }

    /// What the mesh's settings say of sidecars.
    pub(crate) fn sidecars(&self) -> &Settings {
        &self.sidecars
    }

    /// How the mesh is installed.
    pub(crate) fn installation(&self) -> &Installation {
        self.translator.installation()
    }

    /// Objects that decide nothing here, and would in a mesh of Istio.
    pub(crate) fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// What cannot be read at all, with its place: a line each.
    pub fn unreadable(&self) -> Vec<String> {
        self.problems.iter().map(ToString::to_string).collect()
    }

    /// What was found in the objects, each on its own and all together.
    pub(crate) fn findings(&mut self) -> Vec<Diagnostic> {
        let together = self.translator.diagnostics();
        self.found.iter().cloned().chain(together).collect()
    }

    /// Everything that is wrong with the objects, each alone and all together: a
    /// line each, with the place where it is written.
    pub fn diagnostics(&mut self) -> Vec<String> {
        self.analysis().findings.iter().map(ToString::to_string).collect()
    }

    /// Where a rule is written.
    pub(crate) fn place(&self, origin: &Origin) -> Option<String> {
        let (object, rule) = match origin.object.as_str() {
            "MeshConfig" => (self.installation().settings().to_string(), "data.mesh"),
            object => (object.to_owned(), origin.rule.as_str()),
        };
        let field = match rule {
            "" | "data.mesh" => rule.to_owned(),
            rule => format!("spec.{rule}"),
        };
        self.written.get(&object)?.locate(&field).map(|place| place.to_string())
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
        self.gateways().any(|gateway| {
            let selector = &gateway.spec.selector;
            !selector.is_empty() && selector::selects(selector, labels)
        })
    }

    /// The pod with the address, if it runs.
    pub(crate) fn pod_at(&self, address: SocketAddr) -> Option<&Pod> {
        as_pod(self.index.pods.get(&address.ip())?)
    }

    /// All pods, by name.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> + Clone {
        self.sorted(Kind::Pod).filter_map(as_pod)
    }

    /// All Services, by name.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> + Clone {
        self.sorted(Kind::Service).filter_map(as_service)
    }

    /// All Gateways, by name.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.sorted(Kind::Gateway).filter_map(|object| match object {
            Object::Gateway(gateway) => Some(gateway),
            _ => None,
        })
    }

    /// The Service with the address.
    pub(crate) fn service_at(&self, ip: IpAddr) -> Option<&Service> {
        as_service(self.index.services.get(&ip)?)
    }

    /// The names of all Namespaces that are written.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.sorted(Kind::Namespace).map(|object| object.metadata().name.as_str())
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

    fn sorted(&self, kind: Kind) -> impl Iterator<Item = &Object> + Clone {
        self.index.kinds.get(&kind).into_iter().flatten().map(|object| &**object)
    }
}

fn as_pod(object: &Object) -> Option<&Pod> {
    match object {
        Object::Pod(pod) => Some(pod),
        _ => None,
    }
}

fn as_service(object: &Object) -> Option<&Service> {
    match object {
        Object::Service(service) => Some(service),
        _ => None,
    }
}

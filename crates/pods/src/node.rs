//! The node: every pod of the store runs here.

mod places;
mod serve;
mod streams;
mod unreadable;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::sync::watch;
use weft_apiserver::{Authority, Deletion, PodRef};

use places::Places;
pub use serve::LocalNode;

use crate::{
    endpoint_removal::{Acknowledged, EndpointRemoval},
    environment::Capacity,
    host_ports::{HostPorts, TAKES_SOCKETS},
    images::Images,
    network::PodNetworks,
    object_watch::{self, watch_objects},
    pod::{self, ObservedPod, Presence, Sandbox},
    pod_store::PodStore,
    runtime::Runtime,
    spec::Pod,
};

/// The name of the only node.
pub const NODE_NAME: &str = "weft";

/// What the program decides about the node.
pub struct Settings {
    /// Which commands stand for which images.
    pub images: Images,
    /// Programs that are run, instead of the host's, in some containers.
    pub tools: Vec<Tool>,
    /// Where containers look for programs.
    pub path: String,
    /// The domain of the cluster's names.
    pub domain: String,
    /// Who signs service accounts' tokens.
    pub authority: Arc<Authority>,
    /// Awaited before a pod's application is ended.
    pub acknowledged: Acknowledged,
}

/// A program that `exec` finds although the host may not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// As it is called.
    pub name: String,
    /// What is run, with the arguments after it.
    pub command: Vec<String>,
    /// Containers in which it comes before the host's program of that name; in
    /// others it comes only when the host has none.
    pub first_in: Vec<String>,
}

/// Runs the pods of a store.
pub(crate) struct Node {
    services: PodServices,
    removal: EndpointRemoval,
    sandboxes: Arc<Sandboxes>,
    running: watch::Sender<HashMap<String, watch::Sender<ObservedPod>>>,
    /// The pods that wait for room.
    places: Mutex<Places>,
    /// Counts changes of ConfigMaps, Secrets and service accounts.
    objects: watch::Sender<u64>,
}

/// What the node gives every pod.
#[derive(Clone)]
pub(crate) struct PodServices {
    pub(crate) store: PodStore,
    pub(crate) networks: Arc<PodNetworks>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) host_ports: HostPorts,
    /// Changes with ConfigMaps, Secrets and service accounts.
    pub(crate) objects: watch::Receiver<u64>,
}

/// The sandboxes of the pods that run, by uid.
#[derive(Default)]
pub(crate) struct Sandboxes(Mutex<HashMap<String, Arc<Sandbox>>>);

impl Sandboxes {
    pub(crate) fn insert(&self, sandbox: &Arc<Sandbox>) {
        self.all().insert(sandbox.pod.metadata.uid.clone(), Arc::clone(sandbox));
    }

    pub(crate) fn remove(&self, sandbox: &Sandbox) {
        self.all().remove(&sandbox.pod.metadata.uid);
    }

    /// The sandbox of a pod that runs.
    pub(crate) fn of(&self, pod: &PodRef) -> Option<Arc<Sandbox>> {
        self.all().get(&pod.uid).cloned()
    }

    /// The pods that run.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.all().values().map(|sandbox| Arc::clone(&sandbox.pod)).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Sandbox>>> {
        // Only insertions and removals happen under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// A node that makes its pods with these parts.
    pub(crate) fn new(
        store: PodStore,
        networks: Arc<PodNetworks>,
        runtime: Arc<Runtime>,
        host_ports: HostPorts,
        acknowledged: Acknowledged,
    ) -> Arc<Self> {
        let (objects, changes) = watch::channel(0);
        let (running, _) = watch::channel(HashMap::new());
        let removal = EndpointRemoval::new(store.all().clone(), acknowledged);
        let services = PodServices { store, networks, runtime, host_ports, objects: changes };
        let (sandboxes, places) = (Arc::default(), Mutex::default());
        Arc::new(Self { services, removal, sandboxes, running, places, objects })
    }

    /// The sandboxes of the pods that run.
    pub(crate) fn sandboxes(&self) -> &Arc<Sandboxes> {
        &self.sandboxes
    }

    fn store(&self) -> &PodStore {
        &self.services.store
    }

    /// Runs the store's pods until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let objects = Arc::clone(&self);
        tokio::spawn(async move { objects.follow_objects().await });
        let store = self.store().clone();
        watch_objects(store.all(), store.pods(), |presence, object| self.seen(presence, object))
            .await;
    }

    /// Ends all pods in order; resolves when none is left. Those that accept on
    /// the host's ports go first, while what they lead to still answers.
    pub(crate) async fn end_all(&self) {
        self.removal.end();
        let (store, pods) = (self.store().all(), self.store().pods());
        let all = store.list(pods, None).items;
        let (gateways, others): (Vec<_>, Vec<_>) = all.iter().partition(|pod| takes_sockets(pod));
        for wave in [gateways, others] {
            for object in &wave {
                let metadata = &object["metadata"];
                let text = |field: &str| metadata[field].as_str().unwrap_or_default();
                let uid = Some(text("uid").to_owned());
                let deletion = Deletion { uid, ..Deletion::default() };
                // A pod that is gone already need not be ended.
                let _ = store.delete(pods, text("namespace"), text("name"), &deletion);
            }
            let mut running = self.running.subscribe();
            let ended = |running: &HashMap<String, _>| {
                let uid = |object: &Value| object["metadata"]["uid"].as_str().map(str::to_owned);
                wave.iter().filter_map(|object| uid(object)).all(|uid| !running.contains_key(&uid))
            };
            let _ = running.wait_for(ended).await;
        }
    }

    fn seen(self: &Arc<Self>, presence: object_watch::Existence, object: &Arc<Value>) {
        let Some(pod) = self.read(presence, object) else { return };
        let uid = pod.metadata.uid.clone();
        let presence = match (presence, &pod.metadata.deletion_timestamp) {
            (object_watch::Existence::Gone, _) => Presence::Gone,
            (_, Some(_)) => Presence::Ending,
            _ => Presence::Wanted,
        };
        let seen = ObservedPod { pod: Arc::new(pod), presence };
        if presence != Presence::Wanted {
            self.places().forget(&uid);
        }
        let (known, count) = {
            let running = self.running.borrow();
            (running.get(&uid).cloned(), running.len())
        };
        match (known, presence) {
            (Some(known), _) => {
                known.send_replace(seen);
            }
            (None, Presence::Gone) => {}
            (None, Presence::Ending) => self.store().remove(&seen.pod.metadata),
            (None, Presence::Wanted) if seen.pod.spec.node_name.is_empty() => {
                self.store().bind(object, NODE_NAME);
            }
            (None, Presence::Wanted) if is_over(object) => {}
            (None, Presence::Wanted) if self.removal.is_ending() => {}
            (None, Presence::Wanted) => match self.places().take(count, (&uid, object)) {
                true => self.start(uid, seen),
                false => {
                    self.store().record_failure(&seen.pod.metadata, "OutOfpods", &full());
                    // Another may have ended meanwhile.
                    self.start_waiting();
                }
            },
        }
    }

    fn start(self: &Arc<Self>, uid: String, seen: ObservedPod) {
        let (sender, receiver) = watch::channel(seen);
        self.running.send_modify(|running| {
            running.insert(uid.clone(), sender);
        });
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let (services, removal) = (node.services.clone(), node.removal.clone());
            pod::run((services, removal), Arc::clone(&node.sandboxes), receiver).await;
            node.running.send_modify(|running| {
                running.remove(&uid);
            });
            node.start_waiting();
        });
    }

    /// Starts a pod that waits, if there is room now.
    fn start_waiting(self: &Arc<Self>) {
        let count = self.running.borrow().len();
        let next = self.places().next(count);
        if let Some(next) = next {
            self.seen(object_watch::Existence::There, &next);
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Only insertions and removals happen under this lock.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow_objects(&self) {
        let changed =
            |_: object_watch::Existence, _: &Arc<Value>| self.objects.send_modify(|n| *n += 1);
        let store = self.store().all();
        let of = |plural: &str| store.resource("", plural);
        let (Some(maps), Some(secrets), Some(accounts)) =
            (of("configmaps"), of("secrets"), of("serviceaccounts"))
        else {
            return;
        };
        tokio::join!(
            watch_objects(store, &maps, changed),
            watch_objects(store, &secrets, changed),
            watch_objects(store, &accounts, changed),
        );
    }
}

/// The node as an object of the API.
pub(crate) fn node_object(capacity: Capacity) -> Value {
    let resources = json!({
        "cpu": capacity.cpus.to_string(),
        "memory": format!("{}Ki", capacity.memory / 1024),
        "pods": places::MOST.to_string(),
    });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NODE_NAME, "labels": {
            "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux",
        }},
        "spec": {"podCIDR": crate::network::PODS.to_string()},
        "status": {
            "capacity": resources, "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": crate::network::NODE.to_string()},
                {"type": "Hostname", "address": NODE_NAME},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {
                "kubeletVersion": "v1.33.0", "osImage": "weft", "operatingSystem": "linux",
                "architecture": std::env::consts::ARCH, "containerRuntimeVersion": "weft://1",
            },
        },
    })
}

/// Why a pod waits.
fn full() -> String {
    format!("the node runs {} pods; this one starts when another ends", places::MOST)
}

/// Whether a pod accepts on the host's ports itself.
fn takes_sockets(object: &Value) -> bool {
    object["metadata"]["annotations"][TAKES_SOCKETS] == "true"
}

fn is_over(object: &Value) -> bool {
    matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

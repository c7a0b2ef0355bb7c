//! The node: every pod of the store runs here.

mod mesh;
mod serve;
mod streams;
mod unreadable;

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use futures::future::BoxFuture;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use weft_apiserver::{Authority, Deletion, PodRef, Resource, Store};

pub(crate) use mesh::Outside;
pub use serve::LocalNode;

use crate::{
    channel::Uplink,
    enter::Users,
    environment::Capacity,
    follow::{self, follow},
    host_ports::{HostPorts, TAKES_SOCKETS},
    images::Images,
    link::HostLink,
    network::{Addresses, PodNetwork, Router},
    pod::{self, Ground, Presence, Seen},
    reaper::Reaper,
    spec::Metadata,
};

/// The name of the only node.
pub const NODE_NAME: &str = "weft";

/// Tells the mesh that a pod is ending; resolves when nobody sends to it any
/// more.
pub type Withdrawn = Arc<dyn Fn(PodRef) -> BoxFuture<'static, ()> + Send + Sync>;

/// What the program decides about the node.
pub struct Settings {
    /// Which commands stand for which images.
    pub images: Images,
    /// Programs that are run, instead of the host's, in some containers.
    pub tools: Vec<Tool>,
    /// Where containers look for programs.
    pub path: String,
    /// Who signs service accounts' tokens.
    pub authority: Arc<Authority>,
    /// Called before a pod's application is ended.
    pub withdrawn: Withdrawn,
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

/// What all pods share.
pub(crate) struct Shared {
    store: Store,
    pods: Arc<Resource>,
    settings: Settings,
    users: Users,
    /// Arguments that make this program the first process of a container.
    launcher: Vec<OsString>,
    uplink: Uplink,
    link: HostLink,
    reaper: Reaper,
    router: Router,
    host_ports: HostPorts,
    capacity: Capacity,
    addresses: Mutex<Addresses>,
    links: AtomicU32,
    grounds: Mutex<HashMap<String, Arc<Ground>>>,
    running: watch::Sender<HashMap<String, watch::Sender<Seen>>>,
    /// All pods are ending; controllers that replace them do so in vain.
    ending: AtomicBool,
    outside: Outside,
    /// Counts changes of ConfigMaps, Secrets and service accounts.
    objects: watch::Sender<u64>,
    /// Services, endpoints or pods' links have changed.
    routes: Notify,
}

/// The parts that a node is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) users: Users,
    pub(crate) launcher: Vec<OsString>,
    pub(crate) uplink: Uplink,
    pub(crate) link: HostLink,
    pub(crate) reaper: Reaper,
    pub(crate) router: Router,
    pub(crate) host_ports: HostPorts,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> io::Result<Arc<Self>> {
        let pods = parts.store.resource("", "pods");
        let pods = pods.ok_or_else(|| io::Error::other("the API server does not know pods"))?;
        let (objects, _) = watch::channel(0);
        let (running, _) = watch::channel(HashMap::new());
        Ok(Arc::new(Self {
            store: parts.store,
            pods,
            settings: parts.settings,
            users: parts.users,
            launcher: parts.launcher,
            uplink: parts.uplink,
            link: parts.link,
            reaper: parts.reaper,
            router: parts.router,
            host_ports: parts.host_ports,
            capacity: capacity(),
            addresses: Mutex::default(),
            links: AtomicU32::new(0),
            grounds: Mutex::default(),
            running,
            ending: AtomicBool::new(false),
            outside: Outside::default(),
            objects,
            routes: Notify::new(),
        }))
    }

    /// Runs the store's pods until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let store = self.store.clone();
        let pods = Arc::clone(&self.pods);
        let objects = Arc::clone(&self);
        tokio::spawn(async move { objects.follow_objects().await });
        follow(&store, &pods, |presence, object| self.seen(presence, object)).await;
    }

    /// Ends all pods in order; resolves when none is left. Those that accept on
    /// the host's ports go first, while what they lead to still answers.
    pub(crate) async fn end_all(&self) {
        self.ending.store(true, Ordering::Relaxed);
        let all = self.store.list(&self.pods, None).items;
        let (doors, others): (Vec<_>, Vec<_>) = all.iter().partition(|pod| is_door(pod));
        for wave in [doors, others] {
            for object in &wave {
                let metadata = &object["metadata"];
                let text = |field: &str| metadata[field].as_str().unwrap_or_default();
                let uid = Some(text("uid").to_owned());
                let deletion = Deletion { uid, ..Deletion::default() };
                // Who is gone already need not be ended.
                let _ = self.store.delete(&self.pods, text("namespace"), text("name"), &deletion);
            }
            let mut running = self.running.subscribe();
            let ended = |running: &HashMap<String, _>| {
                let uid = |object: &Value| object["metadata"]["uid"].as_str().map(str::to_owned);
                wave.iter().filter_map(|object| uid(object)).all(|uid| !running.contains_key(&uid))
            };
            let _ = running.wait_for(ended).await;
        }
    }

    fn seen(self: &Arc<Self>, presence: follow::Presence, object: &Arc<Value>) {
        let Some(pod) = self.read(presence, object) else { return };
        let uid = pod.metadata.uid.clone();
        let presence = match (presence, &pod.metadata.deletion_timestamp) {
            (follow::Presence::Gone, _) => Presence::Gone,
            (_, Some(_)) => Presence::Ending,
            _ => Presence::Wanted,
        };
        let seen = Seen { pod: Arc::new(pod), presence };
        let known = self.running.borrow().get(&uid).cloned();
        match (known, presence) {
            (Some(known), _) => {
                known.send_replace(seen);
            }
            (None, Presence::Gone) => {}
            (None, Presence::Ending) => self.forget(&seen.pod.metadata),
            (None, Presence::Wanted) if seen.pod.spec.node_name.is_empty() => self.bind(object),
            (None, Presence::Wanted) if is_over(object) => {}
            (None, Presence::Wanted) if self.ending.load(Ordering::Relaxed) => {}
            (None, Presence::Wanted) => self.start(uid, seen),
        }
    }

    fn start(self: &Arc<Self>, uid: String, seen: Seen) {
        let (sender, receiver) = watch::channel(seen);
        self.running.send_modify(|running| {
            running.insert(uid.clone(), sender);
        });
        let node = Arc::clone(self);
        tokio::spawn(async move {
            pod::run(Arc::clone(&node), receiver).await;
            node.running.send_modify(|running| {
                running.remove(&uid);
            });
        });
    }

    /// Schedules a pod: there is only this node.
    fn bind(&self, object: &Value) {
        let mut bound = object.clone();
        bound["spec"]["nodeName"] = NODE_NAME.into();
        if let Err(error) = self.store.update(&self.pods, bound) {
            // Somebody else was faster, and the change comes here again.
            tracing::debug!(%error, "a pod is bound later");
        }
    }

    async fn follow_objects(&self) {
        let changed = |_: follow::Presence, _: &Arc<Value>| self.objects.send_modify(|n| *n += 1);
        let of = |plural: &str| self.store.resource("", plural);
        let (Some(maps), Some(secrets), Some(accounts)) =
            (of("configmaps"), of("secrets"), of("serviceaccounts"))
        else {
            return;
        };
        tokio::join!(
            follow(&self.store, &maps, changed),
            follow(&self.store, &secrets, changed),
            follow(&self.store, &accounts, changed),
        );
    }

    /// A namespace with a link and an address.
    pub(crate) async fn connect(&self) -> io::Result<PodNetwork> {
        let address = lock(&self.addresses).take();
        let address = address.ok_or_else(|| io::Error::other("all pod addresses are taken"))?;
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let made = self.router.connect(number, address).await;
        if made.is_err() {
            lock(&self.addresses).release(address);
        }
        made
    }

    /// Removes what [`Shared::connect`] made.
    pub(crate) async fn disconnect(&self, network: PodNetwork) {
        self.free(&network).await;
    }

    async fn free(&self, network: &PodNetwork) {
        self.router.disconnect(network).await;
        lock(&self.addresses).release(network.address);
    }

    /// Lets a pod answer for addresses and names beyond the mesh.
    pub(crate) async fn play_outside(
        &self,
        network: &PodNetwork,
        metadata: &Metadata,
        ranges: &[Ipv4Net],
    ) -> io::Result<()> {
        if !ranges.is_empty() {
            self.router.play_outside(network, ranges).await?;
            let names = metadata.annotations.get(pod::OUTSIDE_NAMES);
            self.outside.add(&metadata.uid, ranges, names.map_or("", String::as_str));
            self.routes.notify_one();
        }
        Ok(())
    }

    /// The pod stands on this ground from now on.
    pub(crate) fn adopt(&self, uid: &str, ground: &Arc<Ground>) {
        lock(&self.grounds).insert(uid.to_owned(), Arc::clone(ground));
        self.routes.notify_one();
    }

    /// A pod's processes have ended: everything that it had goes.
    pub(crate) async fn release(&self, ground: &Ground) {
        let metadata = &ground.pod.metadata;
        lock(&self.grounds).remove(&metadata.uid);
        self.outside.remove(&metadata.uid);
        ground.clear();
        self.free(ground.link()).await;
        self.routes.notify_one();
        self.forget(metadata);
    }

    /// Lets the object go.
    pub(crate) fn forget(&self, metadata: &Metadata) {
        let deletion = Deletion { uid: Some(metadata.uid.clone()), ..Deletion::now() };
        // It may be gone already.
        let _ = self.store.delete(&self.pods, &metadata.namespace, &metadata.name, &deletion);
    }

    /// The pod as it is stored now, unless another has taken its name.
    pub(crate) fn stored_pod(&self, metadata: &Metadata) -> Option<Arc<Value>> {
        let found = self.store.get(&self.pods, &metadata.namespace, &metadata.name)?;
        (found["metadata"]["uid"] == metadata.uid.as_str()).then_some(found)
    }

    /// The objects of the API.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Stores a pod's status.
    pub(crate) fn store_status(&self, current: &Value, status: Value) {
        let mut object = current.clone();
        object["status"] = status;
        // Nobody else writes it.
        object["metadata"]["resourceVersion"] = Value::Null;
        if let Err(error) = self.store.update_status(&self.pods, object) {
            tracing::debug!(%error, "a pod's status is not stored");
        }
    }

    /// An object of a namespace.
    pub(crate) fn find(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        let resource = self.store.resource(group, plural)?;
        self.store.get(&resource, namespace, name)
    }

    /// Tells when ConfigMaps, Secrets or service accounts have changed.
    pub(crate) fn objects_changed(&self) -> watch::Receiver<u64> {
        self.objects.subscribe()
    }

    /// Waits until the mesh no longer sends to a pod.
    pub(crate) async fn withdrawn(&self, pod: PodRef) {
        // When everything ends there is nobody left to send elsewhere.
        if !self.ending.load(Ordering::Relaxed) {
            (self.settings.withdrawn)(pod).await;
        }
    }

    /// The ground of a pod that runs.
    pub(crate) fn ground(&self, pod: &PodRef) -> Option<Arc<Ground>> {
        lock(&self.grounds).get(&pod.uid).cloned()
    }

    /// The router's link of each pod.
    pub(crate) fn pod_links(&self) -> std::collections::BTreeMap<Ipv4Addr, String> {
        let grounds = lock(&self.grounds);
        grounds.values().map(|ground| (ground.address, ground.link().link.clone())).collect()
    }

    pub(crate) fn images(&self) -> &Images {
        &self.settings.images
    }

    pub(crate) fn path(&self) -> &str {
        &self.settings.path
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.settings.authority
    }

    pub(crate) fn users(&self) -> Users {
        self.users
    }

    pub(crate) fn launcher(&self) -> &[OsString] {
        &self.launcher
    }

    pub(crate) fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    pub(crate) fn link(&self) -> &HostLink {
        &self.link
    }

    pub(crate) fn host_ports(&self) -> &HostPorts {
        &self.host_ports
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    pub(crate) fn uplink_is_open(&self) -> bool {
        self.uplink == Uplink::Open
    }
}

/// The node as an object of the API.
pub(crate) fn node_object(capacity: Capacity) -> Value {
    let resources = json!({
        "cpu": capacity.cpus.to_string(),
        "memory": format!("{}Ki", capacity.memory / 1024),
        "pods": "1000",
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

/// What this machine has.
fn capacity() -> Capacity {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kibibytes = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    Capacity { cpus, memory: kibibytes.unwrap_or(1 << 20) * 1024 }
}

/// Whether a pod accepts on the host's ports itself.
fn is_door(object: &Value) -> bool {
    object["metadata"]["annotations"][TAKES_SOCKETS] == "true"
}

fn is_over(object: &Value) -> bool {
    matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only insertions and removals happen under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

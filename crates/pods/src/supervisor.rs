//! Process 1 of the mesh: everything that runs on the laptop runs under it.
//!
//! It puts the parts together and ends them in order. Its caller decides what the
//! API server and the mesh do.

use std::{ffi::OsString, io, net::TcpListener, sync::Arc};

use serde_json::Value;
use tokio::task::JoinSet;
use weft_apiserver::{Dial, Store};

use crate::channel::Egress;
pub use crate::enter::{EnterError, EnterOutcome, Entered, Users, enter, users};
use crate::{
    admit::raise_descriptors,
    dial::RouterDial,
    dns, egress,
    host_ports::HostPorts,
    link::{HostLink, Start, Stopping},
    network::{API, PodNetworks, Router},
    node::{LocalNode, NODE_NAME, Node, Settings, node_object},
    pod_store::PodStore,
    reaper::Reaper,
    runtime::Runtime,
    service_rules,
    service_view::ServiceView,
    thread::when_closed,
};

/// The port of the API server's Service.
const API_PORT: u16 = 443;

/// Why the node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("{step}")]
pub struct StartError {
    step: &'static str,
    source: io::Error,
}

/// A supervisor that has a network and a terminal, and no pods yet.
pub struct Prepared {
    users: Users,
    launcher: Vec<OsString>,
    link: HostLink,
    start: Start,
    reaper: Reaper,
    router: Router,
    listeners: Vec<TcpListener>,
}

/// A node that runs pods.
pub struct Running {
    node: LocalNode,
    pods: Arc<Node>,
    link: HostLink,
    tasks: JoinSet<()>,
}

/// Sets up the network and asks the terminal's process for its sockets; needs a
/// runtime. From here on this process ends, and with it everything, when the terminal's
/// is gone: a thread of its own sees to it, since the runtime can be busy.
pub async fn prepare(entered: Entered) -> Result<Prepared, StartError> {
    let step = |step| move |source| StartError { step, source };
    raise_descriptors();
    let talking = step("talking to the terminal's process");
    let socket = entered.channel.try_clone().map_err(&talking)?;
    when_closed(socket, || std::process::exit(0)).map_err(&talking)?;
    let (link, start) = HostLink::open(entered.channel).await.map_err(talking)?;
    let reaper = Reaper::start().map_err(step("watching for the end of processes"))?;
    let router = Router::start().await.map_err(step("setting up the router"))?;
    let mut listeners =
        link.listen_for_api().await.map_err(step("binding a port for the API server"))?;
    let inside = TcpListener::bind((API, API_PORT));
    listeners.push(inside.map_err(step("binding the API server's address"))?);
    let launcher = entered.arguments;
    Ok(Prepared { users: entered.users, launcher, link, start, reaper, router, listeners })
}

impl Prepared {
    /// What the terminal's process gave as settings.
    pub fn settings(&self) -> &Value {
        &self.start.settings
    }

    /// The terminal's process, to be told how far the start has come.
    pub fn link(&self) -> &HostLink {
        &self.link
    }

    /// Sockets for the API server: first the one on the host, last the one that
    /// pods reach.
    pub fn api_listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// Which users processes may run as.
    pub fn users(&self) -> Users {
        self.users
    }

    /// How Services are reached from this process.
    pub fn dial(&self, store: &Store) -> Arc<dyn Dial> {
        Arc::new(RouterDial::new(store.clone()))
    }

    /// Starts to run the pods in `store`.
    pub async fn start(self, store: Store, settings: Settings) -> Result<Running, StartError> {
        let step = |step| move |source| StartError { step, source };
        let (host_ports, ports) = HostPorts::new();
        let egress = match self.start.egress {
            Egress::Open => Some(
                egress::serve(self.link.clone())
                    .await
                    .map_err(step("starting the egress relay"))?,
            ),
            Egress::Closed => None,
        };
        let acknowledged = Arc::clone(&settings.acknowledged);
        let domain = settings.domain.clone();
        let runtime = Arc::new(Runtime::new(settings, self.users, self.launcher, self.reaper));
        let networks = Arc::new(PodNetworks::new(self.router));
        register(&store, &runtime);
        let store = PodStore::new(store).map_err(step("preparing the node"))?;
        let services = ServiceView::new(store.clone(), Arc::clone(&networks));
        let (link, wanted) = (self.link, self.start.egress);
        let resolver = dns::Resolver {
            domain,
            services: services.clone(),
            link: link.clone(),
            egress: wanted,
            lookups: dns::Lookups::default(),
        };
        dns::serve(resolver).await.map_err(step("serving names"))?;
        let pods =
            Node::new(store, networks, Arc::clone(&runtime), host_ports.clone(), acknowledged);
        let sandboxes = Arc::clone(pods.sandboxes());
        let mut tasks = JoinSet::new();
        tasks.spawn(ports.run(services.clone(), Arc::clone(&sandboxes), link.clone()));
        // Before any pod runs: its first connection must find its way.
        if let Some(rules) = service_rules::create(&services, egress, &link).await {
            let tell = (host_ports, link.clone());
            tasks.spawn(service_rules::keep(services, egress, rules, tell));
        }
        tasks.spawn(Arc::clone(&pods).run());
        Ok(Running { node: LocalNode::new(sandboxes, runtime), pods, link, tasks })
    }
}

impl Running {
    /// The node, for the API server.
    pub fn node(&self) -> LocalNode {
        self.node.clone()
    }

    /// The terminal's process.
    pub fn link(&self) -> &HostLink {
        &self.link
    }

    /// Waits until the terminal wants an end, ends all pods in order, and
    /// resolves when none is left.
    pub async fn until_stopped(mut self) {
        if self.link.stopping().await == Stopping::Gracefully {
            self.pods.end_all().await;
        }
        self.tasks.shutdown().await;
    }
}

fn register(store: &Store, runtime: &Runtime) {
    let Some(nodes) = store.resource("", "nodes") else { return };
    if store.get(&nodes, "", NODE_NAME).is_none()
        && let Err(error) = store.create(&nodes, node_object(runtime.capacity))
    {
        tracing::warn!(%error, "the node is not shown in the API");
    }
}

//! Process 1 of the mesh: everything that runs on the laptop runs under it.
//!
//! It puts the parts together and ends them in order. What the API server and
//! the mesh do is decided by whoever calls it.

use std::{ffi::OsString, io, net::TcpListener, sync::Arc};

use serde_json::Value;
use tokio::task::JoinSet;
use weft_apiserver::{Dial, Store};

use crate::channel::Uplink;
pub use crate::enter::{EnterError, Entered, Entry, Users, enter, users};
use crate::{
    dial::RouterDial,
    dns,
    host_ports::HostPorts,
    link::{HostLink, Start, Stopping},
    network::{API, Router},
    node::{LocalNode, NODE_NAME, Parts, Settings, Shared, node_object},
    reaper::Reaper,
    uplink,
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
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// Sets up the network and asks the terminal's process for its sockets; needs a
/// runtime.
pub async fn prepare(entered: Entered) -> Result<Prepared, StartError> {
    let step = |step| move |source| StartError { step, source };
    let (link, start) =
        HostLink::open(entered.channel).await.map_err(step("talking to the terminal's process"))?;
    end_with_terminal(link.clone());
    let reaper = Reaper::start().map_err(step("watching for the end of processes"))?;
    let router = Router::start().await.map_err(step("setting up the router"))?;
    let mut listeners =
        link.listen_for_api().await.map_err(step("binding a port for the API server"))?;
    let inside = TcpListener::bind((API, API_PORT));
    listeners.push(inside.map_err(step("binding the API server's address"))?);
    let launcher = entered.arguments;
    Ok(Prepared { users: entered.users, launcher, link, start, reaper, router, listeners })
}

/// Ends this process, and with it everything, when the terminal's is gone.
fn end_with_terminal(link: HostLink) {
    tokio::spawn(async move {
        link.gone().await;
        std::process::exit(0);
    });
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
        let uplink = match self.start.uplink {
            Uplink::Open => {
                Some(uplink::serve(self.link.clone()).await.map_err(step("opening the uplink"))?)
            }
            Uplink::Closed => None,
        };
        let parts = Parts {
            store: store.clone(),
            settings,
            users: self.users,
            launcher: self.launcher,
            uplink: self.start.uplink,
            link: self.link,
            reaper: self.reaper,
            router: self.router,
            host_ports,
        };
        let shared = Shared::new(parts).map_err(step("preparing the node"))?;
        register(&store, &shared);
        dns::serve(Arc::clone(&shared)).await.map_err(step("serving names"))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(ports.run(Arc::clone(&shared)));
        // Before any pod runs: its first connection must find its way.
        if let Some(known) = shared.lay_rules(uplink).await {
            tasks.spawn(Arc::clone(&shared).route(uplink, known));
        }
        tasks.spawn(Arc::clone(&shared).run());
        Ok(Running { shared, tasks })
    }
}

impl Running {
    /// The node, for the API server.
    pub fn node(&self) -> LocalNode {
        LocalNode::new(Arc::clone(&self.shared))
    }

    /// The terminal's process.
    pub fn link(&self) -> &HostLink {
        self.shared.link()
    }

    /// Waits until the terminal wants an end, ends all pods in order, and
    /// resolves when none is left.
    pub async fn until_stopped(mut self) {
        if self.shared.link().stopping().await == Stopping::Gracefully {
            self.shared.end_all().await;
        }
        self.tasks.shutdown().await;
    }
}

fn register(store: &Store, shared: &Shared) {
    let Some(nodes) = store.resource("", "nodes") else { return };
    if store.get(&nodes, "", NODE_NAME).is_none()
        && let Err(error) = store.create(&nodes, node_object(shared.capacity()))
    {
        tracing::warn!(%error, "the node is not shown in the API");
    }
}

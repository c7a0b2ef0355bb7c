//! Services of type LoadBalancer and NodePort on the host's ports.
//!
//! A pod that takes its listening sockets from the node gets those of its
//! Service; every other Service is relayed to, while it has a ready endpoint.
//! One task owns all of them. A socket that is not accepted on is closed: a
//! bound one would hang instead of refusing.

mod pods;
mod relayed;
mod requests;
mod shown;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use tokio::sync::mpsc;
use weft_api::host_ports::HostPort as Shown;
use weft_process::peers::Peers;

use crate::{
    admit, channel::HostPort, link::HostLink, node::Sandboxes, service_view::ServiceView, spec::Pod,
};
pub(crate) use pods::{Balanced, BalancedPort, TAKES_SOCKETS, balanced};
use relayed::RelayedSocket;
use requests::CountedRequest;
pub(crate) use requests::answer_requests;
use shown::bound_at;
pub(crate) use shown::shown;

/// Ports of all Services at most.
const MOST: usize = 1_000;
/// The part of all descriptors that ports may take, with two each: one for each of the
/// host's loopback addresses.
const PORTS_PART: usize = 16;
/// The part of all descriptors that connections may take, with two each.
const CONNECTIONS_PART: usize = 8;

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
    /// The port of the host that it should have; the next free when that is taken.
    pub(crate) host: u16,
}

enum Event {
    /// Services or endpoints have changed.
    Changed,
    /// A pod wants to listen.
    Requested(Arc<Pod>, CountedRequest),
    /// The borrower of a port's sockets no longer uses them.
    Returned(Key),
}

/// Sends events to the task that owns the host ports. Clones send to the same task.
#[derive(Clone)]
pub(crate) struct HostPorts {
    events: mpsc::UnboundedSender<Event>,
}

/// The owner, not yet running.
pub(crate) struct Owner {
    events: mpsc::UnboundedReceiver<Event>,
    sender: mpsc::UnboundedSender<Event>,
    bound: BTreeMap<Key, BoundPort>,
    /// Why ports are not bound, as it was reported.
    reported: BTreeMap<Key, String>,
    /// What was reported of Services some of whose ports are left out.
    left_out: BTreeSet<String>,
    /// Who is connected through relays.
    peers: Arc<Peers>,
}

/// A Service: namespace and name.
type Name = (String, String);

/// Sockets on the host, and who accepts on them.
struct BoundPort {
    /// Empty while they are relayed.
    listeners: Vec<TcpListener>,
    port: HostPort,
    used: PortUse,
}

enum PortUse {
    /// Nobody accepts on them.
    Idle,
    /// Relayed to this address.
    Relayed(Ipv4Addr, Vec<RelayedSocket>),
    /// So many pods accept.
    Lent(usize),
}

/// What is to be relayed.
pub(crate) struct Relayed {
    /// Ports of Services, and the address to relay them to.
    pub(crate) ports: BTreeMap<Key, Ipv4Addr>,
    /// What is to be said of Services that have too many.
    pub(crate) left_out: BTreeSet<String>,
}

impl HostPorts {
    /// The sender and the owner.
    pub(crate) fn new() -> (Self, Owner) {
        let (sender, events) = mpsc::unbounded_channel();
        let owner = Owner {
            events,
            sender: sender.clone(),
            bound: BTreeMap::new(),
            reported: BTreeMap::new(),
            left_out: BTreeSet::new(),
            peers: {
                let connections = admit::share(CONNECTIONS_PART);
                admit::peers(connections, connections / 4)
            },
        };
        (Self { events: sender }, owner)
    }

    /// Services or endpoints have changed.
    pub(crate) fn changed(&self) {
        // The owner ends with the node.
        let _ = self.events.send(Event::Changed);
    }

    /// Answers a pod that wants to listen.
    pub(crate) fn lend(&self, pod: &Arc<Pod>, request: CountedRequest) {
        let _ = self.events.send(Event::Requested(Arc::clone(pod), request));
    }
}

/// What the owner uses.
struct Surroundings {
    services: ServiceView,
    sandboxes: Arc<Sandboxes>,
    link: HostLink,
}

impl Owner {
    /// Owns the ports until the node ends.
    pub(crate) async fn run(
        mut self,
        services: ServiceView,
        sandboxes: Arc<Sandboxes>,
        link: HostLink,
    ) {
        let around = Surroundings { services, sandboxes, link };
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Changed => self.update(&around).await,
                Event::Requested(pod, request) => self.lend(&around, &pod, request).await,
                Event::Returned(key) => self.returned(&around, &key).await,
            }
        }
    }

    /// Relays for what Services and endpoints want now, and for nothing else.
    async fn update(&mut self, around: &Surroundings) {
        let Relayed { ports: wanted, left_out } =
            around.services.relayed_ports(&around.sandboxes.pods());
        self.report_left_out(around, left_out).await;
        let stale: Vec<Key> = self
            .bound
            .iter()
            .filter(|(key, bound)| match &bound.used {
                PortUse::Relayed(address, _) => wanted.get(*key) != Some(address),
                PortUse::Lent(_) | PortUse::Idle => false,
            })
            .map(|(key, _)| key.clone())
            .collect();
        // A Service that was made anew, or replaced as a whole, shows nothing yet.
        let mut services: BTreeSet<Name> = self.bound.keys().map(Key::service).collect();
        for key in stale {
            self.unbind(around, &key).await;
        }
        for (key, address) in wanted {
            if !self.bound.contains_key(&key) {
                services.insert(key.service());
                self.relay(around, key, address).await;
            }
        }
        self.show(around, services);
    }

    /// Says which Services have more ports than are bound, when that is new.
    async fn report_left_out(&mut self, around: &Surroundings, left_out: BTreeSet<String>) {
        for text in left_out.difference(&self.left_out) {
            around.link.log(text.clone()).await;
        }
        self.left_out = left_out;
    }

    async fn relay(&mut self, around: &Surroundings, key: Key, address: Ipv4Addr) {
        let Ok(mut bound) = self.bind(around, &key).await else { return };
        let target = SocketAddr::from((address, key.port));
        let listeners = bound.listeners.drain(..);
        let relays = listeners
            .filter_map(|one| RelayedSocket::start(one, target, Arc::clone(&self.peers)).ok());
        bound.used = PortUse::Relayed(address, relays.collect());
        self.opened(around, key, bound).await;
    }

    async fn lend(&mut self, around: &Surroundings, pod: &Pod, counted: CountedRequest) {
        let request = &counted.request;
        let Some(key) = around.services.port_of(pod, request.port) else {
            // An asker that is gone no longer wants to know.
            let _ = request.lend(&[]).await;
            return;
        };
        if let Some(PortUse::Relayed(..)) = self.bound.get(&key).map(|bound| &bound.used) {
            self.stop_relay(&key);
        }
        if !self.bound.contains_key(&key) {
            match self.bind(around, &key).await {
                Ok(bound) => self.opened(around, key.clone(), bound).await,
                Err(why) => {
                    let _ = request.refuse(why).await;
                    return;
                }
            }
            self.show(around, [key.service()]);
        }
        let Some(bound) = self.bound.get_mut(&key) else { return };
        let lent = request.lend(&bound.listeners).await;
        match (&mut bound.used, lent) {
            (PortUse::Lent(count), Ok(())) => *count += 1,
            (PortUse::Idle, Ok(())) => bound.used = PortUse::Lent(1),
            // They are not accepted on, and would not be given back.
            (PortUse::Idle, Err(_)) => return self.close(around, &key).await,
            (PortUse::Lent(_), Err(_)) | (PortUse::Relayed(..), _) => return,
        }
        let sender = self.sender.clone();
        tokio::spawn(async move {
            counted.returned().await;
            let _ = sender.send(Event::Returned(key));
        });
    }

    async fn returned(&mut self, around: &Surroundings, key: &Key) {
        let Some(bound) = self.bound.get_mut(key) else { return };
        match &mut bound.used {
            PortUse::Lent(count) if *count > 1 => *count -= 1,
            PortUse::Lent(_) => self.close(around, key).await,
            PortUse::Relayed(..) | PortUse::Idle => {}
        }
    }

    fn stop_relay(&mut self, key: &Key) {
        if let Some(bound) = self.bound.get_mut(key)
            && let PortUse::Relayed(_, relays) = std::mem::replace(&mut bound.used, PortUse::Idle)
        {
            bound.listeners = relays.into_iter().filter_map(|one| one.stop().ok()).collect();
        }
    }

    async fn opened(&mut self, around: &Surroundings, key: Key, bound: BoundPort) {
        let port = bound.port.clone();
        self.bound.insert(key, bound);
        around.link.host_port(port).await;
    }

    async fn close(&mut self, around: &Surroundings, key: &Key) {
        self.unbind(around, key).await;
        self.show(around, [key.service()]);
    }

    async fn unbind(&mut self, around: &Surroundings, key: &Key) {
        self.stop_relay(key);
        if let Some(bound) = self.bound.remove(key) {
            drop(bound.listeners);
            around.link.host_port_closed(bound.port).await;
        }
    }

    /// Binds a port; says why it cannot be, to the terminal when that is new.
    async fn bind(&mut self, around: &Surroundings, key: &Key) -> Result<BoundPort, String> {
        let most = MOST.min(admit::share(PORTS_PART));
        let listened = match self.bound.len() < most {
            true => around.link.listen(key.host).await.map_err(|error| error.to_string()),
            false => {
                Err(format!("Services have {most} ports there already, and no more are opened"))
            }
        };
        let listeners = match listened {
            Ok(listeners) => listeners,
            Err(why) => {
                let Key { namespace, service, host, .. } = key;
                let text = format!(
                    "Service {namespace}/{service}: port {host} cannot be bound on the host: {why}"
                );
                // One line for the ports of a Service that have the same reason.
                let is_new = !self.is_reported(key, &why);
                self.reported.insert(key.clone(), why);
                if is_new {
                    around.link.log(text.clone()).await;
                }
                return Err(text);
            }
        };
        self.reported.remove(key);
        let addresses = listeners.iter().filter_map(|one| one.local_addr().ok()).collect();
        let port = HostPort {
            namespace: key.namespace.clone(),
            service: key.service.clone(),
            port: key.port,
            wanted: crate::host::wished(key.host),
            addresses,
        };
        Ok(BoundPort { listeners, port, used: PortUse::Idle })
    }

    /// Whether a reason has been reported for a port of the same Service.
    fn is_reported(&self, key: &Key, why: &str) -> bool {
        let first = Key { port: 0, host: 0, ..key.clone() };
        let own = self.reported.range(first..).take_while(|(one, _)| one.is_beside(key));
        own.into_iter().any(|(_, known)| known == why)
    }

    /// Shows on Services where they are reached on the host.
    fn show(&self, around: &Surroundings, services: impl IntoIterator<Item = Name>) {
        for (namespace, service) in services {
            let ports = self.shown(&namespace, &service);
            around.services.show_ingress(&namespace, &service, &ports);
        }
    }

    fn shown(&self, namespace: &str, service: &str) -> Vec<Shown> {
        let (namespace, service) = (namespace.to_owned(), service.to_owned());
        let first = Key { namespace, service, port: 0, host: 0 };
        let own = self.bound.range(first.clone()..).take_while(|(key, _)| key.is_beside(&first));
        own.flat_map(|(_, bound)| bound_at(&bound.port)).collect()
    }
}

impl Key {
    fn service(&self) -> Name {
        (self.namespace.clone(), self.service.clone())
    }

    /// Whether both are ports of one Service.
    fn is_beside(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.service == other.service
    }
}

//! Services of type LoadBalancer on the host's ports.
//!
//! A pod that takes its listening sockets from the node gets those of its
//! Service; every other Service is relayed to, while it has a ready endpoint.
//! One task owns all of them. A socket is closed when nobody accepts on it: a
//! bound one would hang instead of refusing.

mod pods;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc, task::AbortHandle};
use weft_process::sockets::Asked;

use crate::{
    channel::HostPort,
    node::Shared,
    spec::Pod,
    uplink::{RELIEF, relay, reset},
};
pub(crate) use pods::{Balanced, TAKES_SOCKETS, balanced};

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
}

enum Event {
    /// Services or endpoints have changed.
    Changed,
    /// A pod wants to listen.
    Asked(Arc<Pod>, Asked),
    /// Somebody who was lent a port's sockets no longer uses them.
    Returned(Key),
}

/// Where the owner of host ports is told what happens; clones are the same.
#[derive(Clone)]
pub(crate) struct HostPorts {
    events: mpsc::UnboundedSender<Event>,
}

/// The owner, not yet running.
pub(crate) struct Owner {
    events: mpsc::UnboundedReceiver<Event>,
    sender: mpsc::UnboundedSender<Event>,
    bound: BTreeMap<Key, Bound>,
}

/// Sockets on the host, and who accepts on them.
struct Bound {
    listeners: Vec<TcpListener>,
    port: HostPort,
    used: Use,
}

enum Use {
    /// Relayed to this address; stopped by these.
    Relayed(Ipv4Addr, Vec<AbortHandle>),
    /// So many pods accept.
    Lent(usize),
}

impl HostPorts {
    /// The sender and the owner.
    pub(crate) fn new() -> (Self, Owner) {
        let (sender, events) = mpsc::unbounded_channel();
        let owner = Owner { events, sender: sender.clone(), bound: BTreeMap::new() };
        (Self { events: sender }, owner)
    }

    /// Services or endpoints have changed.
    pub(crate) fn changed(&self) {
        // The owner ends with the node.
        let _ = self.events.send(Event::Changed);
    }

    /// Answers a pod that wants to listen.
    pub(crate) async fn lend(&self, pod: &Arc<Pod>, asked: Asked) {
        let _ = self.events.send(Event::Asked(Arc::clone(pod), asked));
    }
}

impl Owner {
    /// Owns the ports until the node ends.
    pub(crate) async fn run(mut self, node: Arc<Shared>) {
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Changed => self.follow(&node).await,
                Event::Asked(pod, asked) => self.lend(&node, &pod, asked).await,
                Event::Returned(key) => self.returned(&node, &key).await,
            }
        }
    }

    async fn follow(&mut self, node: &Arc<Shared>) {
        let wanted: BTreeMap<Key, Ipv4Addr> = node.relayed_ports();
        let stale: Vec<Key> = self
            .bound
            .iter()
            .filter(|(key, bound)| match &bound.used {
                Use::Relayed(address, _) => wanted.get(*key) != Some(address),
                Use::Lent(_) => false,
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in stale {
            self.close(node, &key).await;
        }
        for (key, address) in wanted {
            if !self.bound.contains_key(&key) {
                self.relay(node, key, address).await;
            }
        }
    }

    async fn relay(&mut self, node: &Arc<Shared>, key: Key, address: Ipv4Addr) {
        let Some(mut bound) = bind(node, &key).await else { return };
        let target = SocketAddr::from((address, key.port));
        let mut tasks = Vec::new();
        for listener in &bound.listeners {
            let Ok(listener) = listener.try_clone() else { continue };
            tasks.push(tokio::spawn(serve(listener, target)).abort_handle());
        }
        bound.used = Use::Relayed(address, tasks);
        self.opened(node, key, bound).await;
    }

    async fn lend(&mut self, node: &Arc<Shared>, pod: &Pod, asked: Asked) {
        let Some(key) = node.port_of(pod, asked.port) else {
            // An asker that is gone no longer wants to know.
            let _ = asked.lend(&[]).await;
            return;
        };
        if let Some(Use::Relayed(..)) = self.bound.get(&key).map(|bound| &bound.used) {
            self.stop_relay(&key);
        }
        if !self.bound.contains_key(&key) {
            let Some(bound) = bind(node, &key).await else {
                let _ = asked.refuse(format!("no port of the host is free for {key:?}")).await;
                return;
            };
            self.opened(node, key.clone(), bound).await;
        }
        let Some(bound) = self.bound.get_mut(&key) else { return };
        let lent = asked.lend(&bound.listeners).await;
        let Use::Lent(count) = &mut bound.used else { return };
        if lent.is_err() && *count == 0 {
            // Nobody accepts on them, and nobody would give them back.
            self.close(node, &key).await;
        } else if lent.is_ok() {
            *count += 1;
            let sender = self.sender.clone();
            tokio::spawn(async move {
                asked.returned().await;
                let _ = sender.send(Event::Returned(key));
            });
        }
    }

    async fn returned(&mut self, node: &Arc<Shared>, key: &Key) {
        if let Some(Bound { used: Use::Lent(count), .. }) = self.bound.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.close(node, key).await;
            }
        }
    }

    fn stop_relay(&mut self, key: &Key) {
        if let Some(bound) = self.bound.get_mut(key) {
            if let Use::Relayed(_, tasks) = &bound.used {
                tasks.iter().for_each(AbortHandle::abort);
            }
            bound.used = Use::Lent(0);
        }
    }

    async fn opened(&mut self, node: &Arc<Shared>, key: Key, bound: Bound) {
        node.link().host_port(bound.port.clone()).await;
        node.show_ingress(&key.namespace, &key.service, Some(&bound.port.addresses));
        self.bound.insert(key, bound);
    }

    async fn close(&mut self, node: &Arc<Shared>, key: &Key) {
        self.stop_relay(key);
        if let Some(bound) = self.bound.remove(key) {
            drop(bound.listeners);
            node.link().host_port_closed(bound.port).await;
        }
        let others: BTreeSet<&str> = self
            .bound
            .keys()
            .filter(|other| other.namespace == key.namespace)
            .map(|other| other.service.as_str())
            .collect();
        if !others.contains(key.service.as_str()) {
            node.show_ingress(&key.namespace, &key.service, None);
        }
    }
}

async fn bind(node: &Shared, key: &Key) -> Option<Bound> {
    let listeners = match node.link().listen(key.port).await {
        Ok(listeners) => listeners,
        Err(error) => {
            let text = format!(
                "Service {}/{}: port {} cannot be bound on the host: {error}",
                key.namespace, key.service, key.port
            );
            node.link().log(text).await;
            return None;
        }
    };
    let addresses = listeners.iter().filter_map(|one| one.local_addr().ok()).collect();
    let port = HostPort {
        namespace: key.namespace.clone(),
        service: key.service.clone(),
        port: key.port,
        addresses,
    };
    Some(Bound { listeners, port, used: Use::Lent(0) })
}

async fn serve(listener: TcpListener, target: SocketAddr) {
    let listener =
        listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let Ok(listener) = listener else { return };
    loop {
        let Ok((outside, _)) = listener.accept().await else {
            tokio::time::sleep(RELIEF).await;
            continue;
        };
        tokio::spawn(async move {
            match TcpStream::connect(target).await {
                Ok(inside) => relay(outside, inside).await,
                Err(_) => reset(&outside),
            }
        });
    }
}

/// The `status` of a Service that is reached at these addresses of the host.
pub(crate) fn ingress(addresses: Option<&[SocketAddr]>) -> Value {
    let first = addresses.and_then(|addresses| addresses.first());
    match first {
        Some(address) => serde_json::json!({
            "loadBalancer": {"ingress": [{"ip": address.ip().to_string(), "ipMode": "Proxy"}]},
        }),
        None => serde_json::json!({"loadBalancer": {}}),
    }
}

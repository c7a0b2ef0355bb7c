//! Services of type LoadBalancer and NodePort on the host's ports.
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
use weft_api::host_ports::{self, ANNOTATION, HostPort as Shown};
use weft_process::sockets::SocketRequest;

use crate::{
    channel::HostPort,
    egress::{RELIEF, relay, reset},
    link::HostLink,
    node::Sandboxes,
    service_view::ServiceView,
    spec::Pod,
};
pub(crate) use pods::{Balanced, BalancedPort, TAKES_SOCKETS, balanced};

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
    Requested(Arc<Pod>, SocketRequest),
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
    bound: BTreeMap<Key, Bound>,
    /// Why ports are not bound, as it was reported.
    reported: BTreeMap<Key, String>,
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
        let owner = Owner {
            events,
            sender: sender.clone(),
            bound: BTreeMap::new(),
            reported: BTreeMap::new(),
        };
        (Self { events: sender }, owner)
    }

    /// Services or endpoints have changed.
    pub(crate) fn changed(&self) {
        // The owner ends with the node.
        let _ = self.events.send(Event::Changed);
    }

    /// Answers a pod that wants to listen.
    pub(crate) async fn lend(&self, pod: &Arc<Pod>, request: SocketRequest) {
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
        let wanted: BTreeMap<Key, Ipv4Addr> =
            around.services.relayed_ports(&around.sandboxes.pods());
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
            self.close(around, &key).await;
        }
        for (key, address) in wanted {
            if !self.bound.contains_key(&key) {
                self.relay(around, key, address).await;
            }
        }
        // A Service that was made anew, or replaced as a whole, shows nothing yet.
        let named = |key: &Key| (key.namespace.clone(), key.service.clone());
        let services: BTreeSet<(String, String)> = self.bound.keys().map(named).collect();
        for (namespace, service) in &services {
            self.show(around, namespace, service);
        }
    }

    async fn relay(&mut self, around: &Surroundings, key: Key, address: Ipv4Addr) {
        let Some(mut bound) = self.bind(around, &key).await else { return };
        let target = SocketAddr::from((address, key.port));
        let mut tasks = Vec::new();
        for listener in &bound.listeners {
            let Ok(listener) = listener.try_clone() else { continue };
            tasks.push(tokio::spawn(serve(listener, target)).abort_handle());
        }
        bound.used = Use::Relayed(address, tasks);
        self.opened(around, key, bound).await;
    }

    async fn lend(&mut self, around: &Surroundings, pod: &Pod, request: SocketRequest) {
        let Some(key) = around.services.port_of(pod, request.port) else {
            // An asker that is gone no longer wants to know.
            let _ = request.lend(&[]).await;
            return;
        };
        if let Some(Use::Relayed(..)) = self.bound.get(&key).map(|bound| &bound.used) {
            self.stop_relay(&key);
        }
        if !self.bound.contains_key(&key) {
            let Some(bound) = self.bind(around, &key).await else {
                let _ = request.refuse(format!("no port of the host is free for {key:?}")).await;
                return;
            };
            self.opened(around, key.clone(), bound).await;
        }
        let Some(bound) = self.bound.get_mut(&key) else { return };
        let lent = request.lend(&bound.listeners).await;
        let Use::Lent(count) = &mut bound.used else { return };
        if lent.is_err() && *count == 0 {
            // Nobody accepts on them, and nobody would give them back.
            self.close(around, &key).await;
        } else if lent.is_ok() {
            *count += 1;
            let sender = self.sender.clone();
            tokio::spawn(async move {
                request.returned().await;
                let _ = sender.send(Event::Returned(key));
            });
        }
    }

    async fn returned(&mut self, around: &Surroundings, key: &Key) {
        if let Some(Bound { used: Use::Lent(count), .. }) = self.bound.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.close(around, key).await;
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

    async fn opened(&mut self, around: &Surroundings, key: Key, bound: Bound) {
        let (namespace, service, port) =
            (key.namespace.clone(), key.service.clone(), bound.port.clone());
        self.bound.insert(key, bound);
        self.show(around, &namespace, &service);
        around.link.host_port(port).await;
    }

    async fn close(&mut self, around: &Surroundings, key: &Key) {
        self.stop_relay(key);
        if let Some(bound) = self.bound.remove(key) {
            drop(bound.listeners);
            around.link.host_port_closed(bound.port).await;
        }
        self.show(around, &key.namespace, &key.service);
    }

    /// Binds a port; says why it cannot be, when that is new.
    async fn bind(&mut self, around: &Surroundings, key: &Key) -> Option<Bound> {
        let listeners = match around.link.listen(key.host).await {
            Ok(listeners) => listeners,
            Err(error) => {
                let text = format!(
                    "Service {}/{}: port {} cannot be bound on the host: {error}",
                    key.namespace, key.service, key.host
                );
                if self.reported.insert(key.clone(), text.clone()).as_ref() != Some(&text) {
                    around.link.log(text).await;
                }
                return None;
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
        Some(Bound { listeners, port, used: Use::Lent(0) })
    }

    /// Shows on a Service where it is reached on the host.
    fn show(&self, around: &Surroundings, namespace: &str, service: &str) {
        let own = |key: &&Key| key.namespace == namespace && key.service == service;
        let keys = self.bound.keys().filter(own);
        let ports: Vec<_> = keys.flat_map(|key| bound_at(&self.bound[key].port)).collect();
        around.services.show_ingress(namespace, service, &ports);
    }
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

/// Where a port is reached, one address after the other.
fn bound_at(port: &HostPort) -> impl Iterator<Item = Shown> + '_ {
    port.addresses.iter().map(|address| Shown { port: port.port, address: *address })
}

/// A Service that is reached on the host at these ports.
pub(crate) fn shown(service: &Value, ports: &[Shown]) -> Value {
    let mut shown = service.clone();
    let first = ports.first().filter(|_| service["spec"]["type"] != "NodePort");
    shown["status"] = match first {
        Some(first) => serde_json::json!({
            "loadBalancer": {"ingress": [{"ip": first.address.ip().to_string(), "ipMode": "Proxy"}]},
        }),
        None => serde_json::json!({"loadBalancer": {}}),
    };
    let mut annotations =
        service["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove(ANNOTATION);
    if !ports.is_empty() {
        annotations.insert(ANNOTATION.to_owned(), host_ports::write(ports).into());
    }
    match (annotations.is_empty(), shown["metadata"].as_object_mut()) {
        (true, Some(metadata)) => drop(metadata.remove("annotations")),
        _ => shown["metadata"]["annotations"] = annotations.into(),
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_shows_where_its_ports_are_while_they_are_bound() {
        let plain = json!({"metadata": {"name": "gate"}, "status": {"loadBalancer": {}}});
        let ports = host_ports::read("80=127.0.0.1:8081,80=[::1]:8081");
        let bound = shown(&plain, &ports);
        assert_eq!(
            bound["metadata"]["annotations"],
            json!({"weft.internal/host-ports": "80=127.0.0.1:8081,80=[::1]:8081"})
        );
        assert_eq!(bound["status"]["loadBalancer"]["ingress"][0]["ip"], "127.0.0.1");
        assert_eq!(shown(&bound, &[]), plain);
        let own = json!({"metadata": {"name": "gate", "annotations": {"own": "1"}}});
        assert_eq!(shown(&shown(&own, &ports), &[])["metadata"], own["metadata"]);
    }
}

//! What the node knows of Services: for names, for the router's rules, and for
//! the host's ports.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use ipnet::Ipv4Net;
use serde_json::Value;
use weft_api::host_ports::HostPort;
use weft_apiserver::Resource;
use weft_nft::{Change, to_batch};
use weft_process::netfilter;

use super::{Shared, lock};
use crate::{
    dns::Directory,
    follow::follow,
    host_ports::{Balanced, BalancedPort, Key, TAKES_SOCKETS, balanced, shown},
    services::{Endpoint, Kind, Service, endpoints, owner, service, usable},
    spec::Pod,
    translation::{self, Chains, Pair},
};

/// Rules in one batch: what the kernel takes at once is limited.
const BATCH: usize = 200;

/// What pods play beyond the mesh.
#[derive(Default)]
pub(crate) struct Outside(Mutex<HashMap<String, Played>>);

struct Played {
    ranges: Vec<Ipv4Net>,
    names: Vec<(String, Ipv4Addr)>,
}

impl Outside {
    /// A pod plays these; a name may say its address after `=`, else it has the
    /// first of the pod's ranges.
    pub(super) fn add(&self, uid: &str, ranges: &[Ipv4Net], names: &str) {
        let first = ranges.first().and_then(|range| range.hosts().next());
        let names = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .filter_map(|name| match name.split_once('=') {
                Some((name, address)) => Some((name.to_lowercase(), address.parse().ok()?)),
                None => Some((name.to_lowercase(), first?)),
            })
            .collect();
        lock(&self.0).insert(uid.to_owned(), Played { ranges: ranges.to_vec(), names });
    }

    pub(super) fn remove(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }

    fn ranges(&self) -> Vec<Ipv4Net> {
        let mut all: Vec<Ipv4Net> =
            lock(&self.0).values().flat_map(|played| played.ranges.clone()).collect();
        all.sort();
        all
    }

    fn address(&self, name: &str) -> Option<Ipv4Addr> {
        let played = lock(&self.0);
        let mut names = played.values().flat_map(|played| &played.names);
        names.find(|(pattern, _)| covers(pattern, name)).map(|(_, address)| *address)
    }
}

fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => suffix.len() < name.len() && name.ends_with(suffix),
        None => pattern == name,
    }
}

impl Directory for Shared {
    fn service(&self, namespace: &str, name: &str) -> Option<Service> {
        self.find("", "services", namespace, name).map(|object| service(&object))
    }

    fn endpoints(&self, namespace: &str, name: &str) -> Vec<Endpoint> {
        let Some(slices) = self.slices() else { return Vec::new() };
        let list = self.store.list(&slices, Some(namespace));
        let own = list.items.iter().filter(|slice| owner(slice) == Some(name));
        own.flat_map(|slice| endpoints(slice)).collect()
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.find("", "namespaces", "", name).is_some()
    }

    fn outside(&self, name: &str) -> Option<Ipv4Addr> {
        self.outside.address(name)
    }
}

impl Shared {
    /// Makes the router's rules as Services are now, for the first time; none when
    /// the kernel takes none. Connections beyond the mesh go to `uplink`.
    pub(crate) async fn lay_rules(&self, uplink: Option<u16>) -> Option<Chains> {
        let table = translation::table();
        let wanted = self.wanted_chains(uplink);
        let laid = netfilter::apply(&to_batch(&[Change::ReplaceTable(table)]))
            .and_then(|()| apply(&translation::changes(&Chains::new(), &wanted)));
        match laid {
            Ok(()) => Some(wanted),
            Err(error) => {
                let text = format!("Services cannot be reached by their addresses: {error}");
                self.link.log(text).await;
                None
            }
        }
    }

    /// Keeps the router's rules, which are `known` so far, and the host's ports, as
    /// Services are.
    pub(crate) async fn route(self: Arc<Self>, uplink: Option<u16>, mut known: Chains) {
        let following = Arc::clone(&self);
        tokio::spawn(async move { following.follow_services().await });
        loop {
            let wanted = self.wanted_chains(uplink);
            match apply(&translation::changes(&known, &wanted)) {
                Ok(()) => known = wanted,
                Err(error) => tracing::error!(%error, "Services' addresses are out of date"),
            }
            self.host_ports.changed();
            self.routes.notified().await;
        }
    }

    fn wanted_chains(&self, uplink: Option<u16>) -> Chains {
        let pairs = self.pairs();
        let borrowed: Vec<Pair<'_>> =
            pairs.iter().map(|(service, endpoints)| (service, endpoints.as_slice())).collect();
        let mut chains = translation::chains(&borrowed, &self.pod_links());
        chains.extend(translation::outside(uplink, &self.outside.ranges()));
        chains
    }

    /// Every Service and its endpoints.
    fn pairs(&self) -> Vec<(Service, Vec<Endpoint>)> {
        let mut all: BTreeMap<(String, String), Vec<Endpoint>> = BTreeMap::new();
        if let Some(slices) = self.slices() {
            for slice in self.store.list(&slices, None).items {
                if let Some(name) = owner(&slice) {
                    let namespace = slice["metadata"]["namespace"].as_str().unwrap_or_default();
                    let key = (namespace.to_owned(), name.to_owned());
                    all.entry(key).or_default().extend(endpoints(&slice));
                }
            }
        }
        let services = self.store.resource("", "services");
        let services = services.map(|services| self.store.list(&services, None).items);
        let services = services.into_iter().flatten().map(|object| service(&object));
        services
            .map(|service| {
                let key = (service.namespace.clone(), service.name.clone());
                let endpoints = all.remove(&key).unwrap_or_default();
                (service, endpoints)
            })
            .collect()
    }

    async fn follow_services(&self) {
        let (Some(services), Some(slices)) = (self.store.resource("", "services"), self.slices())
        else {
            return;
        };
        tokio::join!(
            follow(&self.store, &services, |_, _| self.routes.notify_one()),
            follow(&self.store, &slices, |_, _| self.routes.notify_one()),
        );
    }

    /// Ports of Services that are to be relayed to, and their address.
    pub(crate) fn relayed_ports(&self) -> BTreeMap<Key, Ipv4Addr> {
        let pods: Vec<Arc<Pod>> =
            lock(&self.grounds).values().map(|ground| Arc::clone(&ground.pod)).collect();
        let takes = |pod: &Pod| {
            pod.metadata.annotations.get(TAKES_SOCKETS).is_some_and(|value| value == "true")
        };
        let mut ports = BTreeMap::new();
        for (service, balanced) in self.balanced() {
            let Kind::Address(address) = service.kind else { continue };
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
        }
        ports
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
        let Some(services) = self.store.resource("", "services") else { return };
        let Some(current) = self.store.get(&services, namespace, name) else { return };
        let shown = shown(&current, ports);
        // The annotation belongs to the object and the rest to its status. Who
        // writes at the same time wins: the change brings this here again.
        let written = self.store.update(&services, shown.clone()).and_then(|_| {
            let mut shown = shown;
            shown["metadata"]["resourceVersion"] = Value::Null;
            self.store.update_status(&services, shown)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "a Service's address is not shown");
        }
    }

    fn balanced(&self) -> Vec<(Service, Balanced)> {
        let Some(services) = self.store.resource("", "services") else { return Vec::new() };
        let list = self.store.list(&services, None);
        let wanted = |object: &Arc<Value>| Some((service(object), balanced(object)?));
        list.items.iter().filter_map(wanted).collect()
    }

    fn slices(&self) -> Option<Arc<Resource>> {
        self.store.resource("discovery.k8s.io", "endpointslices")
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

fn apply(changes: &[Change]) -> Result<(), netfilter::NetfilterError> {
    let size = |change: &Change| match change {
        Change::ReplaceChains(_, _, chains) => chains.iter().map(|chain| chain.rules.len()).sum(),
        _ => 1,
    };
    let mut rest = changes;
    while !rest.is_empty() {
        let mut rules = 0;
        let fitting = rest.iter().take_while(|change| {
            rules += size(change);
            rules <= BATCH
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        netfilter::apply(&to_batch(now))?;
        rest = later;
    }
    Ok(())
}

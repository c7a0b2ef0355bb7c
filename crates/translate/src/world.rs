//! Every object, and the buckets by which units find them.
//!
//! The world knows nothing of classes or answers: it stores, indexes, and says
//! what a change touched.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weft_api::{Key, Kind, Object, kubernetes::SERVICE_NAME_LABEL};

use crate::hosts;

/// Objects that something can be looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    /// All of a kind.
    Kind(Kind),
    /// All of a kind in a namespace.
    Namespace(Kind, String),
    /// The EndpointSlices of a service.
    Slices(String, String),
    /// Objects that name a host, resolved: a name or a pattern.
    Host(Kind, String),
    /// VirtualServices bound to a gateway, by namespace and name.
    Gateway(String, String),
    /// Services with an address.
    ServiceAddress(IpAddr),
    /// EndpointSlices with an address.
    EndpointAddress(IpAddr),
    /// Whatever has an address in a network.
    Network(IpNet),
}

/// Something a unit has read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Read {
    /// An object, there or not.
    Object(Key),
    /// Which objects are in a bucket.
    Bucket(Bucket),
    /// Which networks have services or pods in them.
    Networks,
}

/// Every object.
#[derive(Default)]
pub(crate) struct World {
    objects: HashMap<Key, Arc<Object>>,
    buckets: HashMap<Bucket, BTreeSet<Key>>,
    networks: BTreeSet<IpNet>,
}

impl World {
    /// Stores or removes the object called `key`, and says what that touched;
    /// nothing when it is as it was.
    pub(crate) fn apply(&mut self, key: Key, object: Option<Object>) -> Vec<Read> {
        let old = self.objects.get(&key);
        if old.map(|old| &**old) == object.as_ref() {
            return Vec::new();
        }
        let before = old.map(|old| buckets(&key, old)).unwrap_or_default();
        let after = object.as_ref().map(|new| buckets(&key, new)).unwrap_or_default();
        let mut touched = vec![Read::Object(key.clone())];
        for bucket in before.difference(&after) {
            self.leave(bucket, &key, &mut touched);
        }
        for bucket in after.difference(&before) {
            self.enter(bucket, &key, &mut touched);
        }
        match object {
            Some(object) => self.objects.insert(key, Arc::new(object)),
            None => self.objects.remove(&key),
        };
        touched
    }

    /// The object called `key`.
    pub(crate) fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Every object with its key, in no order.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.objects.iter()
    }

    /// The keys in `bucket`, sorted.
    pub(crate) fn keys(&self, bucket: &Bucket) -> impl Iterator<Item = &Key> {
        self.buckets.get(bucket).into_iter().flatten()
    }

    /// The networks in which services or pods have addresses.
    pub(crate) fn networks(&self) -> &BTreeSet<IpNet> {
        &self.networks
    }

    fn leave(&mut self, bucket: &Bucket, key: &Key, touched: &mut Vec<Read>) {
        touched.push(Read::Bucket(bucket.clone()));
        let Some(keys) = self.buckets.get_mut(bucket) else { return };
        keys.remove(key);
        if !keys.is_empty() {
            return;
        }
        self.buckets.remove(bucket);
        if let Bucket::Network(network) = bucket {
            self.networks.remove(network);
            touched.push(Read::Networks);
        }
    }

    fn enter(&mut self, bucket: &Bucket, key: &Key, touched: &mut Vec<Read>) {
        touched.push(Read::Bucket(bucket.clone()));
        self.buckets.entry(bucket.clone()).or_default().insert(key.clone());
        if let Bucket::Network(network) = bucket
            && self.networks.insert(*network)
        {
            touched.push(Read::Networks);
        }
    }
}

/// The buckets that an object belongs to.
fn buckets(key: &Key, object: &Object) -> std::collections::HashSet<Bucket> {
    let mut found = std::collections::HashSet::new();
    found.insert(Bucket::Kind(key.kind));
    found.insert(Bucket::Namespace(key.kind, key.namespace.clone()));
    match object {
        Object::Service(service) => {
            for address in service.addresses() {
                found.insert(Bucket::ServiceAddress(address));
                found.insert(Bucket::Network(network(address)));
            }
        }
        Object::EndpointSlice(slice) => {
            if let Some(service) = slice.metadata.labels.get(SERVICE_NAME_LABEL) {
                found.insert(Bucket::Slices(key.namespace.clone(), service.clone()));
            }
            let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            for address in texts.filter_map(|text| text.parse().ok()) {
                found.insert(Bucket::EndpointAddress(address));
            }
        }
        Object::VirtualService(service) => {
            for host in &service.spec.hosts {
                found.insert(Bucket::Host(key.kind, hosts::resolve(host, &key.namespace)));
            }
            for gateway in &service.spec.gateways {
                let (namespace, name) = hosts::gateway(gateway, &key.namespace);
                found.insert(Bucket::Gateway(namespace, name));
            }
        }
        Object::DestinationRule(rule) => {
            let host = hosts::resolve(&rule.spec.host, &key.namespace);
            found.insert(Bucket::Host(key.kind, host));
        }
        // Endpoints may lie anywhere; the mesh's own networks are those of services
        // and of pods that have an address of their own.
        Object::Pod(pod) => {
            let own = pod.status.pod_ip.filter(|_| !pod.spec.host_network);
            found.extend(own.map(|address| Bucket::Network(network(address))));
        }
        Object::Namespace(_) | Object::ConfigMap(_) | Object::Gateway(_) => {}
    }
    found
}

/// The network that stands for the addresses around `address`: Kubernetes gives
/// services and pods /16 or more, and /64 or more of IPv6.
fn network(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(ip) => Ipv4Net::new_assert(ip, 16).trunc().into(),
        IpAddr::V6(ip) => Ipv6Net::new_assert(ip, 64).trunc().into(),
    }
}

//! How units look at the world: every look is recorded.

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use ipnet::IpNet;
use weft_api::{
    Key, Kind, Object,
    destination_rule::DestinationRule,
    gateway::Gateway,
    kubernetes::{ConfigMap, EndpointSlice, Pod, Service},
    virtual_service::VirtualService,
};

use crate::{
    closure::{Piece, Pool},
    directory::Listing,
    endpoints::Chunks,
    graph::{Graph, Source, Unit, Value},
    mesh::Mesh,
    world::{Bucket, Read},
};

/// A look at the world that remembers what was looked at.
pub(crate) struct View<'g> {
    graph: &'g Graph,
    reads: RefCell<HashSet<Source>>,
}

impl<'g> View<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Self { graph, reads: RefCell::default() }
    }

    pub(crate) fn into_reads(self) -> HashSet<Source> {
        self.reads.into_inner()
    }

    /// Pieces shared among answers; holds nothing that a unit could depend on.
    pub(crate) fn pool(&self) -> &'g Pool {
        self.graph.pool()
    }

    /// The keys in `bucket`, sorted.
    pub(crate) fn keys(&self, bucket: Bucket) -> Vec<Key> {
        let keys = self.graph.world().keys(&bucket).cloned().collect();
        self.record(Source::World(Read::Bucket(bucket)));
        keys
    }

    /// The networks in which services or pods have addresses.
    pub(crate) fn networks(&self) -> Vec<IpNet> {
        self.record(Source::World(Read::Networks));
        self.graph.world().networks().iter().copied().collect()
    }

    /// The service called `key`.
    pub(crate) fn service(&self, key: &Key) -> Option<&'g Service> {
        match self.object(key)? {
            Object::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The pod called `key`.
    pub(crate) fn pod(&self, key: &Key) -> Option<&'g Pod> {
        match self.object(key)? {
            Object::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    /// The ConfigMap called `key`.
    pub(crate) fn config_map(&self, key: &Key) -> Option<&'g ConfigMap> {
        match self.object(key)? {
            Object::ConfigMap(map) => Some(map),
            _ => None,
        }
    }

    /// The gateway called `key`.
    pub(crate) fn gateway(&self, key: &Key) -> Option<&'g Gateway> {
        match self.object(key)? {
            Object::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    /// The virtual service called `key`.
    pub(crate) fn virtual_service(&self, key: &Key) -> Option<&'g VirtualService> {
        match self.object(key)? {
            Object::VirtualService(service) => Some(service),
            _ => None,
        }
    }

    /// The destination rule called `key`.
    pub(crate) fn destination_rule(&self, key: &Key) -> Option<&'g DestinationRule> {
        match self.object(key)? {
            Object::DestinationRule(rule) => Some(rule),
            _ => None,
        }
    }

    /// The services of `namespace`.
    pub(crate) fn services_of(&self, namespace: &str) -> Vec<&'g Service> {
        let keys = self.keys(Bucket::Namespace(Kind::Service, namespace.to_owned()));
        keys.iter().filter_map(|key| self.service(key)).collect()
    }

    /// The pods of `namespace`.
    pub(crate) fn pods_of(&self, namespace: &str) -> Vec<&'g Pod> {
        let keys = self.keys(Bucket::Namespace(Kind::Pod, namespace.to_owned()));
        keys.iter().filter_map(|key| self.pod(key)).collect()
    }

    /// Every gateway.
    pub(crate) fn gateways(&self) -> Vec<&'g Gateway> {
        let keys = self.keys(Bucket::Kind(Kind::Gateway));
        keys.iter().filter_map(|key| self.gateway(key)).collect()
    }

    /// The services that have `address`.
    pub(crate) fn services_at(&self, address: std::net::IpAddr) -> Vec<&'g Service> {
        let keys = self.keys(Bucket::ServiceAddress(address));
        keys.iter().filter_map(|key| self.service(key)).collect()
    }

    /// The virtual services that name `host`.
    pub(crate) fn virtual_services(&self, host: &str) -> Vec<&'g VirtualService> {
        let keys = self.keys(Bucket::Host(Kind::VirtualService, host.to_owned()));
        keys.iter().filter_map(|key| self.virtual_service(key)).collect()
    }

    /// The virtual services that name gateway `name` of `namespace`.
    pub(crate) fn bound_to(&self, namespace: &str, name: &str) -> Vec<&'g VirtualService> {
        let keys = self.keys(Bucket::Gateway(namespace.to_owned(), name.to_owned()));
        keys.iter().filter_map(|key| self.virtual_service(key)).collect()
    }

    /// The destination rules that name `host`.
    pub(crate) fn destination_rules(&self, host: &str) -> Vec<&'g DestinationRule> {
        let keys = self.keys(Bucket::Host(Kind::DestinationRule, host.to_owned()));
        keys.iter().filter_map(|key| self.destination_rule(key)).collect()
    }

    /// The EndpointSlices of a service.
    pub(crate) fn slices_of(&self, service: &Key) -> Vec<&'g EndpointSlice> {
        self.slices(Bucket::Slices(service.namespace.clone(), service.name.clone()))
    }

    /// The EndpointSlices that have `address`.
    pub(crate) fn slices_at(&self, address: std::net::IpAddr) -> Vec<&'g EndpointSlice> {
        self.slices(Bucket::EndpointAddress(address))
    }

    /// The mesh's settings.
    pub(crate) fn mesh(&self) -> Arc<Mesh> {
        match self.unit(Unit::Mesh) {
            Value::Mesh(mesh) => mesh,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// The endpoints of a service.
    pub(crate) fn chunks(&self, service: &Key) -> Arc<Chunks> {
        match self.unit(Unit::Chunks(service.clone())) {
            Value::Chunks(chunks) => chunks,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// What an object adds to directories.
    pub(crate) fn listing(&self, key: &Key) -> Arc<Listing> {
        match self.unit(Unit::Listing(key.clone())) {
            Value::Listing(listing) => listing,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// The directory of the clients in `namespace`.
    pub(crate) fn directory(&self, namespace: &str) -> Piece {
        match self.unit(Unit::Directory(namespace.to_owned())) {
            Value::Directory(piece) => piece,
            _ => unreachable!("the unit computes this value"),
        }
    }

    fn slices(&self, bucket: Bucket) -> Vec<&'g EndpointSlice> {
        let keys = self.keys(bucket);
        let slices = keys.iter().filter_map(|key| match self.object(key)? {
            Object::EndpointSlice(slice) => Some(slice),
            _ => None,
        });
        slices.collect()
    }

    fn object(&self, key: &Key) -> Option<&'g Object> {
        self.record(Source::World(Read::Object(key.clone())));
        self.graph.world().object(key).map(|object| &**object)
    }

    fn unit(&self, unit: Unit) -> Value {
        let value = self.graph.value(&unit);
        self.record(Source::Unit(unit));
        value
    }

    fn record(&self, source: Source) {
        self.reads.borrow_mut().insert(source);
    }
}

//! How units look at the world: every look is recorded.

mod defined;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_api::{
    Key, Kind, Object,
    destination_rule::DestinationRule,
    gateway::Gateway,
    ingress::Ingress,
    kubernetes::{ConfigMap, EndpointSlice, Pod, Service},
    selector::selects,
    service_entry::ServiceEntry,
    virtual_service::VirtualService,
};

use weft_config::Interest;

use crate::{
    Class, Client, Group, Installation, Resolved,
    closure::{Piece, Pool},
    clusters::{
        destination_rules::{self, HostPolicies, SeenPolicies},
        endpoints::{Addresses, Chunks},
        label_sets::LabelSets,
    },
    diagnose::virtual_services::left_out::LeftOut,
    directory::{DirectoryEntry, Reach, Slot},
    graph::{
        Graph, Source, SourceId,
        objects::{Bucket, Read},
        unit::{Unit, Value},
    },
    listeners::{Limited, Served},
    model::{
        age::Age,
        hosts,
        mesh_config::Mesh,
        picked::{Exposed, Picked, PodSelector},
        registry::Definition,
    },
    routes::{
        delegates::{DelegateSize, Merged},
        foreign::{Chosen, RuleKind},
        shared::SharedRules,
        virtual_services,
    },
};

/// Labels of a selector by which pods are looked up.
const LABELS: usize = 8;

/// The value of a unit, which is of one kind for all units that are made so.
macro_rules! value_of {
    ($view:ident, $kind:ident, $unit:expr) => {
        match $view.unit($unit) {
            Value::$kind(value) => value,
            _ => unreachable!("the unit computes this value"),
        }
    };
}

/// A look at the world that remembers what was looked at.
pub(crate) struct View<'g> {
    graph: &'g Graph,
    /// The rank of the unit that looks, and whether it is lazy.
    reader: (u8, bool),
    reads: RefCell<Vec<SourceId>>,
    policies: SeenPolicies,
}

impl<'g> View<'g> {
    /// The look of `unit`.
    pub(crate) fn new(graph: &'g Graph, unit: &Unit) -> Self {
        let reader = (unit.rank(), unit.is_lazy());
        Self { graph, reader, reads: RefCell::default(), policies: SeenPolicies::default() }
    }

    /// What was looked at, perhaps several times.
    pub(crate) fn into_reads(self) -> Vec<SourceId> {
        self.reads.into_inner()
    }

    /// Pieces shared among answers; holds nothing that a unit could depend on.
    pub(crate) fn pool(&self) -> &'g Pool {
        self.graph.pool()
    }

    /// The policies that were looked at.
    pub(crate) fn policies(&self) -> &SeenPolicies {
        &self.policies
    }

    /// How the mesh is installed, which never changes.
    pub(crate) fn installation(&self) -> &'g Installation {
        &self.graph.world().installation
    }

    /// The keys in `bucket`, sorted.
    pub(crate) fn keys(&self, bucket: Bucket) -> Vec<Arc<Key>> {
        let keys = self.graph.world().keys(&bucket);
        self.record(Source::World(Read::Bucket(bucket)));
        keys
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

    /// The Ingress called `key`.
    pub(crate) fn ingress(&self, key: &Key) -> Option<&'g Ingress> {
        match self.object(key)? {
            Object::Ingress(ingress) => Some(ingress),
            _ => None,
        }
    }

    /// The controller of the IngressClass `name`.
    pub(crate) fn ingress_controller(&self, name: &str) -> Option<String> {
        match self.object(&Key::new(Kind::IngressClass, "", name))? {
            Object::IngressClass(class) => Some(class.spec.controller.clone()),
            _ => None,
        }
    }

    /// The service entry called `key`.
    pub(crate) fn service_entry(&self, key: &Key) -> Option<&'g ServiceEntry> {
        match self.object(key)? {
            Object::ServiceEntry(entry) => Some(entry),
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

    /// The services of `namespace` whose selectors pick a pod with `labels`, older
    /// first.
    pub(crate) fn services_picking(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<&'g Service> {
        let buckets = labels.iter().map(|(name, value)| {
            // Each selector is found by its first label.
            Bucket::Selecting(namespace.to_owned(), name.clone(), value.clone())
        });
        let keys = buckets.flat_map(|bucket| self.keys(bucket));
        let mut services: Vec<&Service> = keys
            .filter_map(|key| self.service(&key))
            .filter(|service| selects(&service.spec.selector, labels))
            .collect();
        services.sort_by_cached_key(|service| Age::of(&service.metadata));
        services
    }

    /// The first `count` pods that have the rarest label of `selector`.
    pub(crate) fn pod_candidates(&self, selector: &PodSelector, count: usize) -> Vec<Arc<Key>> {
        let labels = selector.labels.iter().take(LABELS);
        let mut buckets: Vec<Bucket> =
            labels.map(|(name, value)| Bucket::PodLabel(name.clone(), value.clone())).collect();
        if buckets.is_empty() {
            buckets.push(Bucket::Kind(Kind::Pod));
        }
        let namespace = selector.namespace.as_deref();
        let found = self.graph.world().first_of_fewest(&buckets, namespace, count);
        for bucket in buckets {
            self.record(Source::World(Read::Bucket(bucket)));
        }
        found
    }

    /// The pods that `labels` pick, in `namespace` if there is one.
    pub(crate) fn picked(
        &self,
        labels: &BTreeMap<String, String>,
        namespace: Option<&str>,
    ) -> Arc<Picked> {
        let selector =
            PodSelector { labels: labels.clone(), namespace: namespace.map(str::to_owned) };
        value_of!(self, Picked, Unit::Picked(selector))
    }

    /// The ports of the pod called `key` that hosts lead to.
    pub(crate) fn exposed(&self, key: &Key) -> Arc<Exposed> {
        value_of!(self, Exposed, Unit::Exposed(key.clone()))
    }

    /// The hosts that the servers of the Gateway called `key` serve.
    pub(crate) fn served(&self, key: &Key) -> Option<Arc<Served>> {
        value_of!(self, Served, Unit::Served(key.clone()))
    }

    /// Every gateway.
    pub(crate) fn gateways(&self) -> Vec<&'g Gateway> {
        let keys = self.keys(Bucket::Kind(Kind::Gateway));
        keys.iter().filter_map(|key| self.gateway(key)).collect()
    }

    /// The gateways whose selectors pick a pod with `labels`, in no order.
    pub(crate) fn gateways_selecting(&self, labels: &BTreeMap<String, String>) -> Vec<&'g Gateway> {
        // Each selector is found by its first label.
        let firsts = labels.iter().map(|(name, value)| Some((name.clone(), value.clone())));
        let keys =
            firsts.chain([None]).flat_map(|first| self.keys(Bucket::GatewaySelectors(first)));
        let gateways = keys.filter_map(|key| self.gateway(&key));
        gateways.filter(|gateway| selects(&gateway.spec.selector, labels)).collect()
    }

    /// The virtual services that name `host`.
    pub(crate) fn virtual_services(&self, host: &str) -> Vec<Arc<Key>> {
        self.keys(Bucket::Host(Kind::VirtualService, host.to_owned()))
    }

    /// How much the virtual service called `key` says that others may delegate to.
    pub(crate) fn delegate_size(&self, key: &Key) -> DelegateSize {
        value_of!(self, DelegateSize, Unit::DelegateSize(key.clone()))
    }

    /// How many bytes the virtual service called `key` takes from delegates.
    pub(crate) fn taken(&self, key: &Key) -> usize {
        value_of!(self, Taken, Unit::Taken(key.clone()))
    }

    /// The virtual services of `namespace` that would take too much from delegates, together with
    /// older ones.
    pub(crate) fn taking_too_much(&self, namespace: &str) -> Arc<BTreeSet<Arc<Key>>> {
        value_of!(self, TakingTooMuch, Unit::TakingTooMuch(namespace.to_owned()))
    }

    /// Whether the virtual service called `key` is one of them.
    pub(crate) fn takes_too_much(&self, key: &Key) -> bool {
        value_of!(self, TakesTooMuch, Unit::TakesTooMuch(key.clone()))
    }

    /// Whether the virtual service called `key` is closed as a whole.
    pub(crate) fn is_closed(&self, key: &Key) -> bool {
        value_of!(self, IsClosed, Unit::IsClosed(key.clone()))
    }

    /// The HTTP rules of the virtual service called `key` with those of its delegates; none where
    /// it has no delegates.
    pub(crate) fn merged(&self, key: &Key) -> Option<Arc<Merged>> {
        value_of!(self, Merged, Unit::Merged(key.clone()))
    }

    /// What decides where the virtual service called `key` speaks.
    pub(crate) fn virtual_service_summary(
        &self,
        key: &Key,
    ) -> Option<Arc<virtual_services::Summary>> {
        value_of!(self, VirtualService, Unit::VirtualService(key.clone()))
    }

    /// The virtual services for sidecars that name `host`, the older ones first.
    pub(crate) fn virtual_services_of(
        &self,
        host: &str,
    ) -> Arc<Vec<Arc<virtual_services::Summary>>> {
        value_of!(self, VirtualServices, Unit::VirtualServicesOf(host.to_owned()))
    }

    /// Those that clients in `namespace` see, the one to use first.
    pub(crate) fn virtual_services_for(
        &self,
        host: &str,
        namespace: &str,
    ) -> Arc<Vec<Arc<virtual_services::Summary>>> {
        value_of!(
            self,
            VirtualServices,
            Unit::VirtualServicesFor(host.to_owned(), namespace.to_owned())
        )
    }

    /// Those whose rules the clients in `namespace` use for `host`.
    pub(crate) fn chosen(&self, host: &str, namespace: &str, kind: RuleKind) -> Arc<Chosen> {
        value_of!(self, Chosen, Unit::Chosen(host.to_owned(), namespace.to_owned(), kind))
    }

    /// What the virtual service called `key` says to the sidecars of `group` on `port`.
    pub(crate) fn shared_rules(&self, key: &Key, group: &Group, port: u16) -> Arc<SharedRules> {
        value_of!(self, SharedRules, Unit::SharedRules(key.clone(), Arc::new(group.clone()), port))
    }

    /// The patterns that may cover `host`, most specific first. No object names those that are
    /// not [`Pattern::is_named`], which costs one read, however many they are.
    pub(crate) fn patterns<'h>(&self, host: &'h str) -> impl Iterator<Item = Pattern> + 'h {
        let (known, next) = self.graph.world().longest_ending(host);
        if let Some(next) = next {
            self.record(Source::World(Read::Bucket(next)));
        }
        hosts::patterns(host).map(move |text| {
            let is_named = text.len() <= known + 1;
            Pattern { text, is_named }
        })
    }

    /// The virtual services that name gateway `name` of `namespace`, or that may do so.
    pub(crate) fn bound_to(&self, namespace: &str, name: &str) -> Vec<Arc<Key>> {
        let mut keys = self.keys(Bucket::Gateway(namespace.to_owned(), name.to_owned()));
        keys.extend(self.keys(Bucket::AnyGateway));
        keys
    }

    /// The destination rules that name `host`.
    pub(crate) fn destination_rules(&self, host: &str) -> Vec<(Arc<Key>, &'g DestinationRule)> {
        let keys = self.keys(Bucket::Host(Kind::DestinationRule, host.to_owned())).into_iter();
        keys.filter_map(|key| Some((Arc::clone(&key), self.destination_rule(&key)?))).collect()
    }

    /// What the destination rules that name `host` say of which of them hold.
    pub(crate) fn destination_rules_of(
        &self,
        host: &str,
    ) -> Arc<Vec<Arc<destination_rules::Summary>>> {
        value_of!(self, DestinationRulesOf, Unit::DestinationRulesOf(host.to_owned()))
    }

    /// The policies for `host`, a host or a pattern, as all groups see them that differ from
    /// `group` in nothing that the rules for it name.
    pub(crate) fn shared_policies(&self, host: &str, group: Group) -> Arc<HostPolicies> {
        value_of!(self, HostPolicies, Unit::SharedPolicies(host.to_owned(), Arc::new(group)))
    }

    /// The policies for `host`, a host or a pattern, as `group` sees them.
    pub(crate) fn host_policies(&self, host: &str, group: Group) -> Arc<HostPolicies> {
        value_of!(self, HostPolicies, Unit::HostPolicies(host.to_owned(), Arc::new(group)))
    }

    /// The names of the labels in subsets of the rules that name `name`.
    pub(crate) fn labels_in_subsets(&self, name: String) -> Arc<BTreeSet<String>> {
        value_of!(self, LabelsInSubsets, Unit::LabelsInSubsets(name))
    }

    /// The mesh's settings.
    pub(crate) fn mesh(&self) -> Arc<Mesh> {
        value_of!(self, Mesh, Unit::Mesh)
    }

    /// The endpoints of a host.
    pub(crate) fn chunks(&self, defined: &Definition) -> Arc<Chunks> {
        value_of!(self, Chunks, Unit::Chunks(defined.owner.clone(), defined.host.clone()))
    }

    /// The labels of those endpoints.
    pub(crate) fn label_sets(&self, defined: &Definition) -> Arc<LabelSets> {
        value_of!(self, LabelSets, Unit::LabelSets(defined.owner.clone(), defined.host.clone()))
    }

    /// The addresses behind the host that `owner` defines, ready or not.
    pub(crate) fn addresses(&self, owner: &Key) -> Arc<Addresses> {
        value_of!(self, Addresses, Unit::Addresses(owner.clone()))
    }

    /// What the proxy of `client` runs, if one is connected. A caller that gets none computes the
    /// part it needs, with the same result.
    pub(crate) fn own_answer(&self, client: &Client) -> Option<Arc<Resolved>> {
        let unit = Unit::Answer(Class::One(Arc::new(client.clone())), Interest::Own);
        match self.graph.held(&unit)? {
            Value::Answer(resolved) => {
                self.record(Source::Unit(unit));
                Some(resolved)
            }
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// The virtual services that are left out for clients of other namespaces, of those that
    /// name `host`.
    pub(crate) fn left_out(&self, host: &str) -> Arc<LeftOut> {
        value_of!(self, LeftOut, Unit::LeftOut(host.to_owned()))
    }

    /// The pods of gateways that are not examined.
    pub(crate) fn skipped_gateways(&self) -> Arc<BTreeSet<Arc<Key>>> {
        value_of!(self, SkippedGateways, Unit::SkippedGateways)
    }

    /// Whether the gateway in the pod called `key` is not examined.
    pub(crate) fn is_skipped(&self, key: &Key) -> bool {
        value_of!(self, IsSkipped, Unit::IsSkipped(key.clone()))
    }

    /// What the gateway in the pod called `key` does not serve in full; none if it is not
    /// examined.
    pub(crate) fn limited(&self, key: &Key) -> Option<Arc<Limited>> {
        value_of!(self, Limited, Unit::Limited(key.clone()))
    }

    /// What an object adds to directories.
    pub(crate) fn directory_entry(&self, key: &Key) -> Arc<DirectoryEntry> {
        value_of!(self, DirectoryEntry, Unit::DirectoryEntry(key.clone()))
    }

    /// What the objects of `slot` add to the directory of `reach`.
    pub(crate) fn directory_slot(&self, reach: &Reach, slot: u8) -> Arc<Slot> {
        value_of!(self, DirectorySlot, Unit::DirectorySlot(reach.clone(), slot))
    }

    /// The chunks with the addresses behind the headless host that `owner` defines.
    pub(crate) fn directory_addresses(&self, owner: &Key) -> Arc<Vec<Piece>> {
        value_of!(self, DirectoryAddresses, Unit::DirectoryAddresses(owner.clone()))
    }

    /// The EndpointSlices in `bucket`.
    pub(crate) fn slices(&self, bucket: Bucket) -> Vec<&'g EndpointSlice> {
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
        let (rank, is_lazy) = self.reader;
        debug_assert!(unit.rank() < rank, "{unit:?} is of a later kind than its reader");
        debug_assert!(is_lazy || !unit.is_lazy(), "a unit that is not lazy reads {unit:?}");
        let value = self.graph.value(&unit);
        self.record(Source::Unit(unit));
        value
    }

    fn record(&self, source: Source) {
        let id = self.graph.intern(source);
        self.reads.borrow_mut().push(id);
    }
}

/// A pattern that may cover a host.
pub(crate) struct Pattern {
    pub(crate) text: String,
    /// Whether virtual services or service entries may name it.
    pub(crate) is_named: bool,
}

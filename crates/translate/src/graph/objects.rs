//! Every object, and the buckets by which units find them.
//!
//! The world knows nothing of classes or answers: it stores, indexes, and says
//! what a change touched.

mod endings;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use weft_api::{
    Key, Kind, Object,
    kubernetes::SERVICE_NAME_LABEL,
    service_entry::{AddressRange, ServiceEntry},
};

use crate::{
    Installation, directory,
    model::{hosts, registry, visibility},
    routes::delegates,
};
use endings::{Ending, Endings};

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
    /// Patterns of VirtualServices and ServiceEntries with an ending that none had.
    Ending(Ending),
    /// DestinationRules of a namespace with a workload selector, by its first label.
    Selectors(String, Option<(String, String)>),
    /// Sidecars of a namespace, by the first label of their selectors.
    SidecarSelectors(String, Option<(String, String)>),
    /// Gateways, by the first label of their selectors.
    GatewaySelectors(Option<(String, String)>),
    /// VirtualServices bound to a gateway, by namespace and name.
    Gateway(String, String),
    /// VirtualServices of a namespace that take rules from delegates.
    Delegating(String),
    /// VirtualServices that may be bound to any gateway: what they say of it cannot be read.
    AnyGateway,
    /// Objects that define a host, by its full name.
    Defines(String),
    /// Services and ServiceEntries with an address.
    ServiceAddress(IpAddr),
    /// ServiceEntries with a range of addresses.
    Range(AddressRange),
    /// Bits that the addresses of some range have in common: the sizes of ranges that there are.
    RangeSizes,
    /// EndpointSlices with an address.
    EndpointAddress(IpAddr),
    /// Pods with a label.
    PodLabel(String, String),
    /// WorkloadEntries of a namespace with a label.
    EntryLabel(String, String, String),
    /// Services and ServiceEntries of a namespace with a selector, by its first label.
    Selecting(String, String, String),
    /// Objects that add to directories, by [`directory::slot`].
    Slot(u8),
    /// Objects that add to the directory of a namespace's own, as far as they say
    /// themselves: its own objects and those exported to it by name.
    SlotOf(String, u8),
}

/// Room for labels that is not worth giving back.
const SPARE: usize = 64;

/// Something a unit has read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Read {
    /// An object, there or not.
    Object(Key),
    /// Which objects are in a bucket.
    Bucket(Bucket),
}

/// Every object.
#[derive(Default)]
pub(crate) struct World {
    /// How the mesh is installed.
    pub(crate) installation: Installation,
    objects: HashMap<Arc<Key>, Arc<Object>>,
    buckets: HashMap<Bucket, BTreeSet<Arc<Key>>>,
    /// Pods by label, for labels that something has asked about: selectors name few
    /// of the labels that pods have.
    labelled: RefCell<HashMap<Bucket, BTreeSet<Arc<Key>>>>,
    /// Of the patterns that VirtualServices and ServiceEntries name.
    endings: Endings,
    /// How many ranges of addresses there are that have so many bits in common.
    range_sizes: BTreeMap<u8, usize>,
}

impl World {
    /// No objects, of a mesh that is installed so.
    pub(crate) fn with(installation: Installation) -> Self {
        Self { installation, ..Self::default() }
    }

    /// Stores or removes the object called `key`, and calls `touched` with all that that
    /// touches; with nothing when it is as it was.
    pub(crate) fn apply(
        &mut self,
        key: Key,
        object: Option<Object>,
        touched: &mut impl FnMut(Read),
    ) {
        let old = self.objects.get(&key);
        if old.map(|old| &**old) == object.as_ref() {
            return;
        }
        let before = old.map(|old| buckets(&key, old, &self.installation)).unwrap_or_default();
        let after =
            object.as_ref().map(|new| buckets(&key, new, &self.installation)).unwrap_or_default();
        let labels = [labels(old.map(|old| &**old)), labels(object.as_ref())];
        touched(Read::Object(key.clone()));
        let key = Arc::new(key);
        relabel(self.labelled.get_mut(), &key, labels).into_iter().for_each(&mut *touched);
        for bucket in before.difference(&after) {
            self.leave(bucket, &key, touched);
        }
        for bucket in after.difference(&before) {
            self.enter(bucket, &key, touched);
        }
        match object {
            Some(object) => self.objects.insert(key, Arc::new(object)),
            None => self.objects.remove(&key),
        };
    }

    /// The object called `key`.
    pub(crate) fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Every object with its key, in no order.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.objects.iter().map(|(key, object)| (&**key, object))
    }

    /// The keys in `bucket`, sorted.
    pub(crate) fn keys(&self, bucket: &Bucket) -> Vec<Arc<Key>> {
        if let Bucket::PodLabel(name, value) = bucket {
            return self.pods_with(bucket, name, value);
        }
        self.buckets.get(bucket).into_iter().flatten().cloned().collect()
    }

    /// How many bytes at the end of `host` some pattern has, too, and the next longer ending.
    pub(crate) fn longest_ending(&self, host: &str) -> (usize, Option<Bucket>) {
        let (length, next) = self.endings.longest(host);
        (length, next.map(Bucket::Ending))
    }

    /// The sizes of ranges of addresses that there are, in bits, the smallest ranges first.
    pub(crate) fn range_sizes(&self) -> Vec<u8> {
        self.range_sizes.keys().rev().copied().collect()
    }

    /// Forgets which pods are in `bucket`, which nothing reads any more.
    pub(crate) fn forget_label(&self, bucket: &Bucket) {
        let mut labelled = self.labelled.borrow_mut();
        labelled.remove(bucket);
        if labelled.capacity() > 4 * labelled.len() + SPARE {
            labelled.shrink_to_fit();
        }
    }

    /// How many labels something has asked about.
    #[cfg(test)]
    pub(crate) fn labels_known(&self) -> usize {
        self.labelled.borrow().len()
    }

    /// How many keys are in `bucket`.
    pub(crate) fn count(&self, bucket: &Bucket) -> usize {
        self.buckets.get(bucket).map_or(0, BTreeSet::len)
    }

    /// The first `count` keys in the one of `buckets` with the fewest, those in `namespace` if
    /// there is one.
    pub(crate) fn first_of_fewest(
        &self,
        buckets: &[Bucket],
        namespace: Option<&str>,
        count: usize,
    ) -> Vec<Arc<Key>> {
        for bucket in buckets {
            if let Bucket::PodLabel(name, value) = bucket {
                self.label(bucket, name, value);
            }
        }
        let labelled = self.labelled.borrow();
        let keys = |bucket| labelled.get(bucket).or_else(|| self.buckets.get(bucket));
        let fewest = buckets.iter().min_by_key(|bucket| keys(bucket).map_or(0, BTreeSet::len));
        let Some(fewest) = fewest.and_then(keys) else { return Vec::new() };
        match namespace {
            None => fewest.iter().take(count).cloned().collect(),
            Some(namespace) => {
                let from = Key::new(Kind::Pod, namespace, "");
                let own = fewest.range(from..).take_while(|key| key.namespace == namespace);
                own.take(count).cloned().collect()
            }
        }
    }

    fn pods_with(&self, bucket: &Bucket, name: &str, value: &str) -> Vec<Arc<Key>> {
        self.label(bucket, name, value);
        self.labelled.borrow().get(bucket).into_iter().flatten().cloned().collect()
    }

    /// Finds the pods with a label, unless that was done before.
    fn label(&self, bucket: &Bucket, name: &str, value: &str) {
        let mut labelled = self.labelled.borrow_mut();
        labelled.entry(bucket.clone()).or_insert_with(|| {
            let all = self.buckets.get(&Bucket::Kind(Kind::Pod)).into_iter().flatten();
            let has = |key: &&Arc<Key>| {
                labels(self.objects.get(&***key).map(|object| &**object))
                    .is_some_and(|labels| labels.get(name).is_some_and(|own| own == value))
            };
            all.filter(has).cloned().collect()
        });
    }

    fn leave(&mut self, bucket: &Bucket, key: &Arc<Key>, touched: &mut impl FnMut(Read)) {
        touched(Read::Bucket(bucket.clone()));
        if let Some(pattern) = pattern(bucket) {
            // What no pattern covered is not covered now either.
            self.endings.remove(pattern);
        }
        if let Bucket::Range(range) = bucket
            && let Some(count) = self.range_sizes.get_mut(&range.bits)
        {
            *count -= 1;
            if *count == 0 {
                self.range_sizes.remove(&range.bits);
                touched(Read::Bucket(Bucket::RangeSizes));
            }
        }
        let Some(keys) = self.buckets.get_mut(bucket) else { return };
        keys.remove(key);
        if keys.is_empty() {
            self.buckets.remove(bucket);
        }
    }

    fn enter(&mut self, bucket: &Bucket, key: &Arc<Key>, touched: &mut impl FnMut(Read)) {
        touched(Read::Bucket(bucket.clone()));
        if let Some(pattern) = pattern(bucket) {
            let new = self.endings.add(pattern).into_iter();
            new.for_each(|ending| touched(Read::Bucket(Bucket::Ending(ending))));
        }
        if let Bucket::Range(range) = bucket {
            let count = self.range_sizes.entry(range.bits).or_default();
            *count += 1;
            if *count == 1 {
                touched(Read::Bucket(Bucket::RangeSizes));
            }
        }
        self.buckets.entry(bucket.clone()).or_default().insert(Arc::clone(key));
    }
}

/// The pattern, or the host, that objects in `bucket` give rules for or define.
fn pattern(bucket: &Bucket) -> Option<&str> {
    match bucket {
        Bucket::Host(Kind::VirtualService, pattern) | Bucket::Defines(pattern) => Some(pattern),
        _ => None,
    }
}

/// The buckets that an object belongs to.
fn buckets(key: &Key, object: &Object, installation: &Installation) -> HashSet<Bucket> {
    let mut found = HashSet::new();
    found.insert(Bucket::Kind(key.kind));
    found.insert(Bucket::Namespace(key.kind, key.namespace.clone()));
    match object {
        Object::Service(service) => {
            found.insert(Bucket::Defines(registry::host_of(&service.metadata, installation)));
            for address in service.addresses() {
                found.insert(Bucket::ServiceAddress(address));
            }
            found.extend(service.spec.selector.first_key_value().map(|(name, value)| {
                Bucket::Selecting(key.namespace.clone(), name.clone(), value.clone())
            }));
            found.extend(in_directories(key, &visibility::of_service(service)));
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
                found.insert(Bucket::Host(key.kind, installation.resolve(host, &key.namespace)));
            }
            for gateway in &service.spec.gateways {
                let (namespace, name) = hosts::gateway(gateway, &key.namespace);
                found.insert(Bucket::Gateway(namespace.to_owned(), name.to_owned()));
            }
            if delegates::has_delegates(service) {
                found.insert(Bucket::Delegating(key.namespace.clone()));
            }
            if service.spec.closed.iter().any(|field| field == "gateways") {
                found.insert(Bucket::AnyGateway);
            }
            found.extend(in_directories(key, &service.spec.export_to));
        }
        Object::DestinationRule(rule) => {
            let host = installation.resolve(&rule.spec.host, &key.namespace);
            found.insert(Bucket::Host(key.kind, host));
            found.extend(rule.spec.workload_selector.as_ref().map(|selector| {
                let first = selector.match_labels.first_key_value();
                let first = first.map(|(name, value)| (name.clone(), value.clone()));
                Bucket::Selectors(key.namespace.clone(), first)
            }));
        }
        Object::Gateway(gateway) => {
            let first = gateway.spec.selector.first_key_value();
            let first = first.map(|(name, value)| (name.clone(), value.clone()));
            found.insert(Bucket::GatewaySelectors(first));
        }
        Object::Sidecar(sidecar) => {
            let labels = sidecar.spec.workload_selector.iter().flat_map(|one| &one.labels);
            let first = labels.map(|(name, value)| (name.clone(), value.clone())).next();
            found.insert(Bucket::SidecarSelectors(key.namespace.clone(), first));
        }
        Object::ServiceEntry(entry) => found.extend(of_entry(key, entry, installation)),
        Object::WorkloadEntry(entry) => {
            found.extend(entry.spec.labels.iter().map(|(name, value)| {
                Bucket::EntryLabel(key.namespace.clone(), name.clone(), value.clone())
            }));
        }
        Object::Namespace(_)
        | Object::ConfigMap(_)
        | Object::Pod(_)
        | Object::Ingress(_)
        | Object::IngressClass(_) => {}
    }
    found
}

/// The buckets of a ServiceEntry.
fn of_entry(key: &Key, entry: &ServiceEntry, installation: &Installation) -> Vec<Bucket> {
    let hosts = registry::hosts_of_entry(entry, installation).map(Bucket::Defines);
    let addresses = registry::ranges_of_entry(entry).map(|range| match range.single() {
        Some(address) => Bucket::ServiceAddress(address),
        None => Bucket::Range(range),
    });
    let selector = entry.spec.workload_selector.as_ref();
    let first = selector.and_then(|selector| selector.labels.first_key_value());
    let selecting = first
        .map(|(name, value)| Bucket::Selecting(key.namespace.clone(), name.clone(), value.clone()));
    let found = hosts.chain(addresses).chain(selecting);
    found.chain(in_directories(key, &entry.spec.export_to)).collect()
}

/// The labels of a pod.
fn labels(object: Option<&Object>) -> Option<&BTreeMap<String, String>> {
    match object {
        Some(Object::Pod(pod)) => Some(&pod.metadata.labels),
        _ => None,
    }
}

/// Moves the pod called `key` among the labels that something has asked about.
fn relabel(
    labelled: &mut HashMap<Bucket, BTreeSet<Arc<Key>>>,
    key: &Arc<Key>,
    [before, after]: [Option<&BTreeMap<String, String>>; 2],
) -> Vec<Read> {
    if before == after {
        return Vec::new();
    }
    let buckets = |labels: Option<&BTreeMap<String, String>>| -> HashSet<Bucket> {
        let all = labels.into_iter().flatten();
        all.map(|(name, value)| Bucket::PodLabel(name.clone(), value.clone())).collect()
    };
    let (before, after) = (buckets(before), buckets(after));
    let mut touched = Vec::new();
    for bucket in before.symmetric_difference(&after) {
        let Some(pods) = labelled.get_mut(bucket) else { continue };
        match after.contains(bucket) {
            true => pods.insert(Arc::clone(key)),
            false => pods.remove(key),
        };
        touched.push(Read::Bucket(bucket.clone()));
    }
    touched
}

/// The buckets of an object that adds to directories and names `export_to`.
fn in_directories<'k>(key: &'k Key, export_to: &'k [String]) -> impl Iterator<Item = Bucket> + 'k {
    let named = export_to.iter().filter(|name| !matches!(name.as_str(), "*" | "." | "~"));
    let slot = directory::own_slot(key);
    std::iter::once(&key.namespace)
        .chain(named)
        .map(move |namespace| Bucket::SlotOf(namespace.clone(), slot))
        .chain(std::iter::once(Bucket::Slot(directory::slot(key))))
}

//! How units look at what defines hosts, and at what ServiceEntries and Services pick.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_api::{
    Key, Object,
    kubernetes::Pod,
    selector::selects,
    service_entry::{AddressRange, ServiceEntry, WorkloadEntry},
    sidecar::Sidecar,
};

use super::View;
use crate::{
    graph::{
        Source,
        objects::{Bucket, Read},
        unit::{Unit, Value},
    },
    model::{age::Age, registry::Definition, sidecar::Imports, sight::FirstAt},
};

impl<'g> View<'g> {
    /// The sidecar called `key`.
    pub(crate) fn sidecar(&self, key: &Key) -> Option<&'g Sidecar> {
        match self.object(key)? {
            Object::Sidecar(sidecar) => Some(sidecar),
            _ => None,
        }
    }

    /// What the sidecar called `key` lets its workloads see.
    pub(crate) fn imports(&self, key: &Key) -> Option<Arc<Imports>> {
        match self.unit(Unit::Imports(key.clone())) {
            Value::Imports(imports) => imports,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// The workload entries of `namespace` that `selector` picks, by name; none for an empty one.
    pub(crate) fn workload_entries(
        &self,
        namespace: &str,
        selector: &BTreeMap<String, String>,
    ) -> Vec<&'g WorkloadEntry> {
        let Some((name, value)) = selector.first_key_value() else { return Vec::new() };
        let bucket = Bucket::EntryLabel(namespace.to_owned(), name.clone(), value.clone());
        let entries = self.keys(bucket).into_iter().filter_map(|key| match self.object(&key)? {
            Object::WorkloadEntry(entry) => Some(entry),
            _ => None,
        });
        entries.filter(|entry| selects(selector, &entry.spec.labels)).collect()
    }

    /// The pods of `namespace` that `selector` picks, by name; none for an empty one.
    pub(crate) fn pods_picked(
        &self,
        namespace: &str,
        selector: &BTreeMap<String, String>,
    ) -> Vec<&'g Pod> {
        let Some((name, value)) = selector.first_key_value() else { return Vec::new() };
        let keys = self.keys(Bucket::PodLabel(name.clone(), value.clone())).into_iter();
        let own = keys.filter(|key| key.namespace == namespace);
        let pods = own.filter_map(|key| self.pod(&key));
        pods.filter(|pod| selects(selector, &pod.metadata.labels)).collect()
    }

    /// The service entries of `namespace` whose selectors pick a pod with `labels`, older first.
    pub(crate) fn entries_picking(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<&'g ServiceEntry> {
        let buckets = labels.iter().map(|(name, value)| {
            Bucket::Selecting(namespace.to_owned(), name.clone(), value.clone())
        });
        let keys = buckets.flat_map(|bucket| self.keys(bucket));
        let entries = keys.filter_map(|key| self.service_entry(&key));
        let mut entries: Vec<&ServiceEntry> = entries
            .filter(|entry| {
                let selector = entry.spec.workload_selector.as_ref();
                selector.is_some_and(|selector| selects(&selector.labels, labels))
            })
            .collect();
        entries.sort_by_cached_key(|entry| Age::of(&entry.metadata));
        entries
    }

    /// What the object called `key` says of the first host that it defines.
    pub(crate) fn definition(&self, key: &Key) -> Option<Arc<Definition>> {
        self.definitions_of(key).first().cloned()
    }

    /// What the object called `key` says of the hosts that it defines.
    pub(crate) fn definitions_of(&self, key: &Key) -> Arc<Vec<Arc<Definition>>> {
        match self.unit(Unit::Definitions(key.clone())) {
            Value::Definitions(found) => found,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// The definitions of `host`, a full name or a pattern: Services, then those of older objects.
    pub(crate) fn definitions(&self, host: &str) -> Vec<Arc<Definition>> {
        let keys = self.keys(Bucket::Defines(host.to_owned()));
        let of = |key: &Arc<Key>| {
            let all = self.definitions_of(key);
            all.iter().find(|definition| definition.host == host).cloned()
        };
        let mut found: Vec<_> = keys.iter().filter_map(of).collect();
        found.sort_by(|one, other| one.order().cmp(&other.order()));
        found
    }

    /// Which objects other than Services have `address` for clients of every namespace.
    pub(crate) fn first_at(&self, address: IpAddr) -> Arc<FirstAt> {
        match self.unit(Unit::FirstAt(address)) {
            Value::FirstAt(found) => found,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// The definitions of hosts that have `address`: Services, then those of older objects; the
    /// first host of each.
    pub(crate) fn definitions_at(&self, address: IpAddr) -> Vec<Arc<Definition>> {
        self.defined_in(Bucket::ServiceAddress(address))
    }

    /// The definitions of hosts that have a range of addresses that `address` is in, those of the
    /// smallest range first.
    pub(crate) fn definitions_around(&self, address: IpAddr) -> Vec<Arc<Definition>> {
        let sizes = self.graph.world().range_sizes();
        self.record(Source::World(Read::Bucket(Bucket::RangeSizes)));
        let all = AddressRange::of(address).bits;
        let ranges = sizes.into_iter().filter(|bits| *bits < all);
        let ranges = ranges.map(|bits| AddressRange::around(address, bits));
        ranges.flat_map(|range| self.defined_in(Bucket::Range(range))).collect()
    }

    fn defined_in(&self, bucket: Bucket) -> Vec<Arc<Definition>> {
        self.defined_by(self.keys(bucket).iter().map(|key| &**key))
    }

    /// What the objects called `owners` say of their first hosts: Services, then older objects.
    pub(crate) fn defined_by<'k>(
        &self,
        owners: impl Iterator<Item = &'k Key>,
    ) -> Vec<Arc<Definition>> {
        let mut found: Vec<_> = owners.filter_map(|key| self.definition(key)).collect();
        found.sort_by(|one, other| one.order().cmp(&other.order()));
        found
    }

    /// What the object called `owner` says of `host`.
    pub(crate) fn definition_of(&self, owner: &Key, host: &str) -> Option<Arc<Definition>> {
        self.definitions_of(owner).iter().find(|one| one.host == host).cloned()
    }
}

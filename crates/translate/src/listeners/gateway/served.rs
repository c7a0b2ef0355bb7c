//! Which hosts of a virtual service the servers of a Gateway serve.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{gateway, gateway::Gateway, virtual_service::VirtualService};

use crate::{Installation, model::hosts::HostSet};

/// The hosts of some servers of a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    /// Of the Gateway.
    namespace: String,
    /// By the namespace of virtual services that may serve them, as it is written.
    hosts: BTreeMap<String, HostSet>,
}

impl Served {
    pub(crate) fn new<'g>(
        gateway: &Gateway,
        servers: impl Iterator<Item = &'g gateway::Server>,
        installation: &Installation,
    ) -> Self {
        let namespace = gateway.metadata.namespace.clone();
        let mut hosts: BTreeMap<String, HostSet> = BTreeMap::new();
        for entry in servers.flat_map(|server| &server.hosts) {
            let (whose, host) = entry.split_once('/').unwrap_or(("*", entry));
            let host = installation.resolve(host, &namespace);
            hosts.entry(whose.to_owned()).or_default().insert(&host);
        }
        Self { namespace, hosts }
    }

    /// The hosts that virtual services of `namespace` may serve.
    fn admitting<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s HostSet> {
        let own = (self.namespace == namespace).then_some(".");
        let named = ["*", namespace].into_iter().chain(own);
        named.filter_map(|whose| self.hosts.get(whose))
    }

    /// How many hosts virtual services of `namespace` may serve.
    pub(crate) fn count(&self, namespace: &str) -> usize {
        self.admitting(namespace).map(HostSet::len).sum()
    }

    /// The hosts that both the servers and `named`, those of a virtual service, are for; where
    /// these are more than `most`, only so many and one more.
    pub(crate) fn common(&self, named: &HostSet, namespace: &str, most: usize) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for hosts in self.admitting(namespace) {
            named.common(hosts, most, &mut found);
        }
        found
    }

    /// How many hosts it takes to find out that there is no such host.
    pub(crate) fn looks(&self, named: &HostSet, namespace: &str) -> usize {
        self.admitting(namespace).map(|hosts| hosts.len().min(named.len())).sum()
    }

    /// Whether there is such a host.
    pub(crate) fn serves(&self, named: &HostSet, namespace: &str) -> bool {
        self.admitting(namespace).any(|hosts| named.meets(hosts))
    }
}

/// The hosts that `service` names.
pub(crate) fn hosts_of(service: &VirtualService, installation: &Installation) -> HostSet {
    let mut named = HostSet::default();
    for host in &service.spec.hosts {
        named.insert(&installation.resolve(host, &service.metadata.namespace));
    }
    named
}

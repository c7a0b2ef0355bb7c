//! Which hosts of a virtual service the servers of a Gateway serve.

use std::collections::BTreeSet;

use weft_api::{gateway, gateway::Gateway, virtual_service::VirtualService};

use crate::{Installation, model::hosts::HostIndex};

/// The hosts of some servers of a Gateway, by name.
pub(crate) struct Served<'g> {
    /// Of the Gateway.
    namespace: &'g str,
    installation: &'g Installation,
    /// The namespaces of virtual services that may serve the host, as they are written.
    hosts: HostIndex<BTreeSet<&'g str>>,
    /// Hosts with one such namespace.
    all: Vec<(String, &'g str)>,
}

impl<'g> Served<'g> {
    pub(crate) fn new(
        gateway: &'g Gateway,
        servers: impl Iterator<Item = &'g gateway::Server>,
        installation: &'g Installation,
    ) -> Self {
        let namespace = gateway.metadata.namespace.as_str();
        let mut served =
            Self { namespace, installation, hosts: HostIndex::default(), all: Vec::new() };
        for entry in servers.flat_map(|server| &server.hosts) {
            let (whose, host) = entry.split_once('/').unwrap_or(("*", entry));
            let host = installation.resolve(host, namespace);
            served.hosts.entry(&host).insert(whose);
            served.all.push((host, whose));
        }
        served
    }

    /// Whether virtual services of `namespace` may serve what was written with `whose`.
    fn admits(&self, whose: &str, namespace: &str) -> bool {
        match whose {
            "*" => true,
            "." => namespace == self.namespace,
            whose => whose == namespace,
        }
    }
}

/// The hosts that both the servers and the virtual service are for. The cost is that of
/// reading both lists, not of comparing each with each.
pub(crate) fn common_hosts(served: &Served<'_>, service: &VirtualService) -> BTreeSet<String> {
    let own = service.metadata.namespace.as_str();
    let admitted = |whose: &str| served.admits(whose, own);
    let mut common = BTreeSet::new();
    let mut named: HostIndex<()> = HostIndex::default();
    for host in &service.spec.hosts {
        let host = served.installation.resolve(host, own);
        let mut whose = served.hosts.covering(&host).flatten();
        if whose.any(|whose| admitted(whose)) {
            common.insert(host.clone());
        }
        named.entry(&host);
    }
    if named.has_patterns() {
        let narrower = served
            .all
            .iter()
            .filter(|(host, whose)| admitted(whose) && named.covering(host).next().is_some());
        common.extend(narrower.map(|(host, _)| host.clone()));
    }
    common
}

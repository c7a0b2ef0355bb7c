//! What ServiceEntries, WorkloadEntries and the pods that these select add to the endpoints of a
//! host, beside EndpointSlices.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_api::{
    kubernetes::Pod,
    service_entry::{WorkloadEntry, WorkloadEntrySpec},
};
use weft_config::{NamedEndpoint, Workload};

use crate::{
    graph::view::View,
    model::{
        registry::{Definition, Port, Resolution},
        workload,
    },
};

/// Names that one backend may have.
pub(crate) const MOST_NAMES: usize = 64;

/// What is behind a host, on each of its ports.
pub(crate) struct Member<'g> {
    /// Its address, or its name.
    pub(crate) address: &'g str,
    /// Its ports, by the names of the host's.
    ports: Option<&'g BTreeMap<String, Option<u16>>>,
    pub(crate) labels: &'g BTreeMap<String, String>,
    pub(crate) locality: &'g str,
    /// Its share, if that is not the same as that of one that does not say.
    pub(crate) weight: Option<u32>,
    source: Source<'g>,
    /// The definition that it is of.
    of: Arc<Definition>,
}

/// What a member is.
enum Source<'g> {
    /// An endpoint of a ServiceEntry.
    Endpoint,
    WorkloadEntry(&'g WorkloadEntry),
    Pod(&'g Pod, IpAddr),
}

impl<'g> Member<'g> {
    fn of(spec: &'g WorkloadEntrySpec, source: Source<'g>, of: &Arc<Definition>) -> Self {
        Self {
            address: &spec.address,
            ports: Some(&spec.ports),
            labels: &spec.labels,
            locality: &spec.locality,
            weight: spec.weight.filter(|weight| *weight > 1),
            source,
            of: Arc::clone(of),
        }
    }

    fn of_pod(pod: &'g Pod, of: &Arc<Definition>) -> Option<Self> {
        let is_ready = |pod: &Pod| {
            pod.status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True")
        };
        let runs = matches!(pod.status.phase.as_str(), "Running" | "")
            && pod.metadata.deletion_timestamp.is_none();
        let ip = pod.status.pod_ip.filter(|_| runs && is_ready(pod))?;
        Some(Self {
            address: "",
            ports: None,
            labels: &pod.metadata.labels,
            locality: "",
            weight: None,
            source: Source::Pod(pod, ip),
            of: Arc::clone(of),
        })
    }

    /// Its address; none where it has a name.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self.source {
            Source::Pod(_, ip) => Some(ip),
            Source::Endpoint | Source::WorkloadEntry(_) => self.address.parse().ok(),
        }
    }

    /// Its port that stands for `port` of the host; none where the object that it is of has no
    /// port of that name.
    pub(crate) fn target(&self, port: &Port) -> Option<u16> {
        let own = self.of.ports.iter().find(|own| own.name == port.name)?;
        match self.ports.and_then(|ports| ports.get(&port.name)) {
            Some(said) => *said,
            None => own.target.or(Some(own.number)),
        }
    }

    /// Who it is, for metrics.
    pub(crate) fn workload(&self, view: &View<'_>) -> Option<Workload> {
        match self.source {
            Source::Endpoint => None,
            Source::Pod(pod, _) => Some(workload::of_pod_in(view.installation(), pod)),
            Source::WorkloadEntry(entry) => Some(workload::of_entry_in(view.installation(), entry)),
        }
    }
}

/// The members of the host that `defined` defines, and those of other objects of its namespace
/// that define the same host: what one namespace says of a host is joined, as in Istio, and no
/// other namespace adds to it.
pub(crate) fn members<'g>(defined: &Arc<Definition>, view: &View<'g>) -> Vec<Member<'g>> {
    let namespace = defined.owner.namespace.as_str();
    let mut found = of_one(defined, view);
    let others = view.definitions(&defined.host).into_iter();
    let others = others.filter(|other| {
        other.owner.namespace == namespace
            && other.owner != defined.owner
            && other.resolution == defined.resolution
    });
    others.for_each(|other| found.extend(of_one(&other, view)));
    found
}

fn of_one<'g>(defined: &Arc<Definition>, view: &View<'g>) -> Vec<Member<'g>> {
    let namespace = defined.owner.namespace.as_str();
    let entries = |selector| {
        let entries = view.workload_entries(namespace, selector).into_iter();
        entries.map(|entry| Member::of(&entry.spec, Source::WorkloadEntry(entry), defined))
    };
    if let Some(service) = view.service(&defined.owner) {
        // Its pods are in its EndpointSlices.
        return match defined.resolution {
            Resolution::Endpoints => entries(&service.spec.selector).collect(),
            _ => Vec::new(),
        };
    }
    let Some(entry) = view.service_entry(&defined.owner) else { return Vec::new() };
    match &entry.spec.workload_selector {
        None => {
            let endpoints = entry.spec.endpoints.iter();
            endpoints.map(|one| Member::of(one, Source::Endpoint, defined)).collect()
        }
        Some(selector) => {
            let pods = view.pods_picked(namespace, &selector.labels).into_iter();
            let pods = pods.filter_map(|pod| Member::of_pod(pod, defined));
            entries(&selector.labels).chain(pods).collect()
        }
    }
}

/// The names that a connection to `port` of a host is made to, those with all of `labels`; the
/// host itself where its object names no endpoint.
pub(crate) fn names(
    defined: &Arc<Definition>,
    port: &Port,
    labels: &BTreeMap<String, String>,
    view: &View<'_>,
) -> Vec<NamedEndpoint> {
    let members = members(defined, view);
    if members.is_empty() {
        let itself = NamedEndpoint {
            host: defined.host.clone(),
            port: port.target.unwrap_or(port.number),
            weight: None,
        };
        let is_name = !defined.host.starts_with('*') && labels.is_empty();
        return is_name.then_some(itself).into_iter().collect();
    }
    let has_all = |one: &&Member<'_>| weft_api::selector::selects(labels, one.labels);
    let named = members.iter().filter(has_all).filter_map(|one| {
        let host = one.address.trim_end_matches('.').to_ascii_lowercase();
        let is_dialled = !host.is_empty() && !host.contains(['/', '*']);
        let port = one.target(port).filter(|_| is_dialled)?;
        Some(NamedEndpoint { host, port, weight: one.weight })
    });
    named.take(MOST_NAMES).collect()
}

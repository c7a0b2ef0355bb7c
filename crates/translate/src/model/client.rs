//! Who asks.
//!
//! Facts of a proxy's own pod; nothing that a proxy claims of itself gets here.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use weft_api::{Key, kubernetes::Pod, selector::selects};
use weft_config::Workload;

use crate::{
    graph::{objects::Bucket, view::View},
    model::{sidecar, workload},
};

/// Facts of one proxy, from its authenticated pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's service account.
    pub account: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// The workload that the pod belongs to, without its cluster.
    pub workload: Workload,
    /// What the proxy is for.
    pub role: Role,
}

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It carries the traffic of the application beside it.
    Sidecar,
    /// It listens for what Gateways say.
    Gateway,
}

impl Role {
    /// What the proxy in `pod` is for.
    ///
    /// A pod that runs the proxy as its application is a gateway: one injected
    /// from the template `gateway`, or one that has a container `istio-proxy`
    /// though nothing was injected.
    pub(crate) fn of_pod(pod: &Pod) -> Self {
        let annotations = &pod.metadata.annotations;
        let from_template = annotations
            .get(TEMPLATES)
            .is_some_and(|names| names.split(',').any(|name| name.trim() == "gateway"));
        let proxy_alone = !annotations.contains_key(INJECTED)
            && pod.spec.containers.iter().any(|container| container.name == "istio-proxy");
        if from_template || proxy_alone { Self::Gateway } else { Self::Sidecar }
    }
}

/// Marks pods into which a sidecar was injected.
const INJECTED: &str = "sidecar.istio.io/status";

/// Names the templates that a pod was injected from.
const TEMPLATES: &str = "inject.istio.io/templates";

impl Client {
    /// The facts of `pod`.
    pub fn of_pod(pod: &Pod) -> Self {
        let account = match pod.spec.service_account_name.as_str() {
            "" => "default",
            name => name,
        };
        Self {
            namespace: pod.metadata.namespace.clone(),
            pod: pod.metadata.name.clone(),
            labels: pod.metadata.labels.clone(),
            account: account.to_owned(),
            addresses: pod.status.pod_ip.into_iter().collect(),
            workload: workload::of_pod(pod),
            role: Role::of_pod(pod),
        }
    }

    /// What decides which group the client belongs to.
    pub fn labelled(&self) -> Labelled {
        Labelled { namespace: self.namespace.clone(), labels: self.labels.clone() }
    }
}

/// Clients of one namespace with the same labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labelled {
    /// Their namespace.
    pub namespace: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
}

/// Clients that see the same objects, and for which the same rules win: those of
/// one namespace whose labels the same selectors match.
///
/// Labels that no selector names make no difference, so that all ReplicaSets of a
/// Deployment and all pods of a StatefulSet share their answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Their namespace.
    pub namespace: String,
    /// The selectors, of those that some rule has, that match them.
    pub selectors: BTreeSet<Selector>,
    /// The labels that they have, of a gateway: rules by labels are decided for it alone.
    /// None where proxies decide them by their own, so that others share the rules.
    pub labels: Option<BTreeMap<String, String>>,
    /// The Sidecar that says what they see, if there is one.
    pub sidecar: Option<Arc<Key>>,
}

/// Labels that a client must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(pub(crate) BTreeMap<String, String>);

impl Borrow<BTreeMap<String, String>> for Selector {
    fn borrow(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// The group of the clients with these labels.
pub(crate) fn group(of: &Labelled, view: &View<'_>) -> Group {
    let labels = of.labels.iter().map(|(name, value)| Some((name.clone(), value.clone())));
    let labels: Vec<Option<(String, String)>> = labels.chain([None]).collect();
    // Each selector is found by its first label, or by having none.
    let keys = labels
        .into_iter()
        .flat_map(|label| view.keys(Bucket::Selectors(of.namespace.clone(), label)));
    let wanted = keys.filter_map(|key| {
        let selector = view.destination_rule(&key)?.spec.workload_selector.as_ref()?;
        Some(selector.match_labels.clone())
    });
    let selectors = wanted.filter(|wanted| selects(wanted, &of.labels)).map(Selector);
    let sidecar = sidecar::of_workload(&of.namespace, of.labels.iter(), view);
    Group { namespace: of.namespace.clone(), selectors: selectors.collect(), labels: None, sidecar }
}

/// Clients that get the same answer to an interest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Every client of the mesh.
    Mesh,
    /// All clients of a namespace.
    Namespace(Arc<str>),
    /// The clients of a group.
    Group(Arc<Group>),
    /// One pod, for what it runs itself.
    One(Arc<Client>),
    /// Clients that use nothing on demand: what they serve is all in their listeners.
    Unasked,
}

//! The pods that labels pick, as far as it is worth to look.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_api::{Key, gateway::Gateway, kubernetes::Pod, selector::selects};

use crate::{Client, Role, graph::view::View, listeners::PodPorts, model::registry};

/// Pods that are looked at for one selector: those that have the rarest of its labels.
const MOST_PODS: usize = 256;

/// What picks pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodSelector {
    /// Labels that they have; none picks all.
    pub(crate) labels: BTreeMap<String, String>,
    /// Their namespace, if only one matters.
    pub(crate) namespace: Option<String>,
}

/// The pods of a selector.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Picked {
    /// The first ones, by name.
    pub(crate) pods: Vec<Arc<Key>>,
    /// Those are all.
    pub(crate) is_complete: bool,
    /// The first that runs.
    pub(crate) running: Option<Arc<Key>>,
    /// The first that runs a gateway.
    pub(crate) gateway: Option<Arc<Key>>,
}

/// The pod by which a Gateway is examined: one of a gateway that it selects and that runs. The
/// mesh's own come first, then those of the Gateway's namespace, so that a user who has pods in
/// another namespace does not decide what is found.
pub(crate) fn gateway_of(gateway: &Gateway, view: &View<'_>) -> Option<Arc<Key>> {
    let own = [view.installation().namespace.as_str(), gateway.metadata.namespace.as_str()];
    let scopes = own.into_iter().map(Some).chain([None]);
    let mut found = scopes.map(|scope| view.picked(&gateway.spec.selector, scope));
    found.find_map(|picked| picked.gateway.clone())
}

/// Whether a proxy may run in `pod` now.
fn runs(pod: &Pod) -> bool {
    let status = &pod.status;
    // The phase of a pod from a file may be left out.
    status.pod_ip.is_some() && matches!(status.phase.as_str(), "Running" | "")
}

/// The pods that `selector` picks.
pub(crate) fn picked(selector: &PodSelector, view: &View<'_>) -> Picked {
    let candidates = view.pod_candidates(selector, MOST_PODS + 1);
    let is_complete = candidates.len() <= MOST_PODS;
    let mut found = Picked { is_complete, ..Picked::default() };
    for key in candidates.into_iter().take(MOST_PODS) {
        let pod = view.pod(&key).filter(|pod| selects(&selector.labels, &pod.metadata.labels));
        let Some(pod) = pod else { continue };
        if runs(pod) {
            found.running.get_or_insert_with(|| Arc::clone(&key));
            if found.gateway.is_none() && Role::of_pod(pod) == Role::Gateway {
                found.gateway = Some(Arc::clone(&key));
            }
        }
        found.pods.push(key);
    }
    found
}

/// The ports of a pod that hosts lead to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exposed {
    pub(crate) behind: PodPorts,
    /// The hosts' ports, and the pod's behind them.
    pub(crate) ports: BTreeSet<u16>,
}

/// The ports of the pod called `key` that hosts lead to.
pub(crate) fn exposed(key: &Key, view: &View<'_>) -> Exposed {
    let inbound = view.pod(key).map(|pod: &Pod| registry::inbound(&Client::of_pod(pod), view));
    let inbound = inbound.unwrap_or_default();
    Exposed {
        behind: PodPorts::new(&inbound),
        ports: inbound.iter().flat_map(|one| [one.port.number, one.target]).collect(),
    }
}

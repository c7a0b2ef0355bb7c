//! For which gateways it is found out what they do not serve in full.
//!
//! That takes as long as to compute all that a gateway runs, and a user who may label pods makes
//! as many gateways as there are sets of Gateways. So what the gateways of a namespace have
//! in common is computed for some of them only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use weft_api::{Key, gateway::Gateway, selector::selects};

use crate::{
    graph::view::View,
    listeners::{FURTHER, HOST, READ, TIMES},
    model::picked,
};

/// Bytes of Gateways and of the virtual services that are bound to them, that are looked at once
/// more for a further gateway of a namespace: so many, and [`TIMES`] times what is there once.
const REPEATED: usize = 4 << 20;

/// The pods of gateways that are not examined.
pub(crate) fn skipped_gateways(view: &View<'_>) -> BTreeSet<Arc<Key>> {
    let gateways = view.gateways();
    let mut pods: BTreeMap<String, BTreeSet<Arc<Key>>> = BTreeMap::new();
    for pod in gateways.iter().filter_map(|gateway| picked::gateway_of(gateway, view)) {
        pods.entry(pod.namespace.clone()).or_default().insert(pod);
    }
    let mut costs = Costs { gateways, known: HashMap::new() };
    let of_namespace = |pods| costs.beyond_bound(pods, view);
    pods.into_values().flat_map(of_namespace).collect()
}

/// That it was not checked what the gateway in `pod` does not serve of `object`.
pub(crate) fn message(pod: &Key, object: &str) -> String {
    format!(
        "whether the gateway in {pod} serves all of {object} was not checked: pods of namespace {} \
         are many different gateways, and to read all Gateways for each, and once more what they \
         share, takes more than {} MiB and {TIMES} times the size of their Gateways and \
         VirtualServices; give these pods the same labels, or let fewer Gateways select them; \
         traffic is not affected",
        pod.namespace,
        REPEATED >> 20
    )
}

/// What it costs to look at Gateways.
struct Costs<'g> {
    gateways: Vec<&'g Gateway>,
    /// By index.
    known: HashMap<usize, usize>,
}

impl Costs<'_> {
    /// Those of `pods`, all of one namespace, that repeat too much.
    fn beyond_bound(&mut self, pods: BTreeSet<Arc<Key>>, view: &View<'_>) -> BTreeSet<Arc<Key>> {
        let mut seen = BTreeSet::new();
        let mut left = pods.into_iter();
        let mut repeated: usize = 0;
        // The first is there once.
        let mut is_first = true;
        while let Some(pod) = left.next() {
            let labels = view.pod(&pod).map(|pod| &pod.metadata.labels);
            let selected = self.gateways.iter().enumerate();
            let selected = selected.filter(|(_, one)| {
                labels.is_some_and(|labels| selects(&one.spec.selector, labels))
            });
            let selected: BTreeSet<usize> = selected.map(|(at, _)| at).collect();
            let again: Vec<usize> = selected.intersection(&seen).copied().collect();
            let costs = again.into_iter().map(|at| self.of_gateway(at, view)).sum::<usize>();
            let looks = if is_first { 0 } else { READ * self.gateways.len() };
            repeated = repeated.saturating_add(costs).saturating_add(looks);
            seen.extend(selected);
            is_first = false;
            if repeated > REPEATED && repeated > self.bound(&seen, view) {
                return std::iter::once(pod).chain(left).collect();
            }
        }
        BTreeSet::new()
    }

    /// How much may be repeated of what is `seen`.
    fn bound(&mut self, seen: &BTreeSet<usize>, view: &View<'_>) -> usize {
        let once = seen.iter().map(|at| self.of_gateway(*at, view)).sum::<usize>();
        once.saturating_mul(TIMES).saturating_add(REPEATED)
    }

    /// About how many bytes a gateway has of what Gateway `at` serves.
    fn of_gateway(&mut self, at: usize, view: &View<'_>) -> usize {
        let gateway = self.gateways[at];
        *self.known.entry(at).or_insert_with(|| of_gateway(gateway, view))
    }
}

fn of_gateway(gateway: &Gateway, view: &View<'_>) -> usize {
    let metadata = &gateway.metadata;
    let servers = &gateway.spec.servers;
    let hosts: usize = servers.iter().map(|server| server.hosts.len()).sum();
    let bound = view.bound_to(&metadata.namespace, &metadata.name).into_iter().map(|key| {
        let named = view.virtual_service(&key).map_or(0, |service| HOST * service.spec.hosts.len());
        let summary = view.virtual_service_summary(&key);
        let rules = summary
            .map_or(0, |one| READ * one.named + one.http.bytes + one.tcp.bytes + one.tls.bytes);
        named.saturating_add(rules)
    });
    let once = bound.fold(0, usize::saturating_add);
    // What is there on further ports has a bound.
    let most = once.saturating_mul(TIMES).saturating_add(FURTHER);
    let further = once.saturating_mul(servers.len().saturating_sub(1)).min(most);
    [once, further, HOST * hosts].into_iter().fold(0, usize::saturating_add)
}

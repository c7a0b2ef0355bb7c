//! Which destination rules hold for a service as a class of clients calls it.
//!
//! Precedence is resolved here, once: the client's namespace, then the
//! service's, then the root; rules of several namespaces are never joined.

use weft_api::destination_rule::{
    DestinationRule, LoadBalancer as Balancing, Subset, TrafficPolicy,
};
use weft_config::LoadBalancer;

use crate::{Group, age::Age, hosts, mesh::Mesh, view::View, visibility::visible};

/// The destination rules that hold together: of one namespace and for one host,
/// oldest first.
#[derive(Default)]
pub(crate) struct Policy<'g> {
    pub(crate) rules: Vec<&'g DestinationRule>,
}

/// How an endpoint is chosen, as far as a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Among the service's endpoints.
    Balanced(LoadBalancer),
    /// The address that the client dialled.
    Original,
}

impl<'g> Policy<'g> {
    /// The oldest definition of subset `name`, with its rule and its index in it.
    pub(crate) fn subset(&self, name: &str) -> Option<(&'g DestinationRule, usize, &'g Subset)> {
        self.rules.iter().find_map(|rule| {
            let mut subsets = rule.spec.subsets.iter().enumerate();
            subsets.find(|(_, subset)| subset.name == name).map(|(at, subset)| (*rule, at, subset))
        })
    }

    /// How an endpoint is chosen, in `subset` or in all of the service.
    pub(crate) fn choice(&self, subset: Option<&Subset>) -> Choice {
        let whole = self.rules.iter().find_map(|rule| rule.spec.traffic_policy.as_deref());
        let own = subset.and_then(|subset| subset.traffic_policy.as_ref());
        own.and_then(simple).or(whole.and_then(simple)).map_or(
            Choice::Balanced(LoadBalancer::LeastRequest),
            |name| match name {
                "ROUND_ROBIN" => Choice::Balanced(LoadBalancer::RoundRobin),
                "RANDOM" => Choice::Balanced(LoadBalancer::Random),
                "PASSTHROUGH" => Choice::Original,
                _ => Choice::Balanced(LoadBalancer::LeastRequest),
            },
        )
    }
}

fn simple(policy: &TrafficPolicy) -> Option<&str> {
    let Balancing { simple, .. } = policy.load_balancer.as_ref()?;
    simple.as_deref()
}

/// The rules for `host`, a service of `namespace`, as `group` calls it.
pub(crate) fn policy<'g>(
    host: &str,
    namespace: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'g>,
) -> Policy<'g> {
    let candidates = candidates(host, group, mesh, view);
    let root = mesh.config.root_namespace.as_str();
    let own = group.namespace.as_str();
    let first = match own == root {
        // The root namespace's rules are the mesh's defaults, and come last for its own
        // clients, too; except for those that are for nobody else.
        true => {
            let private = |rule: &DestinationRule| rule.spec.export_to == ["."];
            let private = candidates.iter().filter(|(_, rule)| private(rule)).copied();
            together(&private.collect::<Vec<_>>(), own)
        }
        false => together(&candidates, own),
    };
    if !first.is_empty() {
        return Policy { rules: first };
    }
    for wanted in [namespace, root] {
        let rules = together(&candidates, wanted);
        if !rules.is_empty() {
            return Policy { rules };
        }
    }
    let oldest = candidates
        .iter()
        .filter(|_| mesh.as_istio_1_0)
        .min_by_key(|(_, rule)| Age::of(&rule.metadata));
    let Some((_, oldest)) = oldest else { return Policy::default() };
    Policy { rules: together(&candidates, &oldest.metadata.namespace) }
}

/// Every rule that covers `host` and that `group` sees, with how well it fits:
/// smaller is better.
fn candidates<'g>(
    host: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'g>,
) -> Vec<(usize, &'g DestinationRule)> {
    let default = &mesh.config.default_destination_rule_export_to;
    let names = std::iter::once(host.to_owned()).chain(hosts::patterns(host));
    let rules = names.enumerate().flat_map(|(fit, name)| {
        view.destination_rules(&name).into_iter().map(move |rule| (fit, rule))
    });
    rules
        .filter(|(_, rule)| {
            let own = &rule.metadata.namespace;
            visible(&rule.spec.export_to, default, own, &group.namespace) && selects(rule, group)
        })
        .collect()
}

/// Whether the rule is for clients of `group`; one with a selector is for
/// workloads of its own namespace only.
fn selects(rule: &DestinationRule, group: &Group) -> bool {
    rule.spec.workload_selector.as_ref().is_none_or(|selector| {
        rule.metadata.namespace == group.namespace
            && group.selectors.contains(&selector.match_labels)
    })
}

/// The rules of `namespace` that fit best: those with a selector first, then the
/// older ones.
fn together<'g>(
    candidates: &[(usize, &'g DestinationRule)],
    namespace: &str,
) -> Vec<&'g DestinationRule> {
    let there = || candidates.iter().filter(|(_, rule)| rule.metadata.namespace == namespace);
    let Some(best) = there().map(|(fit, _)| *fit).min() else { return Vec::new() };
    let mut rules: Vec<_> =
        there().filter(|(fit, _)| *fit == best).map(|(_, rule)| *rule).collect();
    rules.sort_by_cached_key(|rule| {
        (rule.spec.workload_selector.is_none(), Age::of(&rule.metadata))
    });
    rules
}

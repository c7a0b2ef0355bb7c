//! Which destination rules hold for a service as a class of clients calls it.
//!
//! Precedence is resolved here, once: the client's namespace, then the
//! service's, then the root; rules of several namespaces are never joined.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

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
    /// The definitions of subsets by name, made when the first is looked for.
    subsets: OnceCell<HashMap<&'g str, Defined<'g>>>,
}

/// A subset, with its rule and its index in it.
type Defined<'g> = (&'g DestinationRule, usize, &'g Subset);

/// The policies that a unit has looked at, so that each is found once however many
/// destinations there are.
#[derive(Default)]
pub(crate) struct Policies<'g> {
    /// By host; for each namespace of the service, and group.
    by_host: RefCell<HashMap<String, Vec<Asked<'g>>>>,
    /// By rules: hosts that a pattern covers share them, and their subsets.
    by_rules: RefCell<BTreeMap<Vec<*const DestinationRule>, Rc<Policy<'g>>>>,
}

/// What a policy was asked for with, beside the host, and the policy.
type Asked<'g> = (String, Group, Rc<Policy<'g>>);

impl<'g> Policies<'g> {
    fn known(&self, host: &str, namespace: &str, group: &Group) -> Option<Rc<Policy<'g>>> {
        let by_host = self.by_host.borrow();
        let mut asked = by_host.get(host)?.iter();
        let found = asked.find(|(known, of, _)| known == namespace && of == group);
        found.map(|(.., policy)| Rc::clone(policy))
    }

    fn add(
        &self,
        (host, namespace, group): (&str, &str, &Group),
        rules: Vec<&'g DestinationRule>,
    ) -> Rc<Policy<'g>> {
        let same = rules.iter().map(|rule| std::ptr::from_ref(*rule)).collect();
        let new = || Rc::new(Policy { rules, subsets: OnceCell::new() });
        let policy = Rc::clone(self.by_rules.borrow_mut().entry(same).or_insert_with(new));
        let asked = (namespace.to_owned(), group.clone(), Rc::clone(&policy));
        self.by_host.borrow_mut().entry(host.to_owned()).or_default().push(asked);
        policy
    }
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
    pub(crate) fn subset(&self, name: &str) -> Option<Defined<'g>> {
        let subsets = self.subsets.get_or_init(|| {
            let mut found = HashMap::new();
            for rule in &self.rules {
                for (at, subset) in rule.spec.subsets.iter().enumerate() {
                    found.entry(subset.name.as_str()).or_insert((*rule, at, subset));
                }
            }
            found
        });
        subsets.get(name).copied()
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
) -> Rc<Policy<'g>> {
    let policies = view.policies();
    policies.known(host, namespace, group).unwrap_or_else(|| {
        policies.add((host, namespace, group), rules(host, namespace, group, mesh, view))
    })
}

fn rules<'g>(
    host: &str,
    namespace: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'g>,
) -> Vec<&'g DestinationRule> {
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
        return first;
    }
    for wanted in [namespace, root] {
        let rules = together(&candidates, wanted);
        if !rules.is_empty() {
            return rules;
        }
    }
    let oldest = candidates
        .iter()
        .filter(|_| mesh.as_istio_1_0)
        .min_by_key(|(_, rule)| Age::of(&rule.metadata));
    let Some((_, oldest)) = oldest else { return Vec::new() };
    together(&candidates, &oldest.metadata.namespace)
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

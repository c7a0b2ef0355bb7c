//! Which destination rules hold for a service as a class of clients calls it.
//!
//! Precedence is resolved here, once: the client's namespace, then the
//! service's, then the root; rules of several namespaces are never joined.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use weft_api::destination_rule::{
    DestinationRule, LoadBalancer as Balancing, Subset, TrafficPolicy,
};
use weft_config::LoadBalancer;

use crate::{
    Group,
    graph::view::View,
    model::{age::Age, hosts, mesh_config::Mesh, visibility::visible},
};

/// The destination rules that hold together: of one namespace and for one host or pattern,
/// those with a selector first, then the older ones.
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
    /// By host or pattern; for each group.
    by_name: RefCell<HashMap<String, Vec<SeenBy<'g>>>>,
}

/// A group, and the policies that it sees.
type SeenBy<'g> = (Group, Rc<Named<'g>>);

/// The policies for one host or pattern, as a group sees them.
#[derive(Default)]
struct Named<'g> {
    by_namespace: HashMap<&'g str, Rc<Policy<'g>>>,
    /// The root namespace's, of those that are for nobody else.
    private: Option<Rc<Policy<'g>>>,
    oldest: Option<&'g DestinationRule>,
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

/// The rules for `host`, a service of `namespace`, as `group` calls it: those that fit best,
/// of the first namespace that has some.
pub(crate) fn policy<'g>(
    host: &str,
    namespace: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'g>,
) -> Rc<Policy<'g>> {
    let names: Vec<String> =
        std::iter::once(host.to_owned()).chain(hosts::patterns(host)).collect();
    let named = |name: &String| named(name, group, mesh, view);
    let of = |namespace: &str| {
        names.iter().find_map(|name| named(name).by_namespace.get(namespace).cloned())
    };
    let root = mesh.config.root_namespace.as_str();
    let own = group.namespace.as_str();
    let first = match own == root {
        // The root namespace's rules are the mesh's defaults, and come last for its own
        // clients, too; except for those that are for nobody else.
        true => names.iter().find_map(|name| named(name).private.clone()),
        false => of(own),
    };
    let found = first.or_else(|| of(namespace)).or_else(|| of(root));
    found.unwrap_or_else(|| {
        let oldest = names.iter().filter(|_| mesh.as_istio_1_0);
        let oldest = oldest.filter_map(|name| named(name).oldest);
        let oldest = oldest.min_by_key(|rule| Age::of(&rule.metadata));
        oldest.and_then(|oldest| of(&oldest.metadata.namespace)).unwrap_or_default()
    })
}

/// The rules that name `name`, a host or a pattern, as far as `group` sees them.
fn named<'g>(name: &str, group: &Group, mesh: &Mesh, view: &View<'g>) -> Rc<Named<'g>> {
    let by_name = &view.policies().by_name;
    let known = by_name.borrow().get(name).and_then(|asked| {
        asked.iter().find(|(of, _)| of == group).map(|(_, named)| Rc::clone(named))
    });
    known.unwrap_or_else(|| {
        let found = Rc::new(read(name, group, mesh, view));
        let mut by_name = by_name.borrow_mut();
        by_name.entry(name.to_owned()).or_default().push((group.clone(), Rc::clone(&found)));
        found
    })
}

fn read<'g>(name: &str, group: &Group, mesh: &Mesh, view: &View<'g>) -> Named<'g> {
    let default = &mesh.config.default_destination_rule_export_to;
    let mut rules = view.destination_rules(name);
    rules.retain(|rule| {
        let own = &rule.metadata.namespace;
        visible(&rule.spec.export_to, default, own, &group.namespace) && selects(rule, group)
    });
    rules.sort_by_cached_key(|rule| {
        (rule.spec.workload_selector.is_none(), Age::of(&rule.metadata))
    });
    let oldest = rules.iter().copied().min_by_key(|rule| Age::of(&rule.metadata));
    let root = mesh.config.root_namespace.as_str();
    let mut by_namespace: HashMap<&str, Vec<&DestinationRule>> = HashMap::new();
    let mut private = Vec::new();
    for rule in rules {
        let own = rule.metadata.namespace.as_str();
        by_namespace.entry(own).or_default().push(rule);
        private.extend((own == root && rule.spec.export_to == ["."]).then_some(rule));
    }
    let policy = |rules| Rc::new(Policy { rules, subsets: OnceCell::new() });
    Named {
        by_namespace: by_namespace.into_iter().map(|(own, rules)| (own, policy(rules))).collect(),
        private: (!private.is_empty()).then(|| policy(private)),
        oldest,
    }
}

/// The names of the labels by which the subsets of some rule for `name`, a host or a pattern,
/// tell endpoints apart.
pub(crate) fn labels_in_subsets(name: &str, view: &View<'_>) -> BTreeSet<String> {
    let rules = view.destination_rules(name);
    let subsets = rules.iter().flat_map(|rule| &rule.spec.subsets);
    subsets.flat_map(|subset| subset.labels.keys().cloned()).collect()
}

/// Whether the rule is for clients of `group`; one with a selector is for
/// workloads of its own namespace only.
fn selects(rule: &DestinationRule, group: &Group) -> bool {
    rule.spec.workload_selector.as_ref().is_none_or(|selector| {
        rule.metadata.namespace == group.namespace
            && group.selectors.contains(&selector.match_labels)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    /// The time to find each of `count` subsets once.
    fn lookups(count: usize) -> Duration {
        let subsets: Vec<_> = (0..count).map(|at| json!({"name": format!("s{at}")})).collect();
        let rule = json!({
            "metadata": {"name": "parts", "namespace": "shop"},
            "spec": {"host": "many", "subsets": subsets},
        });
        let rule: DestinationRule = serde_json::from_value(rule).expect("a rule");
        let policy = Policy { rules: vec![&rule], ..Policy::default() };
        let begun = Instant::now();
        for at in 0..count {
            let (_, found, _) = policy.subset(&format!("s{at}")).expect("a subset");
            assert_eq!(found, at);
        }
        begun.elapsed()
    }

    #[test]
    fn to_find_four_times_as_many_subsets_takes_about_four_times_as_long() {
        let fastest = |count| (0..5).map(|_| lookups(count)).min().unwrap_or_default();
        let (few, many) = (fastest(2_000), fastest(8_000));
        // To read all of them for each takes sixteen times as long.
        assert!(many < few * 9, "{few:?} and {many:?}");
    }
}

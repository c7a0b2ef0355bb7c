//! Which destination rules hold for a service as a class of clients calls it.
//!
//! Precedence is resolved here, once: the client's namespace, then the
//! service's, then the root; rules of several namespaces are never joined.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use weft_api::{
    Key,
    destination_rule::{
        ConnectionPool, ConsistentHash, DestinationRule, LoadBalancer as Balancing,
        OutlierDetection as Outliers, PortPolicy, RetryBudget, Subset, TrafficPolicy,
    },
};
use weft_config::{HashCookie, HashKey, LoadBalancer, OutlierDetection};

use crate::{
    Group, Selector,
    clusters::shares,
    graph::view::View,
    model::{age::Age, hosts, mesh_config::Mesh, visibility::Exports},
};

/// The namespace of those who see what is public, which is that of no object.
const NOBODY: &str = "~";

/// What decides which rules hold, of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) key: Arc<Key>,
    age: Age,
    exports: Exports,
    /// Whether it is for its own namespace and nobody else.
    exports_only_dot: bool,
    selector: Option<BTreeMap<String, String>>,
    /// The names of its subsets, in their order.
    subsets: Vec<Arc<str>>,
    has_policy: bool,
}

/// The destination rules that hold together: of one namespace and for one host or pattern,
/// those with a selector first, then the older ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Arc<Summary>>,
    /// The oldest definitions of subsets, by name.
    subsets: HashMap<Arc<str>, SubsetIndex>,
}

/// Where a subset is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SubsetIndex {
    /// Which of a policy's rules.
    rule: usize,
    /// Which of the rule's subsets.
    subset: usize,
}

/// A subset, and where it is defined.
pub(crate) struct DefinedSubset<'g> {
    pub(crate) rule: Arc<Key>,
    /// Its index in the rule.
    pub(crate) index: usize,
    pub(crate) subset: &'g Subset,
}

/// The policies for one host or pattern, as a group sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostPolicies {
    by_namespace: HashMap<String, Arc<Policy>>,
    /// The root namespace's, of those that are for nobody else.
    private: Option<Arc<Policy>>,
    oldest: Option<Arc<Summary>>,
}

/// The policies that a unit has looked at, so that each is found once however many
/// destinations there are.
#[derive(Default)]
pub(crate) struct SeenPolicies {
    /// By host or pattern; for each group.
    by_name: RefCell<HashMap<String, Vec<SeenBy>>>,
}

/// The policies that a group sees.
struct SeenBy {
    group: Group,
    policies: Arc<HostPolicies>,
}

/// What rules say about a service or a part of it, on one port.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effective<'g> {
    pub(super) load_balancer: Option<&'g Balancing>,
    outliers: Option<&'g Outliers>,
    pub(crate) connection_pool: Option<&'g ConnectionPool>,
    /// Settings of a port say nothing of it.
    pub(crate) retry_budget: Option<&'g RetryBudget>,
}

/// How an endpoint is chosen, as far as a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Among the service's endpoints.
    Balanced(LoadBalancer),
    /// The address that the client dialled.
    Original,
}

impl Policy {
    fn new(rules: Vec<Arc<Summary>>) -> Self {
        let mut subsets = HashMap::new();
        for (rule, summary) in rules.iter().enumerate() {
            for (subset, name) in summary.subsets.iter().enumerate() {
                subsets.entry(Arc::clone(name)).or_insert(SubsetIndex { rule, subset });
            }
        }
        Self { rules, subsets }
    }

    /// Whether `rule` is one of its rules.
    pub(crate) fn has(&self, rule: &DestinationRule) -> bool {
        let wanted = (rule.spec.workload_selector.is_none(), Age::of(&rule.metadata));
        self.rules.binary_search_by(|known| known.order().cmp(&(wanted.0, &wanted.1))).is_ok()
    }

    /// The oldest definition of subset `name`: its rule, and its index in it.
    pub(crate) fn definer(&self, name: &str) -> Option<(&Summary, usize)> {
        let found = self.subsets.get(name)?;
        Some((&**self.rules.get(found.rule)?, found.subset))
    }

    /// The oldest definition of subset `name`.
    pub(crate) fn subset<'g>(&self, name: &str, view: &View<'g>) -> Option<DefinedSubset<'g>> {
        let (rule, index) = self.definer(name)?;
        let subset = view.destination_rule(&rule.key)?.spec.subsets.get(index)?;
        Some(DefinedSubset { rule: Arc::clone(&rule.key), index, subset })
    }

    /// What holds for `port` in `subset` or in all of the service. Settings of a port take the
    /// place of all of the policy that they are in; those of a subset come first.
    pub(crate) fn effective<'g>(
        &self,
        subset: Option<&'g Subset>,
        port: u16,
        view: &View<'g>,
    ) -> Effective<'g> {
        let whole = self.rules.iter().find(|rule| rule.has_policy);
        let whole = whole.and_then(|rule| view.destination_rule(&rule.key));
        let whole = whole.and_then(|rule| rule.spec.traffic_policy.as_deref());
        let own = subset.and_then(|subset| subset.traffic_policy.as_deref());
        let of_port = |policy: &'g TrafficPolicy| {
            let all = &policy.port_level_settings;
            all.iter().find(|one| one.port.as_ref().is_some_and(|one| one.number == port))
        };
        let whole = whole.map_or_else(Effective::default, |whole| {
            let all = Effective::of(whole);
            of_port(whole).map_or(all, |settings| all.on_port(settings))
        });
        let Some(own) = own else { return whole };
        let all = Effective::of(own);
        let all = Effective {
            load_balancer: all.load_balancer.or(whole.load_balancer),
            outliers: all.outliers.or(whole.outliers),
            connection_pool: all.connection_pool.or(whole.connection_pool),
            retry_budget: all.retry_budget.or(whole.retry_budget),
        };
        of_port(own).map_or(all, |settings| all.on_port(settings))
    }
}

impl<'g> Effective<'g> {
    fn of(policy: &'g TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            outliers: policy.outlier_detection.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            retry_budget: policy.retry_budget.as_ref(),
        }
    }

    /// The same, where a port has `settings` of its own.
    fn on_port(self, settings: &'g PortPolicy) -> Self {
        Self {
            load_balancer: settings.load_balancer.as_ref(),
            outliers: settings.outlier_detection.as_ref(),
            connection_pool: settings.connection_pool.as_ref(),
            ..self
        }
    }

    /// The same; what is not said at all is as the mesh's settings say.
    pub(crate) fn or_of_mesh(self, mesh: &'g Mesh) -> Self {
        let Some(default) = mesh.config.default_traffic_policy.as_deref() else { return self };
        Self {
            outliers: self.outliers.or(default.outlier_detection.as_ref()),
            connection_pool: self.connection_pool.or(default.connection_pool.as_ref()),
            ..self
        }
    }

    /// When endpoints that fail are left out.
    pub(crate) fn outliers(&self) -> Option<OutlierDetection> {
        let said = self.outliers?;
        let span = |text: &Option<String>, otherwise: u64| {
            let said = text.as_deref().and_then(|text| weft_api::span::parse(text).ok());
            said.unwrap_or(Duration::from_secs(otherwise))
        };
        let percent = |said: i32| u8::try_from(said.clamp(0, 100)).unwrap_or_default();
        let of_1_0 = said.consecutive_errors.and_then(|errors| u32::try_from(errors).ok());
        let of_1_0 = of_1_0.filter(|errors| *errors > 0);
        let is_split = said.split_external_local_origin_errors == Some(true);
        Some(OutlierDetection {
            errors: said.consecutive5xx_errors.or(of_1_0).unwrap_or(5),
            gateway_errors: said.consecutive_gateway_errors.unwrap_or(0),
            local_failures: is_split.then(|| said.consecutive_local_origin_failures.unwrap_or(5)),
            interval: span(&said.interval, 10),
            base_ejection_time: span(&said.base_ejection_time, 30),
            // As in Istio, zero is the default.
            max_ejection_percent: match percent(said.max_ejection_percent.unwrap_or(0)) {
                0 => 10,
                most => most,
            },
            min_health_percent: percent(said.min_health_percent.unwrap_or(0)),
        })
    }

    /// How an endpoint is chosen.
    pub(crate) fn choice(&self) -> Choice {
        let Some(balancer) = self.load_balancer else {
            return Choice::Balanced(LoadBalancer::LeastRequest);
        };
        if let Some(hash) = &balancer.consistent_hash {
            return Choice::Balanced(consistent(hash));
        }
        match balancer.simple.as_deref() {
            Some("ROUND_ROBIN") => Choice::Balanced(LoadBalancer::RoundRobin),
            Some("RANDOM") => Choice::Balanced(LoadBalancer::Random),
            Some("PASSTHROUGH") => Choice::Original,
            _ => Choice::Balanced(LoadBalancer::LeastRequest),
        }
    }
}

/// By the first key that is given; any endpoint when none is.
fn consistent(hash: &ConsistentHash) -> LoadBalancer {
    let header = hash.http_header_name.as_ref().map(|name| name.to_ascii_lowercase());
    let query = hash.http_query_parameter_name.clone();
    let key = match (header, &hash.http_cookie, hash.use_source_ip, query) {
        (Some(name), ..) => HashKey::Header(name),
        (_, Some(cookie), ..) => HashKey::Cookie(HashCookie {
            name: cookie.name.clone(),
            path: cookie.path.clone(),
            ttl: cookie.ttl.as_deref().and_then(|text| weft_api::span::parse(text).ok()),
            attributes: cookie
                .attributes
                .iter()
                .map(|one| (one.name.clone(), one.value.clone()))
                .collect(),
        }),
        (_, _, Some(true), _) => HashKey::SourceIp,
        (.., Some(name)) => HashKey::Query(name),
        _ => return LoadBalancer::Random,
    };
    LoadBalancer::Hash(key)
}

/// The rules for `host`, a service of `namespace`, as `group` calls it: those that fit best,
/// of the first namespace that has some.
pub(crate) fn policy(
    host: &str,
    namespace: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'_>,
) -> Arc<Policy> {
    let names: Vec<String> =
        std::iter::once(host.to_owned()).chain(hosts::patterns(host)).collect();
    let named = |name: &String| named(name, group, view);
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
        let oldest = oldest.filter_map(|name| named(name).oldest.clone());
        let oldest = oldest.min_by(|one, other| one.age.cmp(&other.age));
        oldest.and_then(|oldest| of(&oldest.key.namespace)).unwrap_or_default()
    })
}

/// The policies for `name`, a host or a pattern, as far as `group` sees them.
fn named(name: &str, group: &Group, view: &View<'_>) -> Arc<HostPolicies> {
    let by_name = &view.policies().by_name;
    let known = by_name.borrow().get(name).and_then(|asked| {
        let same = |seen: &&SeenBy| seen.group == *group;
        asked.iter().find(same).map(|seen| Arc::clone(&seen.policies))
    });
    known.unwrap_or_else(|| {
        // Labels are asked for by selectors only, and Sidecars do not hide rules.
        let unlabelled = Group { labels: None, sidecar: None, ..group.clone() };
        let policies = view.host_policies(name, unlabelled);
        let mut by_name = by_name.borrow_mut();
        let seen = SeenBy { group: group.clone(), policies: Arc::clone(&policies) };
        by_name.entry(name.to_owned()).or_default().push(seen);
        policies
    })
}

/// All rules that name `name`, a host or a pattern, in the order in which they hold.
pub(crate) fn summaries(name: &str, view: &View<'_>) -> Vec<Arc<Summary>> {
    let mesh = view.mesh();
    let default = &mesh.config.default_destination_rule_export_to;
    let rules = view.destination_rules(name).into_iter().map(|(key, rule)| {
        let spec = &rule.spec;
        Arc::new(Summary {
            key,
            age: Age::of(&rule.metadata),
            exports: Exports::new(&spec.export_to, default),
            exports_only_dot: spec.export_to == ["."],
            selector: spec.workload_selector.as_ref().map(|one| one.match_labels.clone()),
            subsets: spec.subsets.iter().map(|subset| subset.name.as_str().into()).collect(),
            has_policy: spec.traffic_policy.is_some(),
        })
    });
    let mut rules: Vec<Arc<Summary>> = rules.collect();
    rules.sort_by(|one, other| one.order().cmp(&other.order()));
    rules
}

/// The policies for `name`, a host or a pattern, as far as `group` sees them.
pub(crate) fn host_policies(name: &str, group: &Group, view: &View<'_>) -> Arc<HostPolicies> {
    let rules = view.destination_rules_of(name);
    let own = rules.iter().filter(|rule| rule.selector.is_some() && rule.selects(group));
    let selectors: BTreeSet<Selector> =
        own.filter_map(|rule| rule.selector.clone().map(Selector)).collect();
    let is_named = rules.iter().any(|rule| {
        let exports = &rule.exports;
        !exports.is_public() && exports.is_visible(&rule.key.namespace, &group.namespace)
    });
    // All that see but what is public, and that no selector picks, see the same.
    let namespace = match is_named || !selectors.is_empty() {
        true => group.namespace.clone(),
        false => NOBODY.to_owned(),
    };
    view.shared_policies(name, Group { namespace, selectors, labels: None, sidecar: None })
}

/// The policies for `name`, a host or a pattern, as far as `group` sees them, which has no
/// selectors but those of rules for `name`.
pub(crate) fn shared_policies(name: &str, group: &Group, view: &View<'_>) -> HostPolicies {
    let all = view.destination_rules_of(name);
    let mesh = view.mesh();
    let root = mesh.config.root_namespace.as_str();
    let mut by_namespace: HashMap<String, Vec<Arc<Summary>>> = HashMap::new();
    let mut private = Vec::new();
    let mut oldest: Option<&Arc<Summary>> = None;
    for rule in all.iter() {
        let own = rule.key.namespace.as_str();
        if !rule.exports.is_visible(own, &group.namespace) || !rule.selects(group) {
            continue;
        }
        match by_namespace.get_mut(own) {
            Some(rules) => rules.push(Arc::clone(rule)),
            None => {
                by_namespace.insert(own.to_owned(), vec![Arc::clone(rule)]);
            }
        }
        private.extend((own == root && rule.exports_only_dot).then(|| Arc::clone(rule)));
        if oldest.is_none_or(|known| rule.age < known.age) {
            oldest = Some(rule);
        }
    }
    let policy = |rules| Arc::new(Policy::new(rules));
    HostPolicies {
        by_namespace: by_namespace.into_iter().map(|(own, rules)| (own, policy(rules))).collect(),
        private: (!private.is_empty()).then(|| policy(private)),
        oldest: oldest.cloned(),
    }
}

/// The names of the labels by which some rule for `name`, a host or a pattern, tells endpoints
/// apart: in its subsets, or where it says which are close.
pub(crate) fn labels_in_subsets(name: &str, view: &View<'_>) -> BTreeSet<String> {
    let rules = view.destination_rules(name);
    let subsets = rules.iter().flat_map(|(_, rule)| &rule.spec.subsets);
    let subsets = subsets.flat_map(|subset| subset.labels.keys().cloned());
    subsets.chain(rules.iter().flat_map(|(_, rule)| shares::labels_of_rule(rule))).collect()
}

impl Summary {
    /// Its place among the rules that hold together, which is that of no other.
    fn order(&self) -> (bool, &Age) {
        (self.selector.is_none(), &self.age)
    }

    /// Whether the rule is for clients of `group`; one with a selector is for
    /// workloads of its own namespace only.
    fn selects(&self, group: &Group) -> bool {
        self.selector.as_ref().is_none_or(|selector| {
            self.key.namespace == group.namespace && group.selectors.contains(selector)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weft_testkit::processor_time::used;

    use super::*;

    /// The time that a processor takes to find each of `count` subsets once.
    fn lookups(count: usize) -> u64 {
        let subsets: Vec<_> = (0..count).map(|at| json!({"name": format!("s{at}")})).collect();
        let rule = json!({
            "metadata": {"name": "parts", "namespace": "shop"},
            "spec": {"host": "many", "subsets": subsets},
        });
        let rule: DestinationRule = serde_json::from_value(rule).expect("a rule");
        let names = rule.spec.subsets.iter().map(|subset| subset.name.as_str().into());
        let summary = Summary {
            key: Arc::new(Key::new(weft_api::Kind::DestinationRule, "shop", "parts")),
            age: Age::of(&rule.metadata),
            exports: Exports::new(&[], &[]),
            exports_only_dot: false,
            selector: None,
            subsets: names.collect(),
            has_policy: false,
        };
        let begun = used();
        let policy = Policy::new(vec![Arc::new(summary)]);
        for at in 0..count {
            let (_, found) = policy.definer(&format!("s{at}")).expect("a subset");
            assert_eq!(found, at);
        }
        used() - begun
    }

    #[test]
    fn to_find_four_times_as_many_subsets_takes_about_four_times_as_long() {
        let fastest = |count| (0..5).map(|_| lookups(count)).min().unwrap_or_default();
        let (few, many) = (fastest(2_000), fastest(8_000));
        // To read all of them for each takes sixteen times as long.
        assert!(many < few * 9, "{few} and {many}");
    }
}

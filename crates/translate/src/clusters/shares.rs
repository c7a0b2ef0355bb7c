//! What DestinationRules say about the shares of endpoints: by their places, and while they are new.

use std::collections::BTreeMap;

use weft_api::{
    destination_rule::{DestinationRule, LocalityLbSetting, TrafficPolicy},
    span,
};
use weft_config::{Distribution, Failover, LocalityPolicy, Warmup};

use super::destination_rules::Effective;
use crate::model::mesh_config::Mesh;

/// The label of a pod that says where it runs, with dots or slashes between the parts.
const LOCALITY_LABEL: &str = "istio-locality";

/// The same in parts, as Kubernetes copies them from the node.
const PARTS: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

impl Effective<'_> {
    /// How endpoints that are new get their share.
    pub(crate) fn warmup(&self) -> Option<Warmup> {
        let balancer = self.load_balancer?;
        let said = balancer.warmup.as_ref();
        let duration = said.and_then(|said| said.duration.as_ref());
        let duration = duration.or(balancer.warmup_duration_secs.as_ref())?;
        let duration = span::parse(duration).ok().filter(|duration| !duration.is_zero())?;
        let number = |said: Option<f64>| said.filter(|number| number.is_finite());
        Some(Warmup {
            duration,
            percent: number(said.and_then(|said| said.minimum_percent))
                .unwrap_or(10.0)
                .clamp(0.0, 100.0),
            aggression: number(said.and_then(|said| said.aggression)).unwrap_or(1.0).max(1.0),
        })
    }

    /// How the places of endpoints decide their shares. As in Istio, that closer ones come first
    /// is for services whose failing endpoints are left out.
    pub(crate) fn locality(&self, mesh: &Mesh) -> Option<Box<LocalityPolicy>> {
        let own = self.load_balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref());
        let said = own.or(mesh.config.locality_lb_setting.as_ref());
        if said.is_some_and(|said| said.enabled == Some(false)) {
            return None;
        }
        let tiers = self.outliers().is_some();
        let distribute = said.map(distribute).unwrap_or_default();
        if !tiers && distribute.is_empty() {
            return None;
        }
        let failover = said.into_iter().flat_map(|said| &said.failover);
        let failover = failover.map(|one| Failover { from: one.from.clone(), to: one.to.clone() });
        Some(Box::new(LocalityPolicy {
            distribute,
            tiers,
            failover: failover.collect(),
            priority: said
                .map(|said| said.failover_priority.iter().map(|label| named(label)).collect())
                .unwrap_or_default(),
        }))
    }
}

fn distribute(said: &LocalityLbSetting) -> Vec<Distribution> {
    let one = |one: &weft_api::destination_rule::Distribute| Distribution {
        from: one.from.clone(),
        to: one.to.iter().map(|(place, share)| (place.clone(), *share)).collect(),
    };
    said.distribute.iter().map(one).collect()
}

/// The names of the labels by which `rule` says that endpoints are close.
pub(crate) fn labels_of_rule(rule: &DestinationRule) -> impl Iterator<Item = String> + '_ {
    let whole = rule.spec.traffic_policy.as_deref().into_iter();
    let parts = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_deref());
    whole.chain(parts).flat_map(labels_of_policy)
}

fn labels_of_policy(policy: &TrafficPolicy) -> impl Iterator<Item = String> + '_ {
    let ports = policy.port_level_settings.iter().map(|port| port.load_balancer.as_ref());
    let balancers = std::iter::once(policy.load_balancer.as_ref()).chain(ports).flatten();
    balancers.filter_map(|one| one.locality_lb_setting.as_ref()).flat_map(labels)
}

/// The names of the labels by which endpoints are close.
pub(crate) fn labels(said: &LocalityLbSetting) -> impl Iterator<Item = String> + '_ {
    let name = |label: &String| label.split('=').next().unwrap_or_default().to_owned();
    // Parts of a place are not taken from labels a second time.
    said.failover_priority.iter().map(name).filter(|name| !PARTS.contains(&name.as_str()))
}

/// A label, perhaps with a value, as proxies know it: those of places are parts of a place.
fn named(label: &str) -> String {
    let (name, value) = label.split_at(label.find('=').unwrap_or(label.len()));
    match PARTS.iter().position(|part| *part == name) {
        Some(part) => format!("{}{value}", [":region", ":zone", ":subzone"][part]),
        None => label.to_owned(),
    }
}

/// Where a pod with these `labels` runs, as far as they say it: region, zone and subzone.
pub(crate) fn place(labels: &BTreeMap<String, String>) -> Option<String> {
    if let Some(place) = labels.get(LOCALITY_LABEL) {
        return Some(if place.contains('/') { place.clone() } else { place.replace('.', "/") });
    }
    let [region, zone, subzone] = PARTS.map(|name| labels.get(name).map_or("", String::as_str));
    let place = format!("{region}/{zone}/{subzone}");
    let place = place.trim_end_matches('/');
    (!place.is_empty()).then(|| place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_said_by_one_label_or_by_its_parts() {
        for (labels, expected) in [
            (&[("istio-locality", "r1.z1.s1")][..], Some("r1/z1/s1")),
            (&[("istio-locality", "r1/z.1")], Some("r1/z.1")),
            (&[(PARTS[0], "r1"), (PARTS[1], "z1")], Some("r1/z1")),
            (&[(PARTS[1], "z1")], Some("/z1")),
            (&[("app", "a")], None),
        ] {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let labels = labels.iter().map(owned).collect();
            assert_eq!(place(&labels).as_deref(), expected, "{labels:?}");
        }
    }
}

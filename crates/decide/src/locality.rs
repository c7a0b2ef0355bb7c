//! Which endpoints are close to the proxy, and which share each place has.

use std::sync::Arc;

use weft_balance::Groups;
use weft_config::{Endpoint, LocalityPolicy, Settings};

/// Names of the parts of a place, where they stand among labels.
const PARTS: [&str; 3] = [":region", ":zone", ":subzone"];

/// The groups of `endpoints` for a proxy with the settings `own`, as `policy` says; none where all
/// are alike.
pub(crate) fn groups(
    policy: &LocalityPolicy,
    own: &Settings,
    endpoints: &[Arc<Endpoint>],
) -> Option<Groups> {
    let here = parts(&own.locality);
    let is_placed = here.iter().any(|part| !part.is_empty());
    if is_placed && let Some(shares) = policy.distribute.iter().find(|one| is_in(here, &one.from)) {
        return Some(weighted(&shares.to, endpoints));
    }
    // As in Istio, shares of other places leave the endpoints alike.
    if !policy.tiers || !policy.distribute.is_empty() {
        return None;
    }
    if !policy.priority.is_empty() {
        let far = endpoints.iter().map(|endpoint| unlike(&policy.priority, own, endpoint));
        return Groups::tiers(&far.collect::<Vec<_>>());
    }
    if !is_placed {
        return None;
    }
    let next = policy.failover.iter().find(|one| one.from == here[0]).map(|one| one.to.as_str());
    let far = endpoints.iter().map(|endpoint| far(here, parts(&endpoint.locality), next));
    Groups::tiers(&far.collect::<Vec<_>>())
}

/// Region, zone and subzone; empty where they are not known.
fn parts(place: &str) -> [&str; 3] {
    let mut parts = place.splitn(3, '/');
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

/// Whether a place is in the one that a rule names, in which `*` stands for any part and so does
/// what is not said.
fn is_in(place: [&str; 3], rule: &str) -> bool {
    for (own, part) in place.into_iter().zip(parts(rule)) {
        if matches!(part, "" | "*") {
            return true;
        }
        if own != part {
            return false;
        }
    }
    true
}

/// How far a place is away: the subzone, the zone, the region, the region that comes `next`, any.
/// A zone of which the region is not known is in the region of the zone that is called so here.
fn far<'p>(here: [&'p str; 3], mut there: [&'p str; 3], next: Option<&str>) -> u32 {
    if there[0].is_empty() && !there[1].is_empty() && there[1] == here[1] {
        there[0] = here[0];
    }
    let same = here.into_iter().zip(there).take_while(|(own, other)| own == other).count();
    match (same, next) {
        (3, _) => 0,
        (2, _) => 1,
        (1, _) => 2,
        (_, Some(next)) if next != there[0] => 4,
        _ => 3,
    }
}

/// How many of the labels that are `wanted` an endpoint has not like the proxy, from the first
/// that differs on.
fn unlike(wanted: &[String], own: &Settings, endpoint: &Endpoint) -> u32 {
    let alike = |wanted: &&String| {
        let (name, value) = match wanted.split_once('=') {
            Some((name, value)) => (name, value),
            None => (wanted.as_str(), label(&own.labels, &own.locality, wanted)),
        };
        label(&endpoint.labels, &endpoint.locality, name) == value
    };
    let alike = wanted.iter().take_while(alike).count();
    u32::try_from(wanted.len() - alike).unwrap_or(u32::MAX)
}

/// The value of the label `name`; empty without it.
fn label<'l>(labels: &'l [(String, String)], place: &'l str, name: &str) -> &'l str {
    if let Some((_, value)) = labels.iter().find(|(known, _)| known == name) {
        return value;
    }
    match PARTS.iter().position(|known| *known == name) {
        Some(part) => parts(place)[part],
        None => "",
    }
}

/// Groups with these shares. An endpoint is in the first place that it is in, the ones that say
/// most coming first; the shares of a place are those of all of its endpoints.
fn weighted(shares: &[(String, u32)], endpoints: &[Arc<Endpoint>]) -> Groups {
    let exact = |rule: &str| parts(rule).iter().filter(|part| !matches!(**part, "" | "*")).count();
    let mut ordered: Vec<(u32, &str)> =
        (0..).zip(shares).map(|(at, (rule, _))| (at, rule.as_str())).collect();
    ordered.sort_by_key(|(_, rule)| std::cmp::Reverse(exact(rule)));
    let of = |endpoint: &Arc<Endpoint>| {
        let place = parts(&endpoint.locality);
        ordered.iter().find(|(_, rule)| is_in(place, rule)).map(|(at, _)| *at)
    };
    let weights = shares.iter().map(|(_, weight)| *weight).collect();
    Groups::weighted(endpoints.iter().map(of).collect(), weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_as_far_as_the_first_part_that_differs() {
        let here = parts("r1/z1/s1");
        for (there, next, expected) in [
            ("r1/z1/s1", None, 0),
            ("r1/z1", None, 1),
            ("r1/z2/s1", None, 2),
            ("r2/z1/s1", None, 3),
            ("r2/z1", Some("r2"), 3),
            ("r3/z1", Some("r2"), 4),
            ("", None, 3),
        ] {
            assert_eq!(far(here, parts(there), next), expected, "{there} {next:?}");
        }
        assert_eq!(far(here, parts("/z1"), None), 1);
        assert_eq!(far(here, parts("/z2"), None), 3);
        assert_eq!(far(parts("/z1"), parts("/z1"), None), 0);
        assert_eq!(far(parts("/z1"), parts("/z2"), None), 2);
    }

    #[test]
    fn stars_and_what_is_not_said_stand_for_any_part() {
        for (rule, expected) in
            [("*", true), ("r1/*", true), ("r1", true), ("r1/z1/*", true), ("r1/z2", false)]
        {
            assert_eq!(is_in(parts("r1/z1/s1"), rule), expected, "{rule}");
        }
    }

    fn endpoint(locality: &str, tier: &str) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            address: ([10, 0, 0, 1], 80).into(),
            labels: vec![("tier".to_owned(), tier.to_owned())],
            weight: None,
            workload: None,
            locality: locality.to_owned(),
        })
    }

    fn own(locality: &str) -> Settings {
        let labels = vec![("tier".to_owned(), "a".to_owned())];
        Settings { locality: locality.to_owned(), labels, ..Settings::default() }
    }

    #[test]
    fn labels_count_in_their_order_and_may_have_a_value() {
        let endpoints = ["r1/z1", "r1/z2", "r2/z1"].map(|place| endpoint(place, "b"));
        let priority = |labels: &[&str]| {
            let priority = labels.iter().map(ToString::to_string).collect();
            let policy = LocalityPolicy { tiers: true, priority, ..LocalityPolicy::default() };
            groups(&policy, &own("r1/z1"), &endpoints)
        };
        let zones = priority(&[":region", ":zone"]);
        assert_eq!(zones, Groups::tiers(&[0, 1, 2]));
        assert_eq!(priority(&["tier", ":zone"]), None, "none has its tier");
        let valued = priority(&["tier=b", ":zone"]);
        assert_eq!(valued, Groups::tiers(&[0, 1, 0]));
    }

    #[test]
    fn shares_are_of_the_place_that_says_most() {
        let endpoints = ["r1/z1", "r1/z2", "r3/z1"].map(|place| endpoint(place, "b"));
        let to = [("r1/*", 30), ("r1/z1", 70)].map(|(rule, share)| (rule.to_owned(), share));
        let distribute =
            vec![weft_config::Distribution { from: "r1/z1/*".to_owned(), to: to.to_vec() }];
        let policy = LocalityPolicy { distribute, tiers: true, ..LocalityPolicy::default() };
        let expected = Groups::weighted(vec![Some(1), Some(0), None], vec![30, 70]);
        assert_eq!(groups(&policy, &own("r1/z1"), &endpoints), Some(expected));
        assert_eq!(groups(&policy, &own("r2/z1"), &endpoints), None);
        assert_eq!(groups(&policy, &own(""), &endpoints), None);
    }
}

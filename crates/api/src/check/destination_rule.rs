//! What Istio asks of a DestinationRule.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{findings::Findings, names};
use crate::{
    destination_rule::{
        ConnectionPool, ConsistentHash, DestinationRule, LoadBalancer, LocalityLbSetting,
        OutlierDetection, PortPolicy, RetryBudget, Subset, TrafficPolicy,
    },
    field::item,
};

/// Checks a DestinationRule.
pub(super) fn check(object: &DestinationRule, findings: &mut Findings) {
    let spec = &object.spec;
    match spec.host.as_str() {
        "" => findings.error("spec.host", "the rule names no host; name the service it is for"),
        host => {
            if let Some(message) = names::wildcard_host(host) {
                findings.error("spec.host", message);
            }
        }
    }
    for (index, message) in names::visibility(&spec.export_to) {
        findings.error(item("spec.exportTo", index), message);
    }
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy(policy, "spec.trafficPolicy", findings);
    }
    let mut known = BTreeSet::new();
    for (index, each) in spec.subsets.iter().enumerate() {
        let place = item("spec.subsets", index);
        if each.name.is_empty() {
            findings.error(format!("{place}.name"), "the subset has no name; give it one");
        } else if !names::is_label(&each.name) {
            let message = format!("`{}` is not the name of a subset", each.name);
            findings.error(format!("{place}.name"), message);
        }
        if !each.name.is_empty() && !known.insert(&each.name) {
            let message = format!("two subsets are called `{}`; the first one counts", each.name);
            findings.error(format!("{place}.name"), message);
        }
        subset(each, &place, findings);
    }
}

fn subset(subset: &Subset, place: &str, findings: &mut Findings) {
    for (key, value) in &subset.labels {
        if let Some(message) = names::label(key, value) {
            findings.error(format!("{place}.labels"), message);
        }
    }
    if let Some(policy) = &subset.traffic_policy {
        traffic_policy(policy, &format!("{place}.trafficPolicy"), findings);
    }
}

fn traffic_policy(policy: &TrafficPolicy, place: &str, findings: &mut Findings) {
    if *policy == TrafficPolicy::default() {
        findings.error(place, "the policy is empty; remove it or set a field");
    }
    let TrafficPolicy { load_balancer, connection_pool, outlier_detection, tls, .. } = policy;
    settings((load_balancer, connection_pool, outlier_detection, tls), place, findings);
    if let Some(budget) = &policy.retry_budget {
        retry_budget(budget, place, findings);
    }
    let mut known = BTreeSet::new();
    for (index, settings) in policy.port_level_settings.iter().enumerate() {
        let place = item(&format!("{place}.portLevelSettings"), index);
        port_policy(settings, &place, findings);
        let port = settings.port.as_ref().map(|port| port.number);
        if let Some(port) = port.filter(|port| !known.insert(*port)) {
            let message = format!("port {port} has settings above; the first ones count");
            findings.warning(format!("{place}.port.number"), message);
        }
    }
}

fn port_policy(policy: &PortPolicy, place: &str, findings: &mut Findings) {
    if policy.port.as_ref().is_none_or(|port| port.number == 0) {
        findings.error(format!("{place}.port"), "the settings are for no port; name its number");
    }
    let PortPolicy { load_balancer, connection_pool, outlier_detection, tls, .. } = policy;
    settings((load_balancer, connection_pool, outlier_detection, tls), place, findings);
}

/// What a policy and the settings of a port have alike.
type Settings<'p> = (
    &'p Option<LoadBalancer>,
    &'p Option<ConnectionPool>,
    &'p Option<OutlierDetection>,
    &'p Option<Value>,
);

fn settings((balancer, pool, outliers, tls): Settings<'_>, place: &str, findings: &mut Findings) {
    if let Some(balancer) = balancer {
        load_balancer(balancer, &format!("{place}.loadBalancer"), findings);
    }
    if let Some(pool) = pool {
        connection_pool(pool, place, findings);
    }
    if let Some(outliers) = outliers {
        outlier_detection(outliers, place, findings);
    }
    if let Some(tls) = tls {
        self::tls(tls, place, findings);
    }
}

fn connection_pool(pool: &ConnectionPool, place: &str, findings: &mut Findings) {
    if pool.tcp.is_none() && pool.http.is_none() {
        findings.error(format!("{place}.connectionPool"), "neither `tcp` nor `http` is given");
    }
    let tcp = pool.tcp.iter().map(|tcp| ("tcp.maxConnections", tcp.max_connections));
    let http = pool.http.iter().flat_map(|http| {
        [
            ("http.http1MaxPendingRequests", http.http1_max_pending_requests),
            ("http.http2MaxRequests", http.http2_max_requests),
            ("http.maxRequestsPerConnection", http.max_requests_per_connection),
            ("http.maxRetries", http.max_retries),
            ("http.maxConcurrentStreams", http.max_concurrent_streams),
        ]
    });
    for (name, number) in tcp.chain(http) {
        let place = format!("{place}.connectionPool.{name}");
        match number {
            Some(..0) => findings.error(place, "the number is less than 0"),
            Some(0) => findings.warning(place, "0 is no limit; leave the field out, or set 1"),
            _ => {}
        }
    }
    let Some(http) = &pool.http else { return };
    if http.use_client_protocol == Some(true)
        && http.h2_upgrade_policy.as_deref() == Some("UPGRADE")
    {
        let message = "`useClientProtocol` counts, so clients of HTTP/1.1 are not upgraded";
        findings.warning(format!("{place}.connectionPool.http.h2UpgradePolicy"), message);
    }
}

fn retry_budget(budget: &RetryBudget, place: &str, findings: &mut Findings) {
    if let Some(percent) = budget.percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
        let message = format!("{percent} is not between 0 and 100");
        findings.error(format!("{place}.retryBudget.percent"), message);
    }
}

fn outlier_detection(outliers: &OutlierDetection, place: &str, findings: &mut Findings) {
    for (name, percent) in [
        ("maxEjectionPercent", outliers.max_ejection_percent),
        ("minHealthPercent", outliers.min_health_percent),
    ] {
        if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
            let message = format!("{percent} is not between 0 and 100");
            findings.error(format!("{place}.outlierDetection.{name}"), message);
        }
    }
}

fn tls(tls: &Value, place: &str, findings: &mut Findings) {
    if tls["mode"] != "DISABLE" {
        findings.not_honoured(&format!("{place}.tls"), "the service is called in plaintext");
    }
    let given = |name: &str| tls.get(name).and_then(Value::as_str).unwrap_or_default() != "";
    if tls["mode"] == "MUTUAL" && !given("credentialName") {
        for name in ["clientCertificate", "privateKey"] {
            if !given(name) {
                findings.error(format!("{place}.tls.{name}"), "mode MUTUAL needs it");
            }
        }
    }
}

fn load_balancer(balancer: &LoadBalancer, place: &str, findings: &mut Findings) {
    if let Some(hash) = &balancer.consistent_hash {
        if balancer.simple.is_some() {
            let message =
                "`simple` and `consistentHash` exclude each other; `consistentHash` counts";
            findings.warning(format!("{place}.simple"), message);
        }
        consistent_hash(hash, &format!("{place}.consistentHash"), findings);
    }
    if let Some(locality) = &balancer.locality_lb_setting {
        self::locality(locality, &format!("{place}.localityLbSetting"), findings);
    }
    if let Some(warmup) = &balancer.warmup {
        let place = format!("{place}.warmup");
        if warmup.duration.is_none() {
            findings.error(format!("{place}.duration"), "the warm-up has no duration");
        }
        let percent = warmup.minimum_percent.unwrap_or(10.0);
        if !(0.0..=100.0).contains(&percent) {
            let message = format!("{percent} is not between 0 and 100");
            findings.error(format!("{place}.minimumPercent"), message);
        }
        if warmup.aggression.is_some_and(|aggression| aggression < 1.0) {
            findings.error(format!("{place}.aggression"), "the least is 1");
        }
        if !matches!(
            balancer.simple.as_deref(),
            None | Some("UNSPECIFIED" | "LEAST_CONN" | "LEAST_REQUEST" | "ROUND_ROBIN")
        ) || balancer.consistent_hash.is_some()
        {
            let message = "only ROUND_ROBIN and LEAST_REQUEST warm endpoints up";
            findings.warning(place, message);
        }
    }
}

fn locality(locality: &LocalityLbSetting, place: &str, findings: &mut Findings) {
    let ways = [
        ("distribute", !locality.distribute.is_empty()),
        ("failover", !locality.failover.is_empty()),
        ("failoverPriority", !locality.failover_priority.is_empty()),
    ];
    let ways: Vec<_> = ways.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    if ways.contains(&"distribute") && ways.len() > 1 {
        findings.error(place, format!("{} exclude each other; keep one", ways.join(" and ")));
    }
    for (index, one) in locality.distribute.iter().enumerate() {
        let sum: u64 = one.to.values().map(|share| u64::from(*share)).sum();
        if sum != 100 {
            let place = format!("{}.to", item(&format!("{place}.distribute"), index));
            findings.error(place, format!("the shares are {sum} together, not 100"));
        }
    }
    for (index, one) in locality.failover.iter().enumerate() {
        let place = item(&format!("{place}.failover"), index);
        if one.from == one.to {
            findings.error(place, "a region cannot come after itself");
        } else if one.from.contains(['/', '*']) || one.to.contains(['/', '*']) {
            findings.error(place, "`from` and `to` are regions, without zones and `*`");
        }
    }
}

fn consistent_hash(hash: &ConsistentHash, place: &str, findings: &mut Findings) {
    let keys = [
        ("httpHeaderName", hash.http_header_name.is_some()),
        ("httpCookie", hash.http_cookie.is_some()),
        ("useSourceIp", hash.use_source_ip == Some(true)),
        ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
    ];
    let keys: Vec<&str> = keys.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    match keys[..] {
        [] => findings.warning(
            place,
            "no key is given, so requests go to any endpoint; set `httpHeaderName`, `httpCookie`, \
             `useSourceIp` or `httpQueryParameterName`",
        ),
        [_] => {}
        [first, ..] => {
            let message = format!("{} are given; only {first} counts", keys.join(" and "));
            findings.warning(place, message);
        }
    }
    if let Some(message) = hash.http_header_name.as_deref().and_then(names::header) {
        findings.error(format!("{place}.httpHeaderName"), message);
    }
    if hash.http_query_parameter_name.as_ref().is_some_and(String::is_empty) {
        findings.error(format!("{place}.httpQueryParameterName"), "the parameter has no name");
    }
    if let Some(cookie) = &hash.http_cookie {
        if let Some(message) = names::header(&cookie.name) {
            findings.error(format!("{place}.httpCookie.name"), message);
        }
        let attributes = cookie.attributes.iter().flat_map(|one| [&one.name, &one.value]);
        let odd = |text: &str| text.chars().any(|c| c == ';' || c.is_control() || !c.is_ascii());
        if odd(&cookie.path) || attributes.into_iter().any(|text| odd(text)) {
            let message = "a path or attribute of a cookie has only letters that a field may have, \
                           and no `;`";
            findings.error(format!("{place}.httpCookie"), message);
        }
    }
    if let Some(maglev) = &hash.maglev {
        let size = maglev.get("tableSize").and_then(Value::as_u64).unwrap_or(0);
        if !is_prime(size) {
            let message = format!("{size} is not a prime number");
            findings.error(format!("{place}.maglev.tableSize"), message);
        }
    }
}

/// Whether `number` is a prime that Envoy takes for a table's size. The test of Miller and
/// Rabin with these bases is exact below 25,326,001.
fn is_prime(number: u64) -> bool {
    const LARGEST: u64 = 5_000_011;
    if !(2..=LARGEST).contains(&number) {
        return false;
    }
    let (odd, twos) =
        ((number - 1) >> (number - 1).trailing_zeros(), (number - 1).trailing_zeros());
    [2, 3, 5].into_iter().all(|base| {
        let mut power = power(base, odd, number);
        let mut passes = number == base || power == 1 || power == number - 1;
        for _ in 1..twos {
            power = power * power % number;
            passes |= power == number - 1;
        }
        passes
    })
}

/// `base` to the power of `exponent`, modulo `modulus`.
fn power(base: u64, exponent: u64, modulus: u64) -> u64 {
    let (mut base, mut exponent, mut result) = (base % modulus, exponent, 1);
    while exponent > 0 {
        if exponent % 2 == 1 {
            result = result * base % modulus;
        }
        base = base * base % modulus;
        exponent /= 2;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_those_that_no_smaller_number_divides() {
        let divided = |number: u64| {
            number >= 2
                && (2..)
                    .take_while(|one| one * one <= number)
                    .all(|one| !number.is_multiple_of(one))
        };
        // 2,047 and 1,373,653 fool single bases; the last two are at the limit.
        let special = [2_047, 25_326, 1_373_653, 4_681, 5_000_011, 5_000_009, 65_537];
        for number in (0..3_000).chain(special) {
            assert_eq!(is_prime(number), divided(number), "{number}");
        }
        assert!(!is_prime(5_000_077), "a prime, but too large");
    }
}

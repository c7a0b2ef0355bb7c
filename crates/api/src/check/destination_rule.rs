//! What Istio asks of a DestinationRule.

use serde_json::Value;

use super::{Findings, names};
use crate::{
    destination_rule::{DestinationRule, LoadBalancer, Subset, TrafficPolicy},
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
    for (index, each) in spec.subsets.iter().enumerate() {
        let place = item("spec.subsets", index);
        if each.name.is_empty() {
            findings.error(format!("{place}.name"), "the subset has no name; give it one");
        } else if !names::is_label(&each.name) {
            let message = format!("`{}` is not the name of a subset", each.name);
            findings.error(format!("{place}.name"), message);
        }
        if spec.subsets[..index].iter().any(|other| other.name == each.name) {
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
        findings.error(place, "the policy says nothing; leave it away or fill it");
    }
    if let Some(balancer) = &policy.load_balancer {
        load_balancer(balancer, &format!("{place}.loadBalancer"), findings);
    }
    if let Some(pool) = &policy.connection_pool
        && !["tcp", "http"].iter().any(|part| pool.get(part).is_some())
    {
        findings.error(format!("{place}.connectionPool"), "neither `tcp` nor `http` is given");
    }
    if let Some(outliers) = &policy.outlier_detection {
        for name in ["maxEjectionPercent", "minHealthPercent"] {
            if let Some(percent) = outliers.get(name).and_then(Value::as_i64)
                && !(0..=100).contains(&percent)
            {
                let message = format!("{percent} is not between 0 and 100");
                findings.error(format!("{place}.outlierDetection.{name}"), message);
            }
        }
    }
    if let Some(tls) = &policy.tls {
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
}

fn load_balancer(balancer: &LoadBalancer, place: &str, findings: &mut Findings) {
    if balancer.simple.as_deref() == Some("PASSTHROUGH") {
        findings.not_honoured(&format!("{place}.simple"), "the least busy endpoint is used");
    }
    let maglev = balancer.consistent_hash.as_ref().and_then(|hash| hash.get("maglev"));
    if let Some(maglev) = maglev {
        let size = maglev.get("tableSize").and_then(Value::as_u64).unwrap_or(0);
        if !is_prime(size) {
            let message = format!("{size} is not a prime number");
            findings.error(format!("{place}.consistentHash.maglev.tableSize"), message);
        }
    }
    if let Some(locality) = &balancer.locality_lb_setting {
        let given = |name: &str| {
            locality.get(name).and_then(Value::as_array).is_some_and(|l| !l.is_empty())
        };
        let ways = ["distribute", "failover", "failoverPriority"];
        let ways: Vec<_> = ways.into_iter().filter(|name| given(name)).collect();
        if ways.contains(&"distribute") && ways.len() > 1 {
            let message = format!("{} exclude each other; keep one", ways.join(" and "));
            findings.error(format!("{place}.localityLbSetting"), message);
        }
    }
}

fn is_prime(number: u64) -> bool {
    const LARGEST: u64 = 5_000_011;
    (2..=LARGEST).contains(&number)
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

//! What Istio asks of a VirtualService.

use serde_json::Value;

use super::{findings::Findings, http_route, names, overlap::overlaps};
use crate::{
    field::item,
    virtual_service::{Destination, TcpRoute, VirtualService},
};

/// Checks a VirtualService.
pub(super) fn check(object: &VirtualService, findings: &mut Findings) {
    let spec = &object.spec;
    let in_mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == "mesh");
    hosts(&spec.hosts, in_mesh, findings);
    for (index, gateway) in spec.gateways.iter().enumerate() {
        if let Some(message) = names::gateway(gateway) {
            findings.error(item("spec.gateways", index), message);
        }
    }
    for (index, message) in names::visibility(&spec.export_to) {
        findings.error(item("spec.exportTo", index), message);
    }
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        findings.error("spec", "the object has no rule; give it `http`, `tls` or `tcp`");
    }
    for (index, rule) in spec.http.iter().enumerate() {
        http_route::check(rule, &item("spec.http", index), findings);
    }
    for (index, rule) in spec.tcp.iter().enumerate() {
        tcp(rule, &item("spec.tcp", index), findings);
    }
    for (index, rule) in spec.tls.iter().enumerate() {
        tls(rule, &item("spec.tls", index), findings);
    }
}

fn hosts(hosts: &[String], in_mesh: bool, findings: &mut Findings) {
    if hosts.is_empty() {
        let message = "no host is named, so the rules are used only where another VirtualService \
                       delegates to this object";
        findings.warning("spec.hosts", message);
    }
    let mut valid = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        if let Some(message) = names::wildcard_host(host) {
            findings.error(item("spec.hosts", index), message);
        } else if host == "*" && in_mesh {
            let message = "`*` is allowed only for gateways; name the services, or a gateway";
            findings.error(item("spec.hosts", index), message);
        } else {
            valid.push((index, host.as_str()));
        }
    }
    for (index, other) in overlaps(&valid) {
        let (host, other) = (&hosts[index], &hosts[other]);
        let message = format!("`{host}` and `{other}` overlap; keep one of them");
        findings.error(item("spec.hosts", index), message);
    }
}

fn tcp(rule: &TcpRoute, place: &str, findings: &mut Findings) {
    let field = format!("{place}.route");
    if rule.route.is_empty() {
        findings.error(&field, "the rule has no destination; name one");
    }
    let weighted: Vec<_> =
        rule.route.iter().map(|route| (&route.destination, route.weight)).collect();
    destinations(&weighted, &field, findings);
}

fn tls(rule: &Value, place: &str, findings: &mut Findings) {
    let some = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
    };
    if !some(rule, "route") {
        findings.error(format!("{place}.route"), "the rule has no destination; name one");
    }
    if !some(rule, "match") {
        findings.error(format!("{place}.match"), "the rule has no condition; name `sniHosts`");
    }
    for (index, condition) in rule["match"].as_array().into_iter().flatten().enumerate() {
        if !some(condition, "sniHosts") {
            let field = format!("{}.sniHosts", item(&format!("{place}.match"), index));
            findings.error(field, "the condition names no host");
        }
    }
}

/// Checks destinations and their weights.
pub(super) fn destinations(
    weighted: &[(&Destination, Option<i64>)],
    place: &str,
    findings: &mut Findings,
) {
    for (index, (to, weight)) in weighted.iter().enumerate() {
        let place = item(place, index);
        destination(to, &format!("{place}.destination"), findings);
        if weight.is_some_and(|weight| weight < 0) {
            findings.error(format!("{place}.weight"), "a weight cannot be less than 0");
        }
    }
    let sum = weighted.iter().filter_map(|(_, weight)| *weight).sum::<i64>();
    if weighted.len() > 1 && sum == 0 {
        let message = "all weights are 0; give at least one destination a weight";
        findings.error(place, message);
    }
}

/// Checks one destination.
pub(super) fn destination(destination: &Destination, place: &str, findings: &mut Findings) {
    let host = format!("{place}.host");
    match destination.host.as_str() {
        "" => findings.error(host, "the destination has no host; name a service"),
        "*" => findings.error(host, "`*` is no destination; name a service"),
        name => {
            if let Some(message) = names::wildcard_host(name) {
                findings.error(host, message);
            }
        }
    }
    if let Some(subset) = &destination.subset
        && !subset.is_empty()
        && !names::is_label(subset)
    {
        findings
            .error(format!("{place}.subset"), format!("`{subset}` is not the name of a subset"));
    }
    if destination.port.as_ref().is_some_and(|port| port.number == 0) {
        findings.error(format!("{place}.port.number"), "the port has no number");
    }
}

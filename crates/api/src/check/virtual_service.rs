//! What Istio asks of a VirtualService.

use std::{collections::HashSet, net::IpAddr};

use super::{findings::Findings, http_route, names, overlap::overlaps};
use crate::{
    field::item,
    virtual_service::{ConnectionMatch, ConnectionRoute, Destination, VirtualService},
};

/// How many hosts of the object a message names.
const MOST_NAMED: usize = 3;

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
        connections(rule, &item("spec.tcp", index), findings);
    }
    let hosts = Hosts::new(&spec.hosts);
    for (index, rule) in spec.tls.iter().enumerate() {
        tls(rule, &item("spec.tls", index), &hosts, findings);
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

/// Checks what rules for TCP and for TLS have in common.
fn connections(rule: &ConnectionRoute, place: &str, findings: &mut Findings) {
    let field = format!("{place}.route");
    if rule.route.is_empty() {
        findings.error(&field, "the rule has no destination; name one");
    }
    let weighted: Vec<_> =
        rule.route.iter().map(|route| (&route.destination, route.weight)).collect();
    destinations(&weighted, &field, findings);
    for (index, one) in rule.matches.iter().enumerate() {
        condition(one, &item(&format!("{place}.match"), index), findings);
    }
}

fn condition(one: &ConnectionMatch, place: &str, findings: &mut Findings) {
    for (index, text) in one.destination_subnets.iter().enumerate() {
        if let Err(message) = names::subnet(text) {
            findings.error(item(&format!("{place}.destinationSubnets"), index), message);
        }
    }
    for (index, gateway) in one.gateways.iter().enumerate() {
        if let Some(message) = names::gateway(gateway) {
            findings.error(item(&format!("{place}.gateways"), index), message);
        }
    }
    for (key, value) in &one.source_labels {
        if let Some(message) = names::label(key, value) {
            findings.error(format!("{place}.sourceLabels"), message);
        }
    }
}

fn tls(rule: &ConnectionRoute, place: &str, hosts: &Hosts<'_>, findings: &mut Findings) {
    connections(rule, place, findings);
    if rule.matches.is_empty() {
        findings.error(format!("{place}.match"), "the rule has no condition; name `sniHosts`");
    }
    for (index, one) in rule.matches.iter().enumerate() {
        let field = format!("{}.sniHosts", item(&format!("{place}.match"), index));
        if one.sni_hosts.is_empty() {
            findings.error(&field, "the condition names no host");
        }
        for (index, name) in one.sni_hosts.iter().enumerate() {
            sni_host(name, &item(&field, index), hosts, findings);
        }
    }
}

fn sni_host(name: &str, field: &str, hosts: &Hosts<'_>, findings: &mut Findings) {
    if let Some(message) = names::wildcard_host(name) {
        findings.error(field, message);
    } else if name.parse::<IpAddr>().is_ok() {
        let message = "clients do not name addresses in TLS (RFC 6066, section 3), so this never \
                       matches; name a host";
        findings.warning(field, message);
    } else if !hosts.cover(name) {
        let named = hosts.named();
        let message =
            format!("`{name}` is not among the hosts of the object, {named}; add it there");
        findings.error(field, message);
    }
}

/// The hosts of an object, to be compared with many names.
struct Hosts<'h> {
    written: &'h [String],
    exact: HashSet<String>,
    /// What follows the `*`.
    endings: HashSet<String>,
}

impl<'h> Hosts<'h> {
    fn new(written: &'h [String]) -> Self {
        let (mut exact, mut endings) = (HashSet::new(), HashSet::new());
        for host in written.iter().map(|host| host.to_ascii_lowercase()) {
            match host.strip_prefix('*') {
                Some(ending) => endings.insert(ending.to_owned()),
                None => exact.insert(host),
            };
        }
        Self { written, exact, endings }
    }

    /// Whether every name that `name` stands for is one that some host stands for.
    fn cover(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let known = match name.strip_prefix('*') {
            Some(ending) => self.endings.contains(ending),
            None => self.exact.contains(&name),
        };
        let longer = name.char_indices().map(|(at, _)| &name[at..]).skip(1).chain([""]);
        known
            || (!self.endings.is_empty()
                && longer.into_iter().any(|one| self.endings.contains(one)))
    }

    /// The first of them, in words.
    fn named(&self) -> String {
        let first = &self.written[..self.written.len().min(MOST_NAMED)];
        let first = first.iter().map(|host| format!("`{host}`")).collect::<Vec<_>>().join(", ");
        match self.written.len().saturating_sub(MOST_NAMED) {
            0 if first.is_empty() => "which has none".to_owned(),
            0 => first,
            more => format!("{first} and {more} more"),
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

//! What Istio asks of a ServiceEntry and of a WorkloadEntry.

use std::{collections::BTreeSet, net::IpAddr};

use super::{findings::Findings, names};
use crate::{
    field::{child, item},
    service_entry::{AddressRange, EntryPort, ServiceEntry, ServiceEntrySpec, WorkloadEntrySpec},
};

/// Hosts that one ServiceEntry may have, as its definition in Kubernetes says.
pub const MOST_HOSTS: usize = 256;

/// Protocols that a port may have.
const PROTOCOLS: &[&str] = &[
    "HTTP",
    "HTTP_PROXY",
    "HTTP2",
    "GRPC",
    "GRPC-WEB",
    "HTTPS",
    "TLS",
    "TCP",
    "UDP",
    "MONGO",
    "REDIS",
    "MYSQL",
];

/// Checks a ServiceEntry.
pub(super) fn check(object: &ServiceEntry, findings: &mut Findings) {
    let spec = &object.spec;
    hosts(spec, findings);
    addresses(spec, findings);
    let mut known = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (index, each) in spec.ports.iter().enumerate() {
        let place = item("spec.ports", index);
        port(each, &place, spec, findings);
        if !each.name.is_empty() && !known.insert(each.name.as_str()) {
            let message = format!("two ports are called `{}`", each.name);
            findings.error(format!("{place}.name"), message);
        }
        if each.number != 0 && !numbers.insert(each.number) {
            let message = format!("port {} is there twice; the first one counts", each.number);
            findings.error(format!("{place}.number"), message);
        }
    }
    if spec.ports.is_empty() {
        findings.warning("spec.ports", "no port is named, so the hosts are not reached; name one");
    }
    resolution(spec, findings);
    for (index, each) in spec.endpoints.iter().enumerate() {
        let place = item("spec.endpoints", index);
        endpoint(each, &place, findings);
        for name in each.ports.keys().filter(|name| !known.contains(name.as_str())) {
            let message = format!("no port of the ServiceEntry is called `{name}`");
            findings.error(child(&format!("{place}.ports"), name), message);
        }
    }
    if let Some(selector) = &spec.workload_selector {
        for (key, value) in &selector.labels {
            if let Some(message) = names::label(key, value) {
                findings.error("spec.workloadSelector.labels", message);
            }
        }
        if !spec.endpoints.is_empty() {
            let message = "endpoints are given, too; keep one of the two";
            findings.error("spec.workloadSelector", message);
        }
    }
    for (index, message) in names::visibility(&spec.export_to) {
        findings.error(item("spec.exportTo", index), message);
    }
}

/// Checks what a WorkloadEntry says.
pub(super) fn check_workload(spec: &WorkloadEntrySpec, findings: &mut Findings) {
    endpoint(spec, "spec", findings);
    let address = spec.address.as_str();
    let is_known = address.is_empty()
        || address.starts_with("unix://")
        || address.parse::<IpAddr>().is_ok()
        || names::host(address).is_none();
    if !is_known {
        findings.error("spec.address", format!("`{address}` is not an address or a host name"));
    }
}

fn hosts(spec: &ServiceEntrySpec, findings: &mut Findings) {
    if spec.hosts.is_empty() {
        findings.error("spec.hosts", "no host is named; name at least one");
    }
    if spec.hosts.len() > MOST_HOSTS {
        let message = format!("more than {MOST_HOSTS} hosts; divide them into several objects");
        findings.error("spec.hosts", message);
    }
    let is_dynamic = spec.resolution == "DYNAMIC_DNS";
    for (index, host) in spec.hosts.iter().enumerate() {
        let field = || item("spec.hosts", index);
        if host == "*" {
            findings.error(field(), "`*` is every host; name a domain, such as `*.example.com`");
        } else if let Some(message) = names::wildcard_host(host) {
            findings.error(field(), message);
        } else if is_dynamic && !host.starts_with('*') {
            let message = "resolution DYNAMIC_DNS is for wildcards; write `*.` and a domain, or \
                           resolution DNS";
            findings.error(field(), message);
        }
    }
}

fn addresses(spec: &ServiceEntrySpec, findings: &mut Findings) {
    for (index, text) in spec.addresses.iter().enumerate() {
        let field = || item("spec.addresses", index);
        match AddressRange::parse(text) {
            None => {
                let message =
                    format!("`{text}` is not an address or a range such as `10.1.0.0/16`");
                findings.error(field(), message);
            }
            Some(range) if range.single().is_none() && has_names(spec) => {
                let message = "a range of addresses goes with resolution NONE or STATIC only";
                findings.error(field(), message);
            }
            Some(_) => {}
        }
    }
}

/// Whether its endpoints are found by names.
fn has_names(spec: &ServiceEntrySpec) -> bool {
    matches!(spec.resolution.as_str(), "DNS" | "DNS_ROUND_ROBIN" | "DYNAMIC_DNS")
}

fn port(port: &EntryPort, place: &str, spec: &ServiceEntrySpec, findings: &mut Findings) {
    if port.number == 0 {
        findings.error(format!("{place}.number"), "the port has no number");
    }
    if port.name.is_empty() {
        findings.error(format!("{place}.name"), "the port has no name; give it one");
    }
    let protocol = port.protocol.to_ascii_uppercase();
    let field = format!("{place}.protocol");
    match protocol.as_str() {
        "UDP" => findings.warning(field, "UDP is not looked at: it goes where its client sends it"),
        "TCP" | "MONGO" | "REDIS" | "MYSQL" if spec.addresses.is_empty() => {
            let message = "connections that are not HTTP or TLS are known by their address, and \
                           the ServiceEntry has none, so they are not for it; give it `addresses`";
            findings.warning(field, message);
        }
        known if known.is_empty() || PROTOCOLS.contains(&known) => {}
        _ => {
            let message = format!("`{}` is not one of {}", port.protocol, PROTOCOLS.join(", "));
            findings.error(field, message);
        }
    }
    if port.target_port.is_some() && matches!(spec.resolution.as_str(), "NONE" | "") {
        let message = "has no effect with resolution NONE: connections go where clients dialled";
        findings.warning(format!("{place}.targetPort"), message);
    }
}

fn resolution(spec: &ServiceEntrySpec, findings: &mut Findings) {
    let field = "spec.endpoints";
    match spec.resolution.as_str() {
        "NONE" | "" if !spec.endpoints.is_empty() => {
            let message = "resolution NONE goes where clients dialled; write resolution STATIC \
                           or DNS, or remove the endpoints";
            findings.error(field, message);
        }
        "NONE" | "" if spec.workload_selector.is_some() => {
            let message = "resolution NONE goes where clients dialled; write resolution STATIC";
            findings.warning("spec.workloadSelector", message);
        }
        "STATIC" => {
            for (index, each) in spec.endpoints.iter().enumerate() {
                let address = each.address.as_str();
                let is_unix = address.starts_with("unix://");
                if !(address.is_empty() || is_unix || address.parse::<IpAddr>().is_ok()) {
                    let message = format!("`{address}` is not an address; write resolution DNS");
                    findings.error(format!("{}.address", item(field, index)), message);
                }
            }
        }
        named @ ("DNS" | "DNS_ROUND_ROBIN") => by_name(spec, named, findings),
        "DYNAMIC_DNS" if !spec.endpoints.is_empty() => {
            let message = "resolution DYNAMIC_DNS looks up the host of each request; remove the \
                           endpoints, or write resolution DNS";
            findings.error(field, message);
        }
        _ => {}
    }
}

fn by_name(spec: &ServiceEntrySpec, named: &str, findings: &mut Findings) {
    if spec.endpoints.is_empty() && spec.workload_selector.is_none() {
        for (index, host) in spec.hosts.iter().enumerate().filter(|(_, host)| host.starts_with('*'))
        {
            let message = format!(
                "`{host}` cannot be looked up with resolution {named}; name endpoints, or write \
                 resolution NONE or DYNAMIC_DNS"
            );
            findings.error(item("spec.hosts", index), message);
        }
    }
    if named == "DNS_ROUND_ROBIN" && spec.endpoints.len() > 1 {
        let message = "resolution DNS_ROUND_ROBIN has at most one endpoint; write resolution DNS";
        findings.error("spec.endpoints", message);
    }
    for (index, each) in spec.endpoints.iter().enumerate() {
        let address = each.address.as_str();
        let is_known = address.is_empty()
            || address.parse::<IpAddr>().is_ok()
            || names::host(address).is_none();
        if !is_known {
            let message = format!("`{address}` is not an address or a host name");
            findings.error(format!("{}.address", item("spec.endpoints", index)), message);
        }
    }
}

/// What holds for WorkloadEntries and endpoints alike.
fn endpoint(spec: &WorkloadEntrySpec, place: &str, findings: &mut Findings) {
    let field = format!("{place}.address");
    match spec.address.as_str() {
        "" => findings.error(field, "the endpoint has no address"),
        address if address.starts_with("unix://") => {
            findings.not_honoured(&field, "sockets of the file system are not dialled");
        }
        _ => {}
    }
    for (key, value) in &spec.labels {
        if let Some(message) = names::label(key, value) {
            findings.error(format!("{place}.labels"), message);
        }
    }
}

//! What EndpointSlices and Endpoints have to be.
//!
//! Their writers say where traffic goes, so an address may not be one that means the
//! proxy's own machine.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};
use weft_controllers::object::items;

use super::{
    causes::Causes,
    names,
    service::{PROTOCOLS, ip},
};

/// The most endpoints of a slice.
const ENDPOINTS: usize = 1000;

/// The most addresses of an endpoint.
const ADDRESSES: usize = 100;

/// The most ports of a slice.
const PORTS: usize = 20_000;

/// Checks an EndpointSlice.
pub fn slice(object: &Value, causes: &mut Causes) {
    match object["addressType"].as_str() {
        None | Some("") => causes.required("addressType", ""),
        Some(_) => causes.one_of("addressType", &object["addressType"], &["FQDN", "IPv4", "IPv6"]),
    }
    if few(&object["endpoints"], "endpoints", ENDPOINTS, causes) {
        for (index, endpoint) in items(&object["endpoints"]).enumerate() {
            let field = format!("endpoints[{index}]");
            causes.follows(format!("{field}.hostname"), &endpoint["hostname"], names::dns_label);
            addresses(&object["addressType"], &endpoint["addresses"], &field, causes);
        }
    }
    if !few(&object["ports"], "ports", PORTS, causes) {
        return;
    }
    let mut known = BTreeSet::new();
    for (index, port) in items(&object["ports"]).enumerate() {
        let name = port["name"].as_str().unwrap_or_default();
        let field = format!("ports[{index}]");
        if !name.is_empty() {
            causes.follows(format!("{field}.name"), &port["name"], names::dns_label);
        }
        if !known.insert(name) {
            causes.duplicate(format!("{field}.name"), &name.into());
        }
        causes.within(format!("{field}.port"), &port["port"], (1, 65_535));
        causes.one_of(format!("{field}.protocol"), &port["protocol"], PROTOCOLS);
    }
}

/// Whether a list has few enough items to look at each.
fn few(list: &Value, field: &str, most: usize, causes: &mut Causes) -> bool {
    let found = items(list).count();
    if found > most {
        causes.too_many(field, found, most);
    }
    found <= most
}

fn addresses(kind: &Value, list: &Value, endpoint: &str, causes: &mut Causes) {
    let field = format!("{endpoint}.addresses");
    if items(list).next().is_none() {
        causes.required(&field, "must contain at least 1 address");
    }
    if !few(list, &field, ADDRESSES, causes) {
        return;
    }
    for (number, address) in items(list).enumerate() {
        let field = format!("{field}[{number}]");
        let parsed: Option<IpAddr> = address.as_str().and_then(|text| text.parse().ok());
        match (kind.as_str(), parsed) {
            (Some("IPv4"), Some(parsed)) if parsed.is_ipv4() => plain(parsed, &field, causes),
            (Some("IPv6"), Some(parsed)) if parsed.is_ipv6() => plain(parsed, &field, causes),
            (Some(family @ ("IPv4" | "IPv6")), _) => {
                causes.invalid(field, address, &format!("must be a valid {family} address"));
            }
            (Some("FQDN"), _) => causes.follows(field, address, domain),
            _ => {}
        }
    }
}

/// Why a text is not a fully qualified domain name.
fn domain(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.');
    let short = || "should be a domain with at least two segments separated by dots".to_owned();
    names::dns_subdomain(name).or_else(|| (!name.contains('.')).then(short))
}

/// Refuses addresses that are not those of another machine, in Kubernetes' words.
fn plain(address: IpAddr, field: &str, causes: &mut Causes) {
    let canonical = address.to_canonical();
    let is_link_local = match canonical {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let is_broadcast = matches!(canonical, IpAddr::V4(address) if address.is_broadcast());
    let rule = match () {
        () if canonical.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        () if canonical.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        () if is_link_local => "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        () if canonical.is_multicast() || is_broadcast => "may not be a multicast address",
        () => return,
    };
    causes.invalid(field, &address.to_string().into(), rule);
}

/// Checks an Endpoints object.
pub fn endpoints(object: &Value, causes: &mut Causes) {
    for (index, subset) in items(&object["subsets"]).enumerate() {
        let field = format!("subsets[{index}]");
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| items(&subset[*list]).next().is_none()) {
            causes.required(&field, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in lists {
            for (number, address) in items(&subset[list]).enumerate() {
                let field = format!("{field}.{list}[{number}]");
                let host = &address["hostname"];
                if host.as_str().is_some_and(|host| !host.is_empty()) {
                    causes.follows(format!("{field}.hostname"), host, names::dns_label);
                }
                let field = format!("{field}.ip");
                if let Some(parsed) = ip(&address["ip"], &field, causes) {
                    plain(parsed, &field, causes);
                }
            }
        }
        let several = items(&subset["ports"]).count() > 1;
        for (number, port) in items(&subset["ports"]).enumerate() {
            let field = format!("{field}.ports[{number}]");
            if several && port["name"].as_str().is_none_or(str::is_empty) {
                causes.required(format!("{field}.name"), "");
            }
            let number = if port["port"].is_null() { &json!(0) } else { &port["port"] };
            causes.within(format!("{field}.port"), number, (1, 65_535));
        }
    }
}

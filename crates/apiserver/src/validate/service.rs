//! What Services and Ingresses have to be.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};
use weft_controllers::object::items;

use super::{causes::Causes, metadata, names};

/// The protocols that ports may have.
pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Checks a Service.
pub fn check(spec: &Value, causes: &mut Causes) {
    let is_external = spec["type"] == "ExternalName";
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    causes.one_of("spec.type", &spec["type"], &kinds);
    causes.one_of("spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
    for policy in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        causes.one_of(format!("spec.{policy}"), &spec[policy], &["Cluster", "Local"]);
    }
    if items(&spec["ports"]).next().is_none() && !is_external && spec["clusterIP"] != "None" {
        causes.required("spec.ports", "");
    }
    if is_external {
        causes.named("spec.externalName", &spec["externalName"], |name| {
            names::dns_subdomain(name.trim_end_matches('.'))
        });
    }
    if spec["type"] == "LoadBalancer" && spec["clusterIP"] == "None" {
        let rule = "may not be set to 'None' for LoadBalancer services";
        causes.invalid("spec.clusterIPs[0]", &spec["clusterIP"], rule);
    }
    if spec["type"] == "NodePort" && spec["clusterIP"] == "None" {
        let rule = "may not be set to 'None' for NodePort services";
        causes.invalid("spec.clusterIPs[0]", &spec["clusterIP"], rule);
    }
    metadata::labels(&spec["selector"], "spec.selector", causes);
    for (index, address) in items(&spec["externalIPs"]).enumerate() {
        ip(address, &format!("spec.externalIPs[{index}]"), causes);
    }
    let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    causes.within("spec.sessionAffinityConfig.clientIP.timeoutSeconds", timeout, (1, 86_400));
    ports(spec, causes);
}

fn ports(spec: &Value, causes: &mut Causes) {
    let count = items(&spec["ports"]).count();
    let (mut known, mut pairs) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in items(&spec["ports"]).enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && count > 1 {
            causes.required(field("name"), "");
        } else if !name.is_empty() {
            causes.follows(field("name"), &port["name"], names::dns_label);
            if !known.insert(name) {
                causes.duplicate(field("name"), &port["name"]);
            }
        }
        match port["port"].as_i64() {
            None => causes.within(field("port"), &0.into(), (1, 65_535)),
            Some(_) => causes.within(field("port"), &port["port"], (1, 65_535)),
        }
        match &port["targetPort"] {
            target @ Value::String(_) => {
                causes.follows(field("targetPort"), target, names::port_name)
            }
            target => causes.within(field("targetPort"), target, (1, 65_535)),
        }
        causes.one_of(field("protocol"), &port["protocol"], PROTOCOLS);
        if port["appProtocol"].as_str() != Some("") {
            causes.follows(field("appProtocol"), &port["appProtocol"], names::qualified);
        }
        let is_open = matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
        if !is_open && port["nodePort"].as_i64().is_some_and(|port| port != 0) {
            let message = "may not be used when `type` is 'ClusterIP'";
            causes.forbidden(field("nodePort"), message);
        }
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        if !pairs.insert((protocol, port["port"].as_i64())) {
            let pair = json!({"port": port["port"], "protocol": protocol});
            causes.duplicate(format!("spec.ports[{index}]"), &pair);
        }
    }
}

/// An address of any kind; says which, if it is one.
pub fn ip(address: &Value, field: &str, causes: &mut Causes) -> Option<IpAddr> {
    let parsed = address.as_str().and_then(|text| text.parse().ok());
    if parsed.is_none() {
        causes.invalid(field, address, ADDRESS);
    }
    parsed
}

/// Checks an Ingress.
pub fn ingress(spec: &Value, causes: &mut Causes) {
    if items(&spec["rules"]).next().is_none() && !spec["defaultBackend"].is_object() {
        let rule = "either `defaultBackend` or `rules` must be specified";
        causes.invalid("spec", &spec.clone(), rule);
    }
    for (index, rule) in items(&spec["rules"]).enumerate() {
        for (number, path) in items(&rule["http"]["paths"]).enumerate() {
            let field = format!("spec.rules[{index}].http.paths[{number}]");
            match path["pathType"].as_str() {
                None => causes.required(format!("{field}.pathType"), "pathType must be specified"),
                Some(_) => {
                    let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
                    causes.one_of(format!("{field}.pathType"), &path["pathType"], &kinds);
                }
            }
            let name = &path["backend"]["service"]["name"];
            let is_service = !path["backend"]["resource"].is_object();
            if is_service && name.as_str().is_none_or(str::is_empty) {
                causes.required(format!("{field}.backend.service.name"), "");
            }
        }
    }
}

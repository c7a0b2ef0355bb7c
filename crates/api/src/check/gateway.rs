//! What Istio asks of a Gateway.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{findings::Findings, names};
use crate::{
    field::item,
    gateway::{Gateway, Reading, Server},
};

/// Protocols that a server may have.
const KNOWN: &[&str] = &["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO"];

/// Checks a Gateway.
pub(super) fn check(object: &Gateway, findings: &mut Findings) {
    let servers = &object.spec.servers;
    if servers.is_empty() {
        findings.error("spec.servers", "the gateway has no server; name at least one");
    }
    for (key, value) in &object.spec.selector {
        if let Some(message) = names::label(key, value) {
            findings.error("spec.selector", message);
        }
    }
    let mut names = BTreeSet::new();
    for (index, each) in servers.iter().enumerate() {
        let place = item("spec.servers", index);
        server(each, &place, findings);
        if !each.port.name.is_empty() && !names.insert(&each.port.name) {
            let message = format!("two ports are called `{}`", each.port.name);
            findings.error(format!("{place}.port.name"), message);
        }
    }
}

fn server(server: &Server, place: &str, findings: &mut Findings) {
    if server.port.number == 0 {
        findings.error(format!("{place}.port.number"), "the port has no number");
    }
    if server.port.name.is_empty() {
        findings.error(format!("{place}.port.name"), "the port has no name; give it one");
    }
    protocol(server, place, findings);
    if server.hosts.is_empty() {
        let message = "the server has no host; write `*` for every host";
        findings.error(format!("{place}.hosts"), message);
    }
    for (index, each) in server.hosts.iter().enumerate() {
        if let Some(message) = host(each) {
            findings.error(item(&format!("{place}.hosts"), index), message);
        }
    }
}

fn protocol(server: &Server, place: &str, findings: &mut Findings) {
    let field = format!("{place}.port.protocol");
    let protocol = server.port.protocol.to_ascii_uppercase();
    let redirects =
        server.tls.as_ref().is_some_and(|tls| tls["httpsRedirect"] == Value::Bool(true));
    match server.reading() {
        Some(Reading::Ended) if server.tls.is_none() => {
            let message = format!("protocol {protocol} needs TLS settings");
            findings.error(format!("{place}.tls"), message);
        }
        Some(Reading::Ended | Reading::ServiceName) => {
            let mode = format!("{place}.tls.mode");
            findings.not_honoured(&mode, "TLS does not end at gateways, and the server is closed");
        }
        Some(Reading::Http) if redirects => {}
        Some(Reading::Http) if server.tls.is_some() => {
            let message = format!("protocol {protocol} has no TLS; did you mean HTTPS?");
            findings.error(format!("{place}.tls"), message);
        }
        Some(Reading::Http | Reading::Tcp | Reading::ServerName) => {}
        None if protocol.is_empty() => {
            findings.error(field, "the port has no protocol, such as HTTP");
        }
        None => {
            let all = KNOWN.join(", ");
            findings.error(field, format!("`{protocol}` is not one of {all}"));
        }
    }
}

/// What is wrong with a server's host.
fn host(text: &str) -> Option<String> {
    let (namespace, host) = match text.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, text),
    };
    if let Some(namespace) = namespace
        && !(matches!(namespace, "*" | ".") || names::is_label(namespace))
    {
        return Some(format!("`{namespace}` is not `.`, `*` or the name of a namespace"));
    }
    if let Some(message) = names::wildcard_host(host) {
        return Some(message);
    }
    (host != "*" && !host.contains('.'))
        .then(|| format!("`{host}` is a short name; write the whole name that clients use"))
}

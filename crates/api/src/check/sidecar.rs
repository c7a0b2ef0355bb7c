//! What Istio asks of a Sidecar.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{findings::Findings, names};
use crate::{
    field::item,
    sidecar::{Sidecar, SidecarEgress, SidecarIngress},
};

/// Checks a Sidecar.
pub(super) fn check(object: &Sidecar, findings: &mut Findings) {
    let spec = &object.spec;
    if let Some(selector) = &spec.workload_selector {
        for (key, value) in &selector.labels {
            if let Some(message) = names::label(key, value) {
                findings.error("spec.workloadSelector.labels", message);
            }
        }
    }
    let mut known = BTreeSet::new();
    for (index, each) in spec.ingress.iter().enumerate() {
        let place = item("spec.ingress", index);
        ingress(each, &place, findings);
        if each.port.number != 0 && !known.insert(each.port.number) {
            let message = format!("port {} is there twice; the first one counts", each.port.number);
            findings.error(format!("{place}.port.number"), message);
        }
    }
    let mut known = BTreeSet::new();
    for (index, each) in spec.egress.iter().enumerate() {
        let place = item("spec.egress", index);
        egress(each, &place, findings);
        match &each.port {
            None if index + 1 < spec.egress.len() => {
                let message = "the entry without a port is for all ports that no other has; let \
                               it be the last one";
                findings.error(format!("{place}.port"), message);
            }
            Some(port) if !known.insert(port.number) => {
                let message = format!("port {} has an entry above; join the two", port.number);
                findings.error(format!("{place}.port.number"), message);
            }
            _ => {}
        }
    }
}

fn ingress(ingress: &SidecarIngress, place: &str, findings: &mut Findings) {
    if ingress.port.number == 0 {
        findings.error(format!("{place}.port.number"), "the port has no number");
    }
    let endpoint = ingress.default_endpoint.as_str();
    let field = format!("{place}.defaultEndpoint");
    let is_own = endpoint
        .parse::<SocketAddr>()
        .is_ok_and(|at| at.port() != 0 && (at.ip().is_unspecified() || at.ip().is_loopback()));
    if endpoint.starts_with("unix://") {
        findings.not_honoured(&field, "connections to the port are closed");
    } else if !(endpoint.is_empty() || is_own) {
        let message = format!(
            "`{endpoint}` is not 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT or [::]:PORT; connections \
             to the port are closed"
        );
        findings.error(field, message);
    }
}

fn egress(egress: &SidecarEgress, place: &str, findings: &mut Findings) {
    if egress.port.as_ref().is_some_and(|port| port.number == 0) {
        findings.error(format!("{place}.port.number"), "the port has no number");
    }
    if egress.hosts.is_empty() {
        let message = "the entry names no host; write NAMESPACE/HOST, such as `./*`";
        findings.error(format!("{place}.hosts"), message);
    }
    let mut known = BTreeSet::new();
    for (index, text) in egress.hosts.iter().enumerate() {
        let field = item(&format!("{place}.hosts"), index);
        if let Some(message) = host(text) {
            findings.error(field, message);
        } else if !known.insert(text) {
            findings.warning(field, format!("`{text}` is given twice"));
        }
    }
}

/// What is wrong with a host of an entry.
fn host(text: &str) -> Option<String> {
    let Some((namespace, host)) = text.split_once('/') else {
        return Some(format!(
            "`{text}` is not NAMESPACE/HOST; for every namespace write `*/{text}`"
        ));
    };
    let named = namespace.strip_prefix('~').filter(|named| !named.is_empty()).unwrap_or(namespace);
    if !matches!(named, "*" | "." | "~") && !names::is_label(named) {
        return Some(format!("`{namespace}` is not `.`, `*`, `~` or the name of a namespace"));
    }
    names::wildcard_host(host)
}

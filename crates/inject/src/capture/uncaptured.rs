//! Which traffic of a pod its sidecar never sees, by the pod's own annotations.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::json;
use weft_nft::capture::{Capture, Ports, Ranges};

use super::arguments;
use crate::{Settings, annotations::Annotations, proxy_config::ProxyConfig};

/// A connection of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// From the application to this address.
    Outbound(SocketAddr),
    /// To this port of the pod.
    Inbound(u16),
}

/// The annotation because of which a connection of a pod with a sidecar does not pass
/// the sidecar; none when it does.
pub fn uncaptured(
    annotations: &BTreeMap<String, String>,
    settings: &Settings,
    traffic: Traffic,
) -> Option<&'static str> {
    let pod = json!({"metadata": {"annotations": annotations}});
    let annotations = Annotations::of(&pod);
    let config = ProxyConfig::of(annotations, settings);
    // The rules are made of the same flags, and a container whose flags are refused
    // does not start.
    let arguments = arguments(annotations, &config, settings);
    let capture = Capture::from_arguments(arguments.get(1..)?).ok()?;
    match traffic {
        Traffic::Outbound(address) => outbound(&capture, address),
        Traffic::Inbound(port) => inbound(&capture, port),
    }
}

fn outbound(capture: &Capture, address: SocketAddr) -> Option<&'static str> {
    let (ip, port) = (address.ip(), address.port());
    if capture.excluded_outbound_ports.contains(&port) {
        return Some("traffic.sidecar.istio.io/excludeOutboundPorts");
    }
    if capture.excluded_outbound.iter().any(|net| net.contains(&ip)) {
        return Some("traffic.sidecar.istio.io/excludeOutboundIPRanges");
    }
    if capture.included_outbound_ports.contains(&port) {
        return None;
    }
    match &capture.outbound {
        Ranges::All => None,
        Ranges::Only(nets) if nets.iter().any(|net| net.contains(&ip)) => None,
        Ranges::Only(_) => Some("traffic.sidecar.istio.io/includeOutboundIPRanges"),
    }
}

fn inbound(capture: &Capture, port: u16) -> Option<&'static str> {
    match &capture.inbound {
        Ports::All if capture.excluded_inbound.contains(&port) => {
            Some("traffic.sidecar.istio.io/excludeInboundPorts")
        }
        Ports::All => None,
        Ports::Only(ports) if ports.contains(&port) => None,
        Ports::Only(_) => Some("traffic.sidecar.istio.io/includeInboundPorts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ANNOTATION=VALUE…`, then the traffic, then the annotation that excludes it or `-`.
    #[track_caller]
    fn check(annotations: &str, traffic: &str, expected: &str) {
        let annotations = annotations
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (format!("traffic.sidecar.istio.io/{name}"), value.to_owned()))
            .collect();
        let asked = match traffic.parse() {
            Ok(address) => Traffic::Outbound(address),
            Err(_) => Traffic::Inbound(traffic.parse().unwrap()),
        };
        let found = uncaptured(&annotations, &Settings::default(), asked);
        let found = found.map_or("-", |found| found.rsplit('/').next().unwrap());
        assert_eq!(found, expected, "{annotations:?} {traffic}");
    }

    #[test]
    fn everything_passes_the_sidecar_unless_an_annotation_says_otherwise() {
        check("", "10.96.0.1:3306", "-");
        check("", "8080", "-");
        check("excludeOutboundPorts=3306,5432", "10.96.0.1:3306", "excludeOutboundPorts");
        check("excludeOutboundPorts=3306", "10.96.0.1:80", "-");
        check("excludeOutboundIPRanges=10.96.0.0/16", "10.96.0.1:80", "excludeOutboundIPRanges");
        check("includeOutboundIPRanges=10.0.0.0/8", "10.96.0.1:80", "-");
        check("includeOutboundIPRanges=10.0.0.0/8", "192.0.2.1:80", "includeOutboundIPRanges");
        check("includeOutboundIPRanges=10.0.0.0/8 includeOutboundPorts=80", "192.0.2.1:80", "-");
        check("excludeInboundPorts=9000", "9000", "excludeInboundPorts");
        check("includeInboundPorts=8080", "8080", "-");
        check("includeInboundPorts=8080", "9000", "includeInboundPorts");
        check("", "15090", "excludeInboundPorts");
    }
}

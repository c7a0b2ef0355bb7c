//! What a pod asks of its sidecar that cannot be done.

use std::net::IpAddr;

use serde_json::Value;

use crate::{
    annotations::Annotations,
    proxy_config::{self, ANNOTATION},
};

/// Something that a pod asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The field of the pod, as in `metadata.annotations["sidecar.istio.io/inject"]`.
    pub field: String,
    /// What is wrong, and what happens instead.
    pub message: String,
}

/// A variable of `proxyMetadata` that asks for something of the sidecar.
const DNS_CAPTURE: &str = "ISTIO_META_DNS_CAPTURE";

/// What an annotation has to be, and what happens when it is not.
struct Rule {
    name: &'static str,
    /// None when nothing that it says has an effect.
    holds: Option<fn(&str) -> bool>,
    wanted: &'static str,
}

/// The annotations whose texts have a form.
const RULES: &[Rule] = &[
    rule("sidecar.istio.io/nativeSidecar", is_flag, FLAG),
    rule("sidecar.istio.io/rewriteAppHTTPProbers", is_flag, FLAG),
    rule("prometheus.istio.io/merge-metrics", is_flag, FLAG),
    rule("sidecar.istio.io/interceptionMode", |text| text == "REDIRECT", REDIRECT),
    rule("sidecar.istio.io/userVolume", is_items, "is not a JSON list of volumes; none is added"),
    rule("sidecar.istio.io/userVolumeMount", is_items, "is not a JSON list; none is mounted"),
    rule("traffic.sidecar.istio.io/includeInboundPorts", is_ports_or_all, PORTS),
    rule("traffic.sidecar.istio.io/excludeInboundPorts", is_ports, PORTS),
    rule("traffic.sidecar.istio.io/includeOutboundPorts", is_ports_or_all, PORTS),
    rule("traffic.sidecar.istio.io/excludeOutboundPorts", is_ports, PORTS),
    rule("traffic.sidecar.istio.io/includeOutboundIPRanges", is_ranges_or_all, RANGES),
    rule("traffic.sidecar.istio.io/excludeOutboundIPRanges", is_ranges, RANGES),
    rule("readiness.status.sidecar.istio.io/initialDelaySeconds", is_number, NUMBER),
    rule("readiness.status.sidecar.istio.io/periodSeconds", is_number, NUMBER),
    rule("readiness.status.sidecar.istio.io/failureThreshold", is_number, NUMBER),
    rule("status.sidecar.istio.io/port", is_port, "is not a port; 15020 is taken"),
    rule("sidecar.istio.io/proxyImageType", is_default, "is not served; there is one image"),
    later("sidecar.istio.io/bootstrapOverride", "there is no bootstrap of Envoy"),
    later("sidecar.istio.io/componentLogLevel", "sidecar.istio.io/logLevel holds for all"),
    later("sidecar.istio.io/agentLogLevel", "there is no agent beside the proxy"),
    later("sidecar.istio.io/statsInclusionPrefixes", ALL_STATS),
    later("sidecar.istio.io/statsInclusionSuffixes", ALL_STATS),
    later("sidecar.istio.io/statsInclusionRegexps", ALL_STATS),
    later("sidecar.istio.io/statsHistogramBuckets", "Istio's buckets hold"),
    later("sidecar.istio.io/statsHistogramBins", "Istio's buckets hold"),
    later("sidecar.istio.io/statsFlushInterval", "metrics are not pushed"),
    later("sidecar.istio.io/statsEvictionInterval", "a series idle for an hour is dropped"),
    later("sidecar.istio.io/statsCompression", "metrics are not compressed"),
    later("sidecar.istio.io/extraStatTags", "metrics have Istio's labels"),
    later(
        "readiness.status.sidecar.istio.io/applicationPorts",
        "the sidecar's own readiness counts",
    ),
    later("traffic.sidecar.istio.io/kubevirtInterfaces", "all interfaces are alike"),
    later("istio.io/reroute-virtual-interfaces", "all interfaces are alike"),
];

/// Characters of an annotation that are repeated.
const SHOWN: usize = 100;

const ALL_STATS: &str = "every metric is served";

const FLAG: &str = "is neither `true` nor `false`; the mesh's setting holds";
const REDIRECT: &str = "is not served; only REDIRECT is, and istio-init will fail";
const PORTS: &str = "is not a list of ports such as `8080,9090`; istio-init will fail";
const RANGES: &str = "is not a list of ranges such as `10.0.0.0/8`; istio-init will fail";
const NUMBER: &str = "is not a number; the default holds";

/// What `pod` asks of its sidecar and does not get.
pub fn warnings(pod: &Value) -> Vec<Warning> {
    let annotations = Annotations::of(pod);
    let mut warnings = Vec::new();
    for Rule { name, holds, wanted } in RULES {
        let Some(text) = annotations.text(name) else { continue };
        match holds {
            None => warnings.push(warning(name, format!("not honoured yet: {wanted}"))),
            Some(holds) if !holds(text) => {
                warnings.push(warning(name, format!("`{}` {wanted}", clipped(text))));
            }
            Some(_) => {}
        }
    }
    if let Some(text) = annotations.text(ANNOTATION) {
        let messages = proxy_config(text);
        warnings.extend(messages.into_iter().map(|message| warning(ANNOTATION, message)));
    }
    warnings
}

/// What is wrong with a pod's own ProxyConfig, or has no effect.
fn proxy_config(text: &str) -> Vec<String> {
    let (config, found) = match proxy_config::own(text) {
        Ok(read) => read,
        Err(why) => return vec![format!("{why}; the mesh's settings hold")],
    };
    let mut messages: Vec<String> =
        found.into_iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
    if config["proxyMetadata"][DNS_CAPTURE] == "true" {
        let message = "not honoured yet: names are looked up as without a sidecar";
        messages.push(format!("proxyMetadata.{DNS_CAPTURE}: {message}"));
    }
    messages
}

/// The beginning of a text that may be long.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn warning(name: &str, message: String) -> Warning {
    Warning { field: format!("metadata.annotations[\"{name}\"]"), message }
}

const fn rule(name: &'static str, holds: fn(&str) -> bool, wanted: &'static str) -> Rule {
    Rule { name, holds: Some(holds), wanted }
}

/// An annotation that is not honoured, and what happens instead.
const fn later(name: &'static str, instead: &'static str) -> Rule {
    Rule { name, holds: None, wanted: instead }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

fn is_default(text: &str) -> bool {
    text == "default"
}

fn is_flag(text: &str) -> bool {
    text.parse::<bool>().is_ok()
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok()
}

fn is_items(text: &str) -> bool {
    let parsed = serde_json::from_str::<Value>(text);
    parsed.is_ok_and(|value| value.is_array() || value.is_object())
}

fn is_ports(text: &str) -> bool {
    text.split(',').all(|port| port.trim().parse::<u16>().is_ok())
}

fn is_ports_or_all(text: &str) -> bool {
    text == "*" || is_ports(text)
}

fn is_ranges(text: &str) -> bool {
    text.split(',').all(|range| {
        let (address, length) = range.trim().split_once('/').unwrap_or((range.trim(), "32"));
        let most = if address.contains(':') { 128 } else { 32 };
        address.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

fn is_ranges_or_all(text: &str) -> bool {
    text == "*" || is_ranges(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expected: &str) {
        let pod = json!({"metadata": {"annotations": {name: text}}});
        let told: Vec<_> = warnings(&pod).into_iter().map(|warning| warning.message).collect();
        assert_eq!(told.join("\n"), expected, "{name}: {text}");
    }

    #[test]
    fn what_can_be_done_is_not_told() {
        check("sidecar.istio.io/nativeSidecar", "false", "");
        check("traffic.sidecar.istio.io/includeInboundPorts", "*", "");
        check("status.sidecar.istio.io/port", "0", "");
        check("proxy.istio.io/config", "{concurrency: 2, proxyMetadata: {A: b}}", "");
        check("traffic.sidecar.istio.io/excludeOutboundPorts", "3306, 6379", "");
        check("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.1.2.3,fd00::/8", "");
        check("sidecar.istio.io/userVolume", "{\"extra\": {\"emptyDir\": {}}}", "");
    }

    #[test]
    fn what_cannot_is_told_with_what_happens_instead() {
        check("sidecar.istio.io/nativeSidecar", "no", &format!("`no` {FLAG}"));
        check("sidecar.istio.io/interceptionMode", "TPROXY", &format!("`TPROXY` {REDIRECT}"));
        let ports = "traffic.sidecar.istio.io/excludeInboundPorts";
        check(ports, "80,http", &format!("`80,http` {PORTS}"));
        let deep = "[".repeat(10_000);
        let shown = format!("`{}…` is not a JSON list of volumes; none is added", &deep[..SHOWN]);
        check("sidecar.istio.io/userVolume", &deep, &shown);
        for deep in [deep, "{a: ".repeat(10_000), "- ".repeat(10_000), "x".repeat(100_000)] {
            let pod = json!({"metadata": {"annotations": {ANNOTATION: deep}}});
            let told = warnings(&pod);
            assert!(told.len() == 1 && told[0].message.len() < 400, "{:.900}", told[0].message);
        }
        let bins = "sidecar.istio.io/statsHistogramBins";
        check(bins, "10", "not honoured yet: Istio's buckets hold");
        let config = "proxy.istio.io/config";
        check(
            config,
            "concurency: 2",
            "concurency: unknown field `concurency`, did you mean `concurrency`?",
        );
        check(
            config,
            "{image: {imageType: debug}, proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}}",
            "image: not honoured yet: there is one image of the proxy\n\
             proxyMetadata.ISTIO_META_DNS_CAPTURE: not honoured yet: names are looked up as without a sidecar",
        );
        let ranges = "traffic.sidecar.istio.io/includeOutboundIPRanges";
        check(ranges, "10.0.0.0/40", &format!("`10.0.0.0/40` {RANGES}"));
    }
}

//! The container that leads the pod's traffic through the sidecar.

mod uncaptured;

use serde_json::{Value, json};

use crate::{Settings, annotations::Annotations, proxy_config::ProxyConfig, sidecar::resources_of};

pub use uncaptured::{Traffic, uncaptured};

/// Name of the container.
pub(crate) const NAME: &str = "istio-init";

/// The container, with what the pod's annotations say about its traffic.
pub(crate) fn container(
    annotations: Annotations<'_>,
    config: &ProxyConfig,
    settings: &Settings,
) -> Value {
    let mut container = json!({
        "name": NAME,
        "image": annotations.text_or("sidecar.istio.io/proxyImage", &settings.image),
        "args": arguments(annotations, config, settings),
        "resources": resources_of(&settings.resources),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": false,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
        },
    });
    if let Some(policy) = &settings.image_pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
    container
}

fn arguments(
    annotations: Annotations<'_>,
    config: &ProxyConfig,
    settings: &Settings,
) -> Vec<String> {
    let captured = &settings.captured;
    // An annotation that is there and empty means "capture nothing", as in Istio.
    let traffic = |name: &str, usual: &str| {
        let given = annotations.given(&format!("traffic.sidecar.istio.io/{name}"));
        given.unwrap_or(usual).to_owned()
    };
    // Ports of the sidecar itself are never captured.
    let mut excluded = "15090,15021".to_owned();
    if let Some(port) = config.status_port() {
        excluded += &format!(",{port}");
    }
    let more = traffic("excludeInboundPorts", &captured.exclude_inbound_ports);
    if !more.is_empty() {
        excluded += &format!(",{more}");
    }
    let mode = annotations.text("sidecar.istio.io/interceptionMode").unwrap_or("REDIRECT");
    let mut arguments = vec!["istio-iptables".to_owned()];
    let log = format!(
        "--log_output_level={}",
        annotations.text("sidecar.istio.io/agentLogLevel").unwrap_or("default:info")
    );
    let always: [(&str, &str); 8] = [
        ("-p", "15001"),
        ("-z", "15006"),
        ("-u", "1337"),
        ("-m", mode),
        ("-i", &traffic("includeOutboundIPRanges", &captured.include_ranges)),
        ("-x", &traffic("excludeOutboundIPRanges", &captured.exclude_ranges)),
        ("-b", &traffic("includeInboundPorts", &captured.include_inbound_ports)),
        ("-d", &excluded),
    ];
    arguments.extend(always.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
    let sometimes = [
        ("-q", traffic("includeOutboundPorts", &captured.include_outbound_ports)),
        ("-o", traffic("excludeOutboundPorts", &captured.exclude_outbound_ports)),
        ("-c", traffic("excludeInterfaces", "")),
    ];
    for (flag, value) in sometimes.into_iter().filter(|(_, value)| !value.is_empty()) {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.push(log);
    arguments
}

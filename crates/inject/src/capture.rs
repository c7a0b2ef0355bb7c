//! The container that leads the pod's traffic through the sidecar.

use serde_json::{Value, json};

use crate::{Settings, annotations::Annotations};

/// Name of the container.
pub(crate) const NAME: &str = "istio-init";

/// Ports of the sidecar itself, which are never captured.
const OWN_PORTS: [&str; 3] = ["15090", "15021", "15020"];

/// The container, with what the pod's annotations say about its traffic.
pub(crate) fn container(annotations: Annotations<'_>, settings: &Settings) -> Value {
    json!({
        "name": NAME,
        "image": annotations.text_or("sidecar.istio.io/proxyImage", &settings.image),
        "args": arguments(annotations),
        "resources": {
            "requests": {"cpu": settings.resources.cpu, "memory": settings.resources.memory},
            "limits": {
                "cpu": settings.resources.cpu_limit,
                "memory": settings.resources.memory_limit,
            },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": false,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
        },
    })
}

fn arguments(annotations: Annotations<'_>) -> Vec<String> {
    let traffic = |name: &str| annotations.text(&format!("traffic.sidecar.istio.io/{name}"));
    let excluded = [Some(OWN_PORTS.join(",").as_str()), traffic("excludeInboundPorts")]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(",");
    let mode = annotations.text("sidecar.istio.io/interceptionMode").unwrap_or("REDIRECT");
    let mut arguments = vec!["istio-iptables"];
    let log = format!(
        "--log_output_level={}",
        annotations.text("sidecar.istio.io/agentLogLevel").unwrap_or("default:info")
    );
    let always = [
        ("-p", "15001"),
        ("-z", "15006"),
        ("-u", "1337"),
        ("-m", mode),
        ("-i", traffic("includeOutboundIPRanges").unwrap_or("*")),
        ("-x", traffic("excludeOutboundIPRanges").unwrap_or("")),
        ("-b", traffic("includeInboundPorts").unwrap_or("*")),
        ("-d", &excluded),
    ];
    arguments.extend(always.into_iter().flat_map(|(flag, value)| [flag, value]));
    let sometimes = [
        ("-q", traffic("includeOutboundPorts")),
        ("-o", traffic("excludeOutboundPorts")),
        ("-c", traffic("excludeInterfaces")),
    ];
    for (flag, value) in sometimes {
        arguments.extend(value.into_iter().flat_map(|value| [flag, value]));
    }
    arguments.push(&log);
    arguments.into_iter().map(str::to_owned).collect()
}

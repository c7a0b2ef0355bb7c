//! Probes of the application, led through the sidecar.
//!
//! The node's probes are not traffic of the mesh. They are sent to the sidecar,
//! which carries out the original probe inside the pod and passes on the result.

use serde_json::{Map, Value, json};

use crate::{edits::Edits, sidecar};

/// Field of a probe, and the last part of its path at the sidecar.
const PROBES: &[(&str, &str)] =
    &[("livenessProbe", "livez"), ("readinessProbe", "readyz"), ("startupProbe", "startupz")];

/// What can be probed over the network.
const ACTIONS: &[&str] = &["httpGet", "tcpSocket", "grpc"];

/// Leads the probes of `pod` to the sidecar's `port`; returns the originals by path, as the
/// sidecar gets them.
pub(crate) fn rewrite(pod: &Value, port: u16, edits: &mut Edits<'_>) -> Map<String, Value> {
    let mut originals = Map::new();
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let index = index.to_string();
            let name = container["name"].as_str().unwrap_or_default();
            if name == sidecar::NAME {
                continue;
            }
            for (field, suffix) in PROBES {
                let Some((action, original)) = original(container, field) else { continue };
                let path = format!("/app-health/{name}/{suffix}");
                let place = ["spec", list, &index, field, action];
                let rewritten = json!({"path": path, "port": port});
                if action == "httpGet" {
                    edits.replace(&place, rewritten);
                } else {
                    edits.remove(&place);
                    edits.set(&place[..4], "httpGet", rewritten);
                }
                originals.insert(path, original);
            }
        }
    }
    originals
}

/// The probe as the sidecar carries it out, with ports as numbers.
fn original<'c>(container: &'c Value, field: &str) -> Option<(&'static str, Value)> {
    let probe: &'c Value = container.get(field)?;
    let (action, settings) =
        ACTIONS.iter().find_map(|action| Some((*action, probe.get(action)?.as_object()?)))?;
    let mut settings = settings.clone();
    let port = number(container, settings.get("port")?)?;
    settings.insert("port".to_owned(), port);
    let timeout = probe.get("timeoutSeconds").cloned().unwrap_or_else(|| json!(1));
    Some((action, json!({action: settings, "timeoutSeconds": timeout})))
}

/// The number of a port; a name is one of the container's own.
fn number(container: &Value, port: &Value) -> Option<Value> {
    let Some(name) = port.as_str() else { return Some(port.clone()) };
    if let Ok(number) = name.parse::<u16>() {
        return Some(number.into());
    }
    let ports = container.get("ports")?.as_array()?;
    ports.iter().find(|port| port["name"] == name)?.get("containerPort").cloned()
}

//! How a Service shows at which ports of the host it is reached.

use serde_json::Value;
use weft_api::host_ports::{self, ANNOTATION, HostPort as Shown};

use crate::channel::HostPort;

/// Where a port is reached, one address after the other.
pub(super) fn bound_at(port: &HostPort) -> impl Iterator<Item = Shown> + '_ {
    port.addresses.iter().map(|address| Shown { port: port.port, address: *address })
}

/// A Service that is reached on the host at these ports.
pub(crate) fn shown(service: &Value, ports: &[Shown]) -> Value {
    let mut shown = service.clone();
    let first = ports.first().filter(|_| service["spec"]["type"] != "NodePort");
    shown["status"] = match first {
        Some(first) => serde_json::json!({
            "loadBalancer": {"ingress": [{"ip": first.address.ip().to_string(), "ipMode": "Proxy"}]},
        }),
        None => serde_json::json!({"loadBalancer": {}}),
    };
    let mut annotations =
        service["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove(ANNOTATION);
    if !ports.is_empty() {
        annotations.insert(ANNOTATION.to_owned(), host_ports::write(ports).into());
    }
    match (annotations.is_empty(), shown["metadata"].as_object_mut()) {
        (true, Some(metadata)) => drop(metadata.remove("annotations")),
        _ => shown["metadata"]["annotations"] = annotations.into(),
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_shows_where_its_ports_are_while_they_are_bound() {
        let plain = json!({"metadata": {"name": "gate"}, "status": {"loadBalancer": {}}});
        let ports = host_ports::read("80=127.0.0.1:8081,80=[::1]:8081");
        let bound = shown(&plain, &ports);
        assert_eq!(
            bound["metadata"]["annotations"],
            json!({"weft.internal/host-ports": "80=127.0.0.1:8081,80=[::1]:8081"})
        );
        assert_eq!(bound["status"]["loadBalancer"]["ingress"][0]["ip"], "127.0.0.1");
        assert_eq!(shown(&bound, &[]), plain);
        let own = json!({"metadata": {"name": "gate", "annotations": {"own": "1"}}});
        assert_eq!(shown(&shown(&own, &ports), &[])["metadata"], own["metadata"]);
    }
}

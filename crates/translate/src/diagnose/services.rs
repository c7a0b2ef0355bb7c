//! Services that cannot answer.

use weft_api::{
    Diagnostic, Key,
    kubernetes::{PortRef, ServicePort},
};

use crate::{graph::view::View, listeners, model::protocol::Spoken};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(service) = view.service(key) else { return Vec::new() };
    let mut found = Vec::new();
    if service.spec.kind == "ExternalName" {
        for (at, port) in service.spec.ports.iter().enumerate() {
            if Spoken::of(port) == Spoken::Undeclared {
                let message = "declares no protocol, so the mesh passes connections on unseen; \
                               name it http or set appProtocol";
                found.push(Diagnostic::info(key, format!("spec.ports[{at}].name"), message));
            }
        }
        return found;
    }
    let speaks = |port: &ServicePort| Spoken::of(port) != Spoken::Datagrams;
    if !service.spec.ports.iter().any(speaks) {
        return found;
    }
    let chunks = view.chunks(key);
    if service.spec.ports.iter().any(|port| chunks.endpoints(port.port).next().is_some()) {
        return found;
    }
    let picked: Vec<_> = match service.spec.selector.is_empty() {
        true => Vec::new(),
        false => view
            .pods_picked(&service.spec.selector)
            .filter(|pod| pod.metadata.namespace == key.namespace)
            .collect(),
    };
    if !service.spec.selector.is_empty() && picked.is_empty() {
        let message = "picks no pod, so requests to it get 503; give pods these labels";
        found.push(Diagnostic::warning(key, "spec.selector", message));
        return found;
    }
    for (at, port) in service.spec.ports.iter().enumerate() {
        let Some(PortRef::Name(name)) = &port.target_port else { continue };
        if picked.iter().all(|pod| listeners::target_port(port, Some(pod)).is_none()) {
            let message = format!("no container of its pods has a port called `{name}`");
            found.push(Diagnostic::warning(key, format!("spec.ports[{at}].targetPort"), message));
        }
    }
    let message =
        "has no ready endpoint, so requests to it get 503; see why its pods are not ready";
    found.push(Diagnostic::warning(key, "", message));
    found
}

//! Services that cannot answer.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use weft_api::{
    Diagnostic, Key,
    kubernetes::{PortRef, Service, ServicePort},
};

use crate::{
    clusters::endpoints::{PAIRS, TIMES, is_local, served_ports},
    graph::view::View,
    listeners,
    model::{picked::Picked, protocol::Spoken, registry},
};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(service) = view.service(key) else { return Vec::new() };
    let mut found: Vec<Diagnostic> = local(key, service, view).into_iter().collect();
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
    found.extend(closed(key, service, view));
    let speaks = |port: &ServicePort| Spoken::of(port) != Spoken::Datagrams;
    if !service.spec.ports.iter().any(speaks) {
        return found;
    }
    let chunks = view.definition(key).map(|defined| view.chunks(&defined)).unwrap_or_default();
    if service.spec.ports.iter().any(|port| chunks.endpoints(port.port).next().is_some()) {
        return found;
    }
    let picked = match service.spec.selector.is_empty() {
        true => Arc::default(),
        false => view.picked(&service.spec.selector, Some(&key.namespace)),
    };
    if !service.spec.selector.is_empty() && picked.is_complete && picked.pods.is_empty() {
        let message = "picks no pod, so requests to it get 503; give pods these labels";
        found.push(Diagnostic::warning(key, "spec.selector", message));
        return found;
    }
    found.extend(unnamed(key, service, &picked, view));
    let message =
        "has no ready endpoint, so requests to it get 503; see why its pods are not ready";
    found.push(Diagnostic::warning(key, "", message));
    found
}

/// Ports that are called as no port of its pods is.
fn unnamed(key: &Key, service: &Service, picked: &Picked, view: &View<'_>) -> Vec<Diagnostic> {
    if !picked.is_complete {
        return Vec::new();
    }
    let pods = picked.pods.iter().filter_map(|pod| view.pod(pod));
    let named: HashSet<&str> = pods.flat_map(listeners::port_names).collect();
    let ports = service.spec.ports.iter().enumerate();
    let missing = ports.filter_map(|(at, port)| match &port.target_port {
        Some(PortRef::Name(name)) if !named.contains(name.as_str()) => {
            let message = format!("no container of its pods has a port called `{name}`");
            Some(Diagnostic::warning(key, format!("spec.ports[{at}].targetPort"), message))
        }
        _ => None,
    });
    missing.collect()
}

/// That it leads to the machine of the client that dials it, which proxies refuse.
fn local(key: &Key, service: &Service, view: &View<'_>) -> Option<Diagnostic> {
    let refused = "which is loopback, link-local, unspecified or multicast: another machine to \
                   each that dials it, so no proxy does";
    let is_refused = |text: &str| text.parse::<IpAddr>().is_ok_and(is_local);
    if service.spec.kind == "ExternalName" {
        let name = service.spec.external_name.trim_end_matches('.').to_ascii_lowercase();
        let here = name == "localhost" || name.ends_with(".localhost") || is_refused(&name);
        let message = format!("leads to {name}, {refused}; requests get 503, name another host");
        return here.then(|| Diagnostic::warning(key, "spec.externalName", message));
    }
    registry::slices_of(key, view).into_iter().find_map(|slice| {
        let mut addresses = slice.endpoints.iter().filter_map(|one| one.addresses.first());
        let address = addresses.find(|text| is_refused(text))?;
        let name = &slice.metadata.name;
        let message = format!(
            "EndpointSlice {name} has the address {address}, {refused}; give the address of a pod \
             or of a machine"
        );
        Some(Diagnostic::warning(key, "", message))
    })
}

/// The first port that has no endpoints because all would be repeated too often.
fn closed(key: &Key, service: &Service, view: &View<'_>) -> Option<Diagnostic> {
    let definition = view.definition(key)?;
    let served = served_ports(&definition, view);
    let number = definition.ports.get(served)?.number;
    let at = service.spec.ports.iter().position(|port| port.port == number)?;
    let message = format!(
        "has no endpoints for sidecars and gateways, nor have the ports after it: ports times \
         endpoints are more than {PAIRS} and {TIMES} times their sum, where half a KiB of a pod's \
         labels that subsets name counts as one more endpoint; requests get 503, give the Service \
         fewer ports, or name fewer labels in subsets"
    );
    Some(Diagnostic::error(key, format!("spec.ports[{at}]"), message))
}

//! What Kubernetes asks of an Ingress.

use super::{findings::Findings, names};
use crate::{
    field::item,
    ingress::{Ingress, IngressBackend},
};

/// Checks an Ingress.
pub(super) fn check(object: &Ingress, findings: &mut Findings) {
    let spec = &object.spec;
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        findings.error("spec", "has neither `rules` nor `defaultBackend`; give it one");
    }
    if let Some(default) = &spec.default_backend {
        backend(default, "spec.defaultBackend", findings);
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        let place = item("spec.rules", index);
        let host = rule.host.as_deref().filter(|host| !host.is_empty());
        if let Some(message) = host.and_then(names::wildcard_host) {
            findings.error(format!("{place}.host"), message);
        }
        let paths = place + ".http.paths";
        let all = rule.http.iter().flat_map(|http| &http.paths).enumerate();
        for (index, path) in all {
            let place = item(&paths, index);
            let text = path.path.as_deref().unwrap_or_default();
            if path.path_type.is_empty() {
                let message = "is missing; it is `Exact`, `Prefix` or `ImplementationSpecific`";
                findings.error(format!("{place}.pathType"), message);
            } else if path.path_type != "ImplementationSpecific" && !text.starts_with('/') {
                findings.error(format!("{place}.path"), "must begin with `/`");
            }
            backend(&path.backend, &format!("{place}.backend"), findings);
        }
    }
}

fn backend(backend: &IngressBackend, place: &str, findings: &mut Findings) {
    if backend.resource.is_some() {
        let place = format!("{place}.resource");
        findings.not_honoured(&place, "these requests get 500; name a `service`");
        return;
    }
    let Some(service) = &backend.service else {
        let message = "names no service, so these requests get 500";
        findings.error(format!("{place}.service"), message);
        return;
    };
    if service.name.is_empty() {
        findings.error(format!("{place}.service.name"), "names no service");
    }
    if service.port.number == 0 && service.port.name.is_empty() {
        findings.error(format!("{place}.service.port"), "has neither `number` nor `name`");
    }
}

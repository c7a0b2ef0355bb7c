//! What a stored object has to be, kind by kind, in Kubernetes' words.
//!
//! Objects have the form of their kind already; a mesh's own rules are its
//! admission webhook's.

mod causes;
mod config;
mod container;
mod endpoints;
mod extensions;
mod metadata;
mod names;
mod pod;
mod roles;
mod service;
mod update;
mod workload;

use serde_json::Value;

use crate::{resource::Resource, status::Cause};
use causes::Causes;

/// Whether a name can be an object's name.
pub fn name(resource: &Resource, name: &str) -> Option<Cause> {
    const FIELD: &str = "metadata.name";
    if name.is_empty() {
        return Some(Cause::required(FIELD, "name or generateName is required"));
    }
    let rule: names::Rule = match (resource.group.as_str(), resource.plural.as_str()) {
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        ("", "services") => names::dns_1035_label,
        ("", "namespaces") => names::dns_label,
        _ => names::dns_subdomain,
    };
    rule(name).map(|wrong| Cause::invalid(FIELD, &name.into(), &wrong))
}

/// What is wrong with an object; `old` is the one that it replaces.
pub fn object(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Causes::default();
    metadata::check(object, &mut causes);
    let spec = &object["spec"];
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod::spec(spec, "spec", &mut causes),
        ("", "Service") => service::check(spec, &mut causes),
        ("", "Endpoints") => endpoints::endpoints(object, &mut causes),
        ("", "ConfigMap") => config::config_map(object, &mut causes),
        ("", "Secret") => config::secret(object, &mut causes),
        (
            "apps" | "extensions",
            kind @ ("Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet"),
        ) => {
            workload::check(kind, object, &mut causes);
        }
        ("batch", "Job") => workload::job(spec, "spec", &mut causes),
        ("batch", "CronJob") => workload::cron_job(spec, &mut causes),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(object, &mut causes),
        ("networking.k8s.io", "Ingress") => service::ingress(spec, &mut causes),
        ("rbac.authorization.k8s.io", kind @ ("Role" | "ClusterRole")) => {
            roles::role(kind, object, &mut causes);
        }
        ("rbac.authorization.k8s.io", kind @ ("RoleBinding" | "ClusterRoleBinding")) => {
            roles::binding(kind, object, &mut causes);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            extensions::definition(object, &mut causes);
        }
        ("admissionregistration.k8s.io", _) => extensions::webhooks(object, &mut causes),
        _ => {}
    }
    if let Some(old) = old {
        update::check(resource, old, object, &mut causes);
    }
    causes.0
}

#[cfg(test)]
mod tests;

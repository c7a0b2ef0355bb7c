//! What is served, in the words in which clients ask for it.
//!
//! Both forms: a document per group and version, and the aggregated one that
//! current clients ask for first.

use serde_json::{Value, json};

use crate::{
    registry::Registry,
    resource::{Builtin, Resource},
};

/// The media type of the aggregated document.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// `/version`: the Kubernetes whose behaviour is served, and by whom.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+weft", "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// `/api`.
pub fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        named_groups(registry).map(|(name, versions)| entry(&name, &versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let (_, versions) = named_groups(registry).find(|(group, _)| group == name)?;
    let mut value = entry(name, &versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resources(registry: &Registry, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for resource in served(registry, group, version) {
        list.push(json!({
            "name": resource.plural, "singularName": resource.singular, "kind": resource.kind,
            "namespaced": resource.namespaced, "verbs": verbs(resource),
            "shortNames": resource.short_names, "categories": resource.categories,
        }));
        for name in &resource.subresources {
            let (of_group, of_version, kind) = subresource_kind(resource, name);
            list.push(json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "", "kind": kind,
                "group": of_group, "version": of_version, "namespaced": resource.namespaced,
                "verbs": subresource_verbs(name),
            }));
        }
    }
    let group_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}

/// The aggregated document: of the core group alone, or of all others.
pub fn aggregated(registry: &Registry, core: Core) -> Value {
    let groups: Vec<Value> = registry
        .groups()
        .into_iter()
        .filter(|(name, _)| name.is_empty() == (core == Core::Only))
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        served(registry, &name, version).map(described).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = match name.as_str() {
                "" => json!({"creationTimestamp": null}),
                name => json!({"name": name, "creationTimestamp": null}),
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": groups,
    })
}

/// Which groups an aggregated document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// The core group.
    Only,
    /// Every other group.
    Without,
}

fn named_groups(registry: &Registry) -> impl Iterator<Item = (String, Vec<String>)> {
    registry.groups().into_iter().filter(|(name, _)| !name.is_empty())
}

fn entry(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn served<'r>(
    registry: &'r Registry,
    group: &'r str,
    version: &'r str,
) -> impl Iterator<Item = &'r Resource> {
    registry
        .all()
        .map(AsRef::as_ref)
        .filter(move |one| one.group == group && one.version == version)
}

fn described(resource: &Resource) -> Value {
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|name| {
            let (group, version, kind) = subresource_kind(resource, name);
            json!({
                "subresource": name, "verbs": subresource_verbs(name),
                "responseKind": {"group": group, "version": version, "kind": kind},
            })
        })
        .collect();
    json!({
        "resource": resource.plural, "singularResource": resource.singular,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "shortNames": resource.short_names, "categories": resource.categories,
        "verbs": verbs(resource), "subresources": subresources,
    })
}

fn verbs(resource: &Resource) -> &'static [&'static str] {
    if resource.is_review() { &["create"] } else { VERBS }
}

fn subresource_verbs(name: &str) -> &'static [&'static str] {
    match name {
        "status" | "scale" => &["get", "patch", "update"],
        "log" => &["get"],
        "exec" | "attach" | "portforward" => &["create", "get"],
        "proxy" => &["create", "delete", "get", "patch", "update"],
        "finalize" => &["update"],
        _ => &["create"],
    }
}

fn subresource_kind<'r>(resource: &'r Resource, name: &str) -> (&'r str, &'r str, &'r str) {
    match name {
        "scale" => ("autoscaling", "v1", "Scale"),
        "eviction" => ("policy", "v1", "Eviction"),
        "token" => ("authentication.k8s.io", "v1", "TokenRequest"),
        "exec" => ("", "v1", "PodExecOptions"),
        "attach" => ("", "v1", "PodAttachOptions"),
        "portforward" => ("", "v1", "PodPortForwardOptions"),
        "proxy" if resource.is(Builtin::Service) => ("", "v1", "ServiceProxyOptions"),
        "proxy" => ("", "v1", "PodProxyOptions"),
        _ => (&resource.group, &resource.version, &resource.kind),
    }
}

//! From a path to what it names: discovery documents, resources, objects.
//!
//! Which verbs a target has is decided where it is answered.

use std::sync::Arc;

use crate::{query::decode, registry::Registry, resource::Resource, status::Status};

/// What a path names.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// `/version`.
    Version,
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/api`: the core group's versions.
    CoreVersions,
    /// `/apis`: every other group.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    Resources(String, String),
    /// `/openapi/…`, with what follows.
    OpenApi(String),
    /// Objects of a resource.
    Objects(Objects),
}

/// A collection, an object, or something below an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// Which resource.
    pub resource: Arc<Resource>,
    /// Which namespace; absent for all, and for cluster-scoped resources.
    pub namespace: Option<String>,
    /// Which object; absent for the collection.
    pub name: Option<String>,
    /// Which subresource.
    pub subresource: Option<String>,
    /// The path behind a `proxy` subresource, with its slash.
    pub rest: String,
}

impl Objects {
    /// The namespace, or the empty text.
    pub fn within(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

/// Reads a path.
pub fn parse(path: &str, registry: &Registry) -> Result<Target, Status> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let trimmed: Vec<&str> = segments.iter().copied().filter(|part| !part.is_empty()).collect();
    match trimmed.as_slice() {
        ["version"] => Ok(Target::Version),
        ["healthz" | "livez" | "readyz", ..] => Ok(Target::Health),
        ["api"] => Ok(Target::CoreVersions),
        ["apis"] => Ok(Target::Groups),
        ["openapi", rest @ ..] => Ok(Target::OpenApi(rest.join("/"))),
        ["apis", group] => Ok(Target::Group((*group).to_owned())),
        ["api", version] => resources(registry, "", version),
        ["apis", group, version] => resources(registry, group, version),
        ["api", version, ..] => objects(registry, ("", version), &segments[2..]),
        ["apis", group, version, ..] => objects(registry, (group, version), &segments[3..]),
        _ => Err(Status::no_such_path()),
    }
}

fn resources(registry: &Registry, group: &str, version: &str) -> Result<Target, Status> {
    match registry.all().any(|one| one.group == group && one.version == version) {
        true => Ok(Target::Resources(group.to_owned(), version.to_owned())),
        false => Err(Status::no_such_path()),
    }
}

fn objects(
    registry: &Registry,
    (group, version): (&str, &str),
    segments: &[&str],
) -> Result<Target, Status> {
    let (namespace, segments) = match segments {
        ["namespaces", _, "status" | "finalize", ..] => (None, segments),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(decode(namespace)), rest),
        _ => (None, segments),
    };
    let Some((plural, segments)) = segments.split_first() else {
        return Err(Status::no_such_path());
    };
    let resource = registry.version(group, version, plural).ok_or_else(Status::no_such_path)?;
    if namespace.is_some() && !resource.namespaced {
        return Err(Status::no_such_path());
    }
    let part = |index: usize| segments.get(index).filter(|part| !part.is_empty());
    let name = part(0).map(|name| decode(name));
    let subresource = part(1).map(|name| (*name).to_owned());
    let is_proxy = subresource.as_deref() == Some("proxy");
    if segments.len() > 2 && !is_proxy {
        return Err(Status::no_such_path());
    }
    if resource.namespaced && namespace.is_none() && name.is_some() {
        let message = format!(
            "{} live in namespaces; ask for /namespaces/NAMESPACE/{plural}/NAME",
            resource.plural
        );
        return Err(Status::bad_request(message));
    }
    if let Some(subresource) = subresource.as_deref().filter(|name| !resource.has(name)) {
        let message = format!("{} have no subresource {subresource:?}", resource.qualified());
        return Err(Status::new(404, "NotFound", message));
    }
    let rest = segments.get(2..).map(|rest| format!("/{}", rest.join("/"))).unwrap_or_default();
    let rest = if rest.is_empty() { "/".to_owned() } else { rest };
    Ok(Target::Objects(Objects { resource, namespace, name, subresource, rest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let said = match parse(path, &Registry::built_in()) {
            Ok(Target::Objects(at)) => format!(
                "{} {} {} {} {}",
                at.resource.qualified(),
                at.namespace.as_deref().unwrap_or("-"),
                at.name.as_deref().unwrap_or("-"),
                at.subresource.as_deref().unwrap_or("-"),
                at.rest
            ),
            Ok(other) => format!("{other:?}"),
            Err(refused) => format!("{} {}", refused.code, refused.message),
        };
        assert_eq!(said, expected, "{path}");
    }

    #[test]
    fn paths_name_what_they_name_on_a_cluster() {
        check("/api", "CoreVersions");
        check("/api/v1", r#"Resources("", "v1")"#);
        check("/api/v1/pods", "pods - - - /");
        check("/api/v1/namespaces", "namespaces - - - /");
        check("/api/v1/namespaces/blue", "namespaces - blue - /");
        check("/api/v1/namespaces/blue/finalize", "namespaces - blue finalize /");
        check("/api/v1/namespaces/blue/pods/p/log", "pods blue p log /");
        check("/api/v1/namespaces/blue/pods/p:80/proxy/a/b/", "pods blue p:80 proxy /a/b/");
        check(
            "/apis/apps/v1/namespaces/blue/deployments/d/scale",
            "deployments.apps blue d scale /",
        );
        check("/apis/nothing/v1", "404 the server could not find the requested resource");
        check("/api/v1/namespaces/blue/pods/p/magic", "404 pods have no subresource \"magic\"");
        check(
            "/api/v1/namespaces/blue/nodes",
            "404 the server could not find the requested resource",
        );
    }
}

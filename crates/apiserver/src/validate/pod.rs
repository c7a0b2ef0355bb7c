//! What the specification of a pod has to be, wherever it stands.

use std::collections::BTreeSet;

use serde_json::Value;
use weft_controllers::object::items;

use super::{causes::Causes, container, metadata, names};

/// The largest user and group.
const LARGEST_ID: i64 = i32::MAX as i64;

/// Checks a specification.
pub fn spec(spec: &Value, path: &str, causes: &mut Causes) {
    let volumes = volumes(&spec["volumes"], &format!("{path}.volumes"), causes);
    if items(&spec["containers"]).next().is_none() {
        causes.required(format!("{path}.containers"), "");
    }
    let mut known = BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for (index, one) in items(&spec[list]).enumerate() {
            let field = format!("{path}.{list}[{index}]");
            let is_new = one["name"].as_str().is_none_or(|name| known.insert(name));
            if !is_new {
                causes.duplicate(format!("{field}.name"), &one["name"]);
            }
            let at = container::ContainerLocation { path: &field, volumes: &volumes, list };
            container::check(one, &at, causes);
        }
    }
    let field = |name: &str| format!("{path}.{name}");
    causes.one_of(
        field("restartPolicy"),
        &spec["restartPolicy"],
        &["Always", "OnFailure", "Never"],
    );
    let policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    causes.one_of(field("dnsPolicy"), &spec["dnsPolicy"], &policies);
    metadata::labels(&spec["nodeSelector"], &field("nodeSelector"), causes);
    for (name, rule) in [
        ("hostname", names::dns_label as names::Rule),
        ("subdomain", names::dns_label),
        ("serviceAccountName", names::dns_subdomain),
        ("nodeName", names::dns_subdomain),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ] {
        if spec[name].as_str() != Some("") {
            causes.follows(field(name), &spec[name], rule);
        }
    }
    causes.not_negative(
        field("terminationGracePeriodSeconds"),
        &spec["terminationGracePeriodSeconds"],
    );
    causes.within(
        field("activeDeadlineSeconds"),
        &spec["activeDeadlineSeconds"],
        (1, i64::from(i32::MAX)),
    );
    ids(&spec["securityContext"], &field("securityContext"), causes);
    for (index, alias) in items(&spec["hostAliases"]).enumerate() {
        let field = format!("{path}.hostAliases[{index}]");
        if alias["ip"].as_str().and_then(|ip| ip.parse::<std::net::IpAddr>().ok()).is_none() {
            let rule = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.invalid(format!("{field}.ip"), &alias["ip"], rule);
        }
        for (index, name) in items(&alias["hostnames"]).enumerate() {
            causes.follows(format!("{field}.hostnames[{index}]"), name, names::dns_subdomain);
        }
    }
}

/// Checks the users and groups of a security context.
pub fn ids(context: &Value, path: &str, causes: &mut Causes) {
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        causes.within(format!("{path}.{name}"), &context[name], (0, LARGEST_ID));
    }
}

/// Checks volumes, and gives their names.
fn volumes(volumes: &Value, path: &str, causes: &mut Causes) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (index, volume) in items(volumes).enumerate() {
        let field = format!("{path}[{index}]");
        causes.named(format!("{field}.name"), &volume["name"], names::dns_label);
        let name = volume["name"].as_str().unwrap_or_default();
        if !name.is_empty() && !known.insert(name.to_owned()) {
            causes.duplicate(format!("{field}.name"), &volume["name"]);
        }
        let mut sources =
            volume.as_object().into_iter().flatten().filter(|(name, _)| *name != "name");
        match sources.next() {
            None => causes.required(&field, "must specify a volume type"),
            Some((kind, source)) => self::source(source, kind, &format!("{field}.{kind}"), causes),
        }
        for (kind, _) in sources {
            causes.forbidden(format!("{field}.{kind}"), "may not specify more than 1 volume type");
        }
    }
    known
}

fn source(source: &Value, kind: &str, path: &str, causes: &mut Causes) {
    let required = |name: &str, causes: &mut Causes| {
        if source[name].as_str().is_none_or(str::is_empty) {
            causes.required(format!("{path}.{name}"), "");
        }
    };
    match kind {
        "configMap" => required("name", causes),
        "secret" => required("secretName", causes),
        "persistentVolumeClaim" => required("claimName", causes),
        "hostPath" => required("path", causes),
        _ => {}
    }
    causes.within(format!("{path}.defaultMode"), &source["defaultMode"], (0, 0o777));
    for (index, item) in items(&source["items"]).enumerate() {
        let field = format!("{path}.items[{index}]");
        for name in ["key", "path"] {
            let is_wanted = kind != "downwardAPI" || name == "path";
            if is_wanted && item[name].as_str().is_none_or(str::is_empty) {
                causes.required(format!("{field}.{name}"), "");
            }
        }
        inside(&item["path"], &format!("{field}.path"), causes);
        causes.within(format!("{field}.mode"), &item["mode"], (0, 0o777));
    }
    for (index, one) in items(&source["sources"]).enumerate() {
        let token = &one["serviceAccountToken"];
        let field = format!("{path}.sources[{index}].serviceAccountToken");
        if token.is_object() && token["path"].as_str().is_none_or(str::is_empty) {
            causes.required(format!("{field}.path"), "");
        }
        if token["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < 600) {
            let rule = "may not specify a duration less than 10 minutes";
            causes.invalid(format!("{field}.expirationSeconds"), &token["expirationSeconds"], rule);
        }
    }
}

/// A path that may not lead out of its volume.
pub fn inside(path: &Value, field: &str, causes: &mut Causes) {
    let Some(text) = path.as_str() else { return };
    if text.starts_with('/') {
        causes.invalid(field, path, "must be a relative path");
    }
    if text.split('/').any(|part| part == "..") {
        causes.invalid(field, path, "must not contain '..'");
    }
}

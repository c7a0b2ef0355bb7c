//! Pod Security Standards, as the labels of a namespace ask for them.
//!
//! `pod-security.kubernetes.io/enforce` refuses pods, `…/warn` warns about pods
//! and about what makes pods. Levels, checks and texts are those of Kubernetes 1.36,
//! whatever version a label asks for.

mod profiles;

use std::collections::BTreeSet;

use serde_json::Value;
use weft_controllers::object::{self, items};

use crate::{
    resource::{Builtin, Resource},
    status::Status,
};

const LABELS: &str = "pod-security.kubernetes.io/";

/// Capabilities that every container may have by the baseline.
const HARMLESS: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Volumes that the restricted level allows.
const PLAIN_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// Refuses a pod that its namespace does not allow; adds what it warns about.
pub fn check(
    resource: &Resource,
    object: &Value,
    namespace: &Value,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let Some(pod) = pod(resource, object) else { return Ok(()) };
    let violated = |mode: &str| {
        let level = object::label(namespace, &format!("{LABELS}{mode}"))?;
        let version = object::label(namespace, &format!("{LABELS}{mode}-version"));
        let policy = format!("{level}:{}", version.unwrap_or("latest"));
        let violations = violations(pod, level_of(level));
        (!violations.is_empty())
            .then(|| format!("PodSecurity {policy:?}: {}", violations.join(", ")))
    };
    if resource.is(Builtin::Pod)
        && let Some(policy) = violated("enforce")
    {
        let name = object::name(object);
        let message = format!("pods \"{name}\" is forbidden: violates {policy}");
        return Err(Status::forbidden(message).about("", "pods", name));
    }
    if let Some(policy) = violated("warn") {
        warnings.push(format!("would violate {policy}"));
    }
    Ok(())
}

fn level_of(label: &str) -> Level {
    match label {
        "privileged" => Level::Privileged,
        "baseline" => Level::Baseline,
        // As in Kubernetes, a level that cannot be read is the strictest.
        _ => Level::Restricted,
    }
}

/// The pod that an object is, or the template of those that it makes.
fn pod<'v>(resource: &Resource, object: &'v Value) -> Option<&'v Value> {
    resource.builtin()?;
    let maker = match resource.kind.as_str() {
        "Pod" => return Some(object),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => &object["spec"],
        "CronJob" => &object["spec"]["jobTemplate"]["spec"],
        _ => return None,
    };
    matches!(resource.group.as_str(), "apps" | "batch" | "extensions").then(|| &maker["template"])
}

/// What of a pod a level does not allow, check by check, in Kubernetes' order: by the
/// names of the checks, those of the baseline first.
fn violations(pod: &Value, level: Level) -> Vec<String> {
    let spec = &pod["spec"];
    // In a user namespace of its own, root is nobody on the node.
    let has_own_users = spec["hostUsers"] == false;
    let mut found = Vec::new();
    if level >= Level::Baseline {
        let is_weaker = level == Level::Baseline;
        found.extend(profiles::app_armor(pod));
        found.extend(capabilities(spec).filter(|_| is_weaker));
        found.extend(host_namespaces(spec));
        found.extend(host_paths(spec));
        found.extend(host_ports(spec));
        found.extend(profiles::probed_hosts(spec));
        let privileged = |context: &Value| context["privileged"] == true;
        found.extend(
            containers(spec, privileged).map(|bad| {
                format!("privileged ({bad} must not set securityContext.privileged=true)")
            }),
        );
        found.extend(profiles::proc_mount(spec).filter(|_| is_weaker && !has_own_users));
        found.extend(profiles::selinux(spec));
        found.extend(bad_seccomp(spec).filter(|_| is_weaker));
        found.extend(profiles::sysctls(spec));
        found.extend(profiles::host_process(spec));
    }
    if level == Level::Restricted {
        let escalates = |context: &Value| context["allowPrivilegeEscalation"] != false;
        found.extend(containers(spec, escalates).map(|bad| {
            format!(
                "allowPrivilegeEscalation != false ({bad} must set \
                 securityContext.allowPrivilegeEscalation=false)"
            )
        }));
        found.extend(unrestricted_capabilities(spec));
        found.extend(profiles::proc_mount(spec));
        found.extend(volumes(spec));
        found.extend(run_as_non_root(spec).filter(|_| !has_own_users));
        found.extend(run_as_user(spec).filter(|_| !has_own_users));
        found.extend(bad_seccomp(spec).or_else(|| missing_seccomp(spec)));
    }
    found
}

/// All containers, in Kubernetes' order.
fn all(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| items(&spec[list]))
}

/// `container "a"` or `containers "a", "b"`: those whose security context is bad.
fn containers(spec: &Value, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
    let bad: Vec<&Value> = all(spec).filter(|one| is_bad(&one["securityContext"])).collect();
    named(&bad, "container")
}

fn named(bad: &[&Value], word: &str) -> Option<String> {
    let names: Vec<String> = bad.iter().map(|one| one["name"].to_string()).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    (!names.is_empty()).then(|| format!("{word}{plural} {}", names.join(", ")))
}

fn quoted(values: &BTreeSet<String>) -> String {
    values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ")
}

fn added(context: &Value, allowed: &[&str]) -> BTreeSet<String> {
    items(&context["capabilities"]["add"])
        .filter_map(Value::as_str)
        .filter(|name| !allowed.contains(name))
        .map(str::to_owned)
        .collect()
}

fn additions(spec: &Value, allowed: &[&str]) -> Option<String> {
    let bad = containers(spec, |context| !added(context, allowed).is_empty())?;
    let names = all(spec).flat_map(|one| added(&one["securityContext"], allowed)).collect();
    Some(format!("{bad} must not include {} in securityContext.capabilities.add", quoted(&names)))
}

fn capabilities(spec: &Value) -> Option<String> {
    additions(spec, HARMLESS).map(|text| format!("non-default capabilities ({text})"))
}

fn unrestricted_capabilities(spec: &Value) -> Option<String> {
    let keeps = |context: &Value| !items(&context["capabilities"]["drop"]).any(|one| one == "ALL");
    let missing = containers(spec, keeps)
        .map(|bad| format!("{bad} must set securityContext.capabilities.drop=[\"ALL\"]"));
    let texts: Vec<String> =
        missing.into_iter().chain(additions(spec, &["NET_BIND_SERVICE"])).collect();
    (!texts.is_empty()).then(|| format!("unrestricted capabilities ({})", texts.join("; ")))
}

fn host_namespaces(spec: &Value) -> Option<String> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!set.is_empty()).then(|| format!("host namespaces ({})", set.join(", ")))
}

fn host_paths(spec: &Value) -> Option<String> {
    let bad: Vec<&Value> =
        items(&spec["volumes"]).filter(|volume| volume["hostPath"].is_object()).collect();
    named(&bad, "volume").map(|bad| format!("hostPath volumes ({bad})"))
}

fn host_ports(spec: &Value) -> Option<String> {
    let ports = |one: &Value| -> Vec<i64> {
        let all = items(&one["ports"]).filter_map(|port| port["hostPort"].as_i64());
        all.filter(|port| *port != 0).collect()
    };
    let bad: Vec<&Value> = all(spec).filter(|one| !ports(one).is_empty()).collect();
    let names = named(&bad, "container")?;
    let taken: BTreeSet<String> =
        bad.iter().flat_map(|one| ports(one)).map(|port| port.to_string()).collect();
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let word = if taken.len() == 1 { "hostPort" } else { "hostPorts" };
    let list = taken.into_iter().collect::<Vec<_>>().join(", ");
    Some(format!("hostPort ({names} {verb} {word} {list})"))
}

fn volumes(spec: &Value) -> Option<String> {
    let kind = |volume: &Value| -> Option<String> {
        let mut kinds = volume.as_object()?.keys().filter(|key| *key != "name");
        kinds.next().cloned()
    };
    let is_bad =
        |volume: &&Value| kind(volume).is_none_or(|kind| !PLAIN_VOLUMES.contains(&kind.as_str()));
    let bad: Vec<&Value> = items(&spec["volumes"]).filter(is_bad).collect();
    let names = named(&bad, "volume")?;
    let kinds: BTreeSet<String> =
        bad.iter().map(|one| kind(one).unwrap_or_else(|| "unknown".into())).collect();
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let word = if kinds.len() == 1 { "restricted volume type" } else { "restricted volume types" };
    Some(format!("restricted volume types ({names} {verb} {word} {})", quoted(&kinds)))
}

fn setters(pod_is_bad: bool, containers: Option<String>) -> Option<String> {
    let all: Vec<String> =
        pod_is_bad.then(|| "pod".to_owned()).into_iter().chain(containers).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

fn run_as_non_root(spec: &Value) -> Option<String> {
    let of_pod = &spec["securityContext"]["runAsNonRoot"];
    let explicit = containers(spec, |context| context["runAsNonRoot"] == false);
    if let Some(bad) = setters(*of_pod == false, explicit) {
        return Some(format!(
            "runAsNonRoot != true ({bad} must not set securityContext.runAsNonRoot=false)"
        ));
    }
    let implicit = |context: &Value| context["runAsNonRoot"].is_null() && *of_pod != true;
    containers(spec, implicit).map(|bad| {
        format!("runAsNonRoot != true (pod or {bad} must set securityContext.runAsNonRoot=true)")
    })
}

fn run_as_user(spec: &Value) -> Option<String> {
    let is_root = |context: &Value| context["runAsUser"] == 0;
    let bad = setters(is_root(&spec["securityContext"]), containers(spec, is_root))?;
    Some(format!("runAsUser=0 ({bad} must not set runAsUser=0)"))
}

fn seccomp(context: &Value) -> Option<&str> {
    context["seccompProfile"]["type"].as_str()
}

fn is_odd(context: &Value) -> bool {
    seccomp(context).is_some_and(|kind| !matches!(kind, "RuntimeDefault" | "Localhost"))
}

fn bad_seccomp(spec: &Value) -> Option<String> {
    let of_pod = &spec["securityContext"];
    let bad = setters(is_odd(of_pod), containers(spec, is_odd))?;
    let contexts = all(spec).map(|one| &one["securityContext"]).chain([of_pod]);
    let values = contexts.filter(|one| is_odd(one)).filter_map(seccomp).map(str::to_owned);
    let values = quoted(&values.collect());
    Some(format!(
        "seccompProfile ({bad} must not set securityContext.seccompProfile.type to {values})"
    ))
}

fn missing_seccomp(spec: &Value) -> Option<String> {
    if seccomp(&spec["securityContext"]).is_some() {
        return None;
    }
    containers(spec, |context| seccomp(context).is_none()).map(|bad| {
        format!(
            "seccompProfile (pod or {bad} must set securityContext.seccompProfile.type to \
             \"RuntimeDefault\" or \"Localhost\")"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(level: Level, spec: Value, expected: &str) {
        assert_eq!(violations(&json!({"spec": spec}), level).join(", "), expected, "{spec}");
    }

    #[test]
    fn the_texts_are_those_of_kubernetes() {
        let bare = json!({"containers": [{"name": "c"}]});
        check(Level::Privileged, json!({"hostNetwork": true}), "");
        check(Level::Baseline, bare.clone(), "");
        check(
            Level::Restricted,
            bare,
            "allowPrivilegeEscalation != false (container \"c\" must set \
             securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \
             \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod \
             or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
             container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\")",
        );
        let right = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        check(
            Level::Restricted,
            json!({"containers": [{"name": "c", "securityContext": right}]}),
            "",
        );
        let init =
            json!({"runAsUser": 0, "capabilities": {"add": ["NET_RAW", "NET_ADMIN", "CHOWN"]}});
        check(
            Level::Baseline,
            json!({"hostPID": true, "initContainers": [{"name": "istio-init", "securityContext": init}],
                "containers": [{"name": "a", "ports": [{"hostPort": 80}]}, {"name": "b", "ports": [{"hostPort": 81}]}],
                "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            "non-default capabilities (container \"istio-init\" must not include \"NET_ADMIN\", \
             \"NET_RAW\" in securityContext.capabilities.add), host namespaces (hostPID=true), \
             hostPath volumes (volume \"v\"), hostPort (containers \"a\", \"b\" use hostPorts 80, 81)",
        );
    }
}

//! Checks of what the kernel lets a pod do: AppArmor, SELinux, sysctls, `/proc`, and of
//! the hosts that its probes reach.

use std::collections::BTreeSet;

use serde_json::Value;
use weft_controllers::object::items;

use super::{all, containers, named, quoted, setters};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// SELinux types of containers.
const SELINUX_TYPES: &[&str] =
    &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Sysctls of a pod's own namespaces that do not touch other pods.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The security contexts of the pod and of its containers.
fn contexts(spec: &Value) -> impl Iterator<Item = &Value> {
    all(spec).map(|one| &one["securityContext"]).chain([&spec["securityContext"]])
}

/// An AppArmor profile other than the runtime's or one of the node's, by field or by
/// the annotation that came before it.
pub(super) fn app_armor(pod: &Value) -> Option<String> {
    let kind = |context: &Value| -> Option<String> {
        let profile = context["appArmorProfile"].as_object()?;
        let kind = profile.get("type").map(text).unwrap_or_default();
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let is_bad = |context: &Value| kind(context).is_some();
    let spec = &pod["spec"];
    let set = setters(is_bad(&spec["securityContext"]), containers(spec, is_bad));
    let annotations: BTreeSet<String> = pod["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name, text(value)))
        .filter(|(name, value)| {
            let is_default = value.is_empty() || *value == "runtime/default";
            name.starts_with(APP_ARMOR) && !is_default && !value.starts_with("localhost/")
        })
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    let word = match annotations.len() {
        0 => None,
        1 => Some("annotation".to_owned()),
        _ => Some("annotations".to_owned()),
    };
    let bad: Vec<String> = set.into_iter().chain(word).collect();
    let kinds: BTreeSet<String> = contexts(spec).filter_map(kind).collect();
    let values: Vec<String> =
        kinds.into_iter().chain(annotations).map(|value| format!("\"{value}\"")).collect();
    let plural = if values.len() == 1 { "" } else { "s" };
    (!bad.is_empty()).then(|| {
        format!(
            "forbidden AppArmor profile{plural} ({} must not set AppArmor profile type to {})",
            bad.join(" and "),
            values.join(", ")
        )
    })
}

/// A mount of `/proc` that hides nothing.
pub(super) fn proc_mount(spec: &Value) -> Option<String> {
    let kind = |context: &Value| {
        context["procMount"].as_str().filter(|kind| *kind != "Default").map(str::to_owned)
    };
    let bad = containers(spec, |context| kind(context).is_some())?;
    let kinds = all(spec).filter_map(|one| kind(&one["securityContext"])).collect();
    Some(format!("procMount ({bad} must not set securityContext.procMount to {})", quoted(&kinds)))
}

/// SELinux options that are not a container's.
pub(super) fn selinux(spec: &Value) -> Option<String> {
    let options =
        |context: &'_ Value, field: &str| text(&context["seLinuxOptions"][field]).to_owned();
    let odd_type = |context: &Value| {
        Some(options(context, "type")).filter(|kind| !SELINUX_TYPES.contains(&kind.as_str()))
    };
    let sets = |context: &Value, field: &str| !options(context, field).is_empty();
    let is_bad = |context: &Value| {
        odd_type(context).is_some() || sets(context, "user") || sets(context, "role")
    };
    let bad = setters(is_bad(&spec["securityContext"]), containers(spec, is_bad))?;
    let types: BTreeSet<String> = contexts(spec).filter_map(odd_type).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        let plural = if types.len() == 1 { "" } else { "s" };
        what.push(format!("type{plural} {}", quoted(&types)));
    }
    for field in ["user", "role"] {
        if contexts(spec).any(|context| sets(context, field)) {
            what.push(format!("{field} may not be set"));
        }
    }
    Some(format!(
        "seLinuxOptions ({bad} set forbidden securityContext.seLinuxOptions: {})",
        what.join("; ")
    ))
}

/// Sysctls that other pods or the node would notice.
pub(super) fn sysctls(spec: &Value) -> Option<String> {
    let names = items(&spec["securityContext"]["sysctls"]).map(|one| text(&one["name"]));
    let bad: Vec<&str> = names.filter(|name| !SYSCTLS.contains(name)).collect();
    (!bad.is_empty()).then(|| format!("forbidden sysctls ({})", bad.join(", ")))
}

/// A process of the node itself.
pub(super) fn host_process(spec: &Value) -> Option<String> {
    let is_bad = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let bad = setters(is_bad(&spec["securityContext"]), containers(spec, is_bad))?;
    Some(format!(
        "hostProcess ({bad} must not set securityContext.windowsOptions.hostProcess=true)"
    ))
}

/// Probes and hooks that the node would send elsewhere than to the pod.
pub(super) fn probed_hosts(spec: &Value) -> Option<String> {
    let hosts = |container: &Value| -> Vec<String> {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
        let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
        let handlers = probes.map(|probe| &container[probe]).into_iter().chain(hooks);
        let hosts = handlers.flat_map(|one| [&one["httpGet"]["host"], &one["tcpSocket"]["host"]]);
        hosts.map(text).filter(|host| !host.is_empty()).map(str::to_owned).collect()
    };
    let mut bad: Vec<&Value> = all(spec).filter(|one| !hosts(one).is_empty()).collect();
    bad.sort_by_key(|one| text(&one["name"]));
    let names = named(&bad, "container")?;
    let reached: BTreeSet<String> = bad.iter().flat_map(|one| hosts(one)).collect();
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let plural = if reached.len() == 1 { "" } else { "s" };
    Some(format!(
        "probe or lifecycle host ({names} {verb} probe or lifecycle host{plural} {})",
        quoted(&reached)
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Level, violations};
    use super::*;

    /// The texts are those that pod-security-admission 0.36 makes.
    #[track_caller]
    fn check(pod: &Value, expected: &str) {
        assert_eq!(violations(pod, Level::Baseline).join(", "), expected, "{pod}");
    }

    fn pod(context: Value, containers: &[(&str, Value)]) -> Value {
        let containers: Vec<Value> = containers
            .iter()
            .map(|(name, context)| json!({"name": name, "securityContext": context}))
            .collect();
        json!({"spec": {"securityContext": context, "containers": containers}})
    }

    #[test]
    fn app_armor_profiles_are_the_default_or_the_nodes() {
        let profile = |kind: &str| json!({"appArmorProfile": {"type": kind}});
        check(&pod(profile("RuntimeDefault"), &[("a", profile("Localhost"))]), "");
        check(
            &pod(profile("Unconfined"), &[("a", profile("Unconfined")), ("b", profile("Other"))]),
            "forbidden AppArmor profiles (pod and containers \"a\", \"b\" must not set AppArmor \
             profile type to \"Other\", \"Unconfined\")",
        );
        let mut annotated = pod(Value::Null, &[("a", profile("Localhost"))]);
        annotated["metadata"]["annotations"] = json!({
            format!("{APP_ARMOR}a"): "unconfined",
            format!("{APP_ARMOR}b"): "runtime/default",
            format!("{APP_ARMOR}c"): "localhost/mine",
            format!("{APP_ARMOR}d"): "",
        });
        check(
            &annotated,
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
             \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        );
    }

    #[test]
    fn selinux_options_are_a_containers() {
        let options = |options: Value| json!({"seLinuxOptions": options});
        let allowed = options(json!({"type": "container_engine_t", "level": "s0"}));
        check(&pod(allowed.clone(), &[("a", options(json!({})))]), "");
        check(
            &pod(allowed, &[("a", options(json!({"type": "spc_t", "user": "u", "role": "r"})))]),
            "seLinuxOptions (container \"a\" set forbidden securityContext.seLinuxOptions: type \
             \"spc_t\"; user may not be set; role may not be set)",
        );
        check(
            &pod(options(json!({"type": "x"})), &[("a", options(json!({"type": "y"})))]),
            "seLinuxOptions (pod and container \"a\" set forbidden \
             securityContext.seLinuxOptions: types \"x\", \"y\")",
        );
    }

    #[test]
    fn sysctls_are_those_that_nobody_else_notices() {
        let sysctls = |names: &[&str]| {
            let all: Vec<Value> =
                names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
            pod(json!({"sysctls": all}), &[("a", Value::Null)])
        };
        check(&sysctls(SYSCTLS), "");
        check(
            &sysctls(&["net.ipv4.tcp_rmem", "kernel.msgmax", "vm.swappiness"]),
            "forbidden sysctls (kernel.msgmax, vm.swappiness)",
        );
    }

    #[test]
    fn only_a_pod_with_users_of_its_own_sees_all_of_proc() {
        let unmasked = json!({"procMount": "Unmasked"});
        let text = "procMount (container \"a\" must not set securityContext.procMount to \
                    \"Unmasked\")";
        let mut bad = pod(json!({}), &[("a", unmasked), ("b", json!({"procMount": "Default"}))]);
        check(&bad, text);
        bad["spec"]["hostUsers"] = false.into();
        check(&bad, "");
        let restricted = violations(&bad, Level::Restricted);
        assert!(restricted.contains(&text.to_owned()), "{restricted:?}");
        assert!(!restricted.iter().any(|one| one.starts_with("runAsNonRoot")), "{restricted:?}");
    }

    #[test]
    fn probes_stay_in_the_pod_and_processes_off_the_node() {
        let mut pod = pod(json!({}), &[("b", json!({})), ("a", json!({}))]);
        let container = &mut pod["spec"]["containers"];
        container[0]["livenessProbe"] = json!({"httpGet": {"host": "10.0.0.1", "port": 80}});
        container[1]["lifecycle"] = json!({"preStop": {"tcpSocket": {"host": "x", "port": 80}}});
        container[1]["readinessProbe"] = json!({"httpGet": {"port": 80, "host": ""}});
        container[0]["securityContext"] = json!({"windowsOptions": {"hostProcess": true}});
        check(
            &pod,
            "probe or lifecycle host (containers \"a\", \"b\" use probe or lifecycle hosts \
             \"10.0.0.1\", \"x\"), hostProcess (container \"b\" must not set \
             securityContext.windowsOptions.hostProcess=true)",
        );
    }
}

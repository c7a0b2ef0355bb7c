//! What a container of a pod has to be.

use std::collections::BTreeSet;

use serde_json::Value;
use weft_controllers::object::items;

use super::{causes::Causes, names, pod};

/// Where a container stands.
pub struct ContainerLocation<'a> {
    /// Its path.
    pub path: &'a str,
    /// The volumes of its pod.
    pub volumes: &'a BTreeSet<String>,
    /// `containers` or `initContainers`.
    pub list: &'a str,
}

/// Checks a container.
pub fn check(container: &Value, at: &ContainerLocation<'_>, causes: &mut Causes) {
    let path = at.path;
    let field = |name: &str| format!("{path}.{name}");
    causes.named(field("name"), &container["name"], names::dns_label);
    match container["image"].as_str() {
        None | Some("") => causes.required(field("image"), ""),
        Some(image) if image.trim() != image => causes.invalid(
            field("image"),
            &container["image"],
            "must not have leading or trailing whitespace",
        ),
        Some(_) => {}
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    causes.one_of(field("imagePullPolicy"), &container["imagePullPolicy"], &policies);
    ports(&container["ports"], &field("ports"), causes);
    variables(container, path, causes);
    mounts(container, at, causes);
    resources(&container["resources"], &field("resources"), causes);
    pod::ids(&container["securityContext"], &field("securityContext"), causes);
    lifecycle(container, at, causes);
}

/// Checks the ports of a container.
fn ports(list: &Value, path: &str, causes: &mut Causes) {
    let mut known = BTreeSet::new();
    for (index, port) in items(list).enumerate() {
        let field = |name: &str| format!("{path}[{index}].{name}");
        match port["name"].as_str() {
            None | Some("") => {}
            Some(name) => {
                causes.follows(field("name"), &port["name"], names::port_name);
                if !known.insert(name) {
                    causes.duplicate(field("name"), &port["name"]);
                }
            }
        }
        match port["containerPort"].as_i64() {
            None | Some(0) => causes.required(field("containerPort"), ""),
            Some(_) => causes.within(field("containerPort"), &port["containerPort"], (1, 65_535)),
        }
        if port["hostPort"].as_i64() != Some(0) {
            causes.within(field("hostPort"), &port["hostPort"], (1, 65_535));
        }
        causes.one_of(field("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
    }
}

fn variables(container: &Value, path: &str, causes: &mut Causes) {
    for (index, variable) in items(&container["env"]).enumerate() {
        let field = |name: &str| format!("{path}.env[{index}].{name}");
        causes.named(field("name"), &variable["name"], names::variable);
        let source = &variable["valueFrom"];
        let Some(sources) = source.as_object() else { continue };
        if sources.is_empty() {
            let rule = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
                        `secretKeyRef` or `fileKeyRef`";
            causes.invalid(field("valueFrom"), &"".into(), rule);
        }
        let has_value = variable["value"].as_str().is_some_and(|text| !text.is_empty());
        if !sources.is_empty() && has_value {
            let rule = "may not be specified when `value` is not empty";
            causes.invalid(field("valueFrom"), &"".into(), rule);
        }
        if sources.len() > 1 {
            let rule = "may not have more than one field specified at a time";
            causes.invalid(field("valueFrom"), &"".into(), rule);
        }
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            let reference = &source[kind];
            for name in ["name", "key"].into_iter().filter(|_| reference.is_object()) {
                if reference[name].as_str().is_none_or(str::is_empty) {
                    causes.required(field(&format!("valueFrom.{kind}.{name}")), "");
                }
            }
        }
        if source["fieldRef"].is_object()
            && source["fieldRef"]["fieldPath"].as_str().is_none_or(str::is_empty)
        {
            causes.required(field("valueFrom.fieldRef.fieldPath"), "");
        }
    }
}

fn mounts(container: &Value, at: &ContainerLocation<'_>, causes: &mut Causes) {
    let mut known = BTreeSet::new();
    for (index, mount) in items(&container["volumeMounts"]).enumerate() {
        let field = |name: &str| format!("{}.volumeMounts[{index}].{name}", at.path);
        match mount["name"].as_str() {
            None | Some("") => causes.required(field("name"), ""),
            Some(name) if !at.volumes.contains(name) => {
                causes.not_found(field("name"), &mount["name"])
            }
            Some(_) => {}
        }
        match mount["mountPath"].as_str() {
            None | Some("") => causes.required(field("mountPath"), ""),
            Some(path) => {
                if !known.insert(path) {
                    let (field, path) = (field("mountPath"), &mount["mountPath"]);
                    causes.invalid(field, path, "must be unique");
                }
                if path.contains(':') {
                    let (field, path) = (field("mountPath"), &mount["mountPath"]);
                    causes.invalid(field, path, "must not contain ':'");
                }
            }
        }
        pod::inside(&mount["subPath"], &field("subPath"), causes);
    }
}

fn resources(resources: &Value, path: &str, causes: &mut Causes) {
    let limits = &resources["limits"];
    for list in ["limits", "requests"] {
        for (name, amount) in resources[list].as_object().into_iter().flatten() {
            let field = format!("{path}.{list}[{name}]");
            let fits = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
                || name.contains('/');
            if !fits {
                let rule = "must be a standard resource type or fully qualified";
                causes.invalid(field.clone(), &name.as_str().into(), rule);
            }
            let number = amount_of(amount);
            if number.is_some_and(|number| number < 0.0) {
                let rule = "must be greater than or equal to 0";
                causes.invalid(field.clone(), amount, rule);
            }
            let limit = amount_of(&limits[name]);
            if list == "requests" && number > limit && limit.is_some() {
                let rule = format!(
                    "must be less than or equal to {name} limit of {}",
                    text(&limits[name])
                );
                causes.invalid(field, &text(amount).into(), &rule);
            }
        }
    }
}

fn text(amount: &Value) -> String {
    amount.as_str().map_or_else(|| amount.to_string(), str::to_owned)
}

/// An amount as a number; near enough to compare.
fn amount_of(amount: &Value) -> Option<f64> {
    let text = match amount {
        Value::Null => return None,
        amount => text(amount),
    };
    let end = text.find(|one: char| !(one.is_ascii_digit() || matches!(one, '.' | '-' | '+')));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        _ => return text.parse().ok(),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

fn lifecycle(container: &Value, at: &ContainerLocation<'_>, causes: &mut Causes) {
    let field = |name: &str| format!("{}.{name}", at.path);
    let is_init = at.list == "initContainers";
    let is_sidecar = container["restartPolicy"] == "Always";
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if is_init && !is_sidecar && container[name].is_object() {
            causes.forbidden(
                field(name),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probe(&container[name], name, &field(name), causes);
    }
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if handler.is_object() {
            action(
                handler,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                &field(&format!("lifecycle.{hook}")),
                causes,
            );
        }
    }
}

fn probe(probe: &Value, name: &str, path: &str, causes: &mut Causes) {
    if !probe.is_object() {
        return;
    }
    action(probe, &["exec", "httpGet", "tcpSocket", "grpc"], path, causes);
    for number in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        causes.not_negative(format!("{path}.{number}"), &probe[number]);
    }
    let success = &probe["successThreshold"];
    if name != "readinessProbe" && success.as_i64().is_some_and(|count| count != 1) {
        causes.invalid(format!("{path}.successThreshold"), success, "must be 1");
    }
}

fn action(handler: &Value, kinds: &[&str], path: &str, causes: &mut Causes) {
    let found: Vec<&str> =
        kinds.iter().copied().filter(|kind| handler[*kind].is_object()).collect();
    if found.is_empty() {
        causes.required(path, "must specify a handler type");
    }
    for kind in found.iter().skip(1) {
        causes.forbidden(format!("{path}.{kind}"), "may not specify more than 1 handler type");
    }
    for kind in found {
        let port = &handler[kind]["port"];
        let field = format!("{path}.{kind}.port");
        match (kind, port) {
            ("exec" | "sleep", _) => {}
            (_, Value::String(_)) => causes.follows(field, port, names::port_name),
            (_, Value::Null) => causes.within(field, &0.into(), (1, 65_535)),
            _ => causes.within(field, port, (1, 65_535)),
        }
        let command = &handler["exec"]["command"];
        if kind == "exec" && items(command).next().is_none() {
            causes.required(format!("{path}.exec.command"), "");
        }
        if kind == "httpGet" {
            causes.one_of(
                format!("{path}.httpGet.scheme"),
                &handler[kind]["scheme"],
                &["HTTP", "HTTPS"],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_can_be_compared() {
        let amount = |text: &str| amount_of(&text.into()).unwrap();
        assert!(amount("1Gi") > amount("1G") && amount("100m") < amount("0.2"));
        assert!(amount("1e3") > amount("999") && amount("-1") < 0.0);
    }
}

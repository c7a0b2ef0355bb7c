//! A pod's status, from how its containers are.
//!
//! Pure: the time and the status before are arguments.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

use crate::{
    logs::timestamp,
    network::NODE,
    spec::{Container, Pod, RestartPolicy},
    state::{Instance, State, Terminated},
};

/// What is known of a pod besides its containers.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) started: SystemTime,
    /// The status before, whose times of transition count on.
    pub(crate) before: &'a Value,
    pub(crate) now: SystemTime,
}

/// The status of `pod`. What the API server has put into it stays.
pub(crate) fn status(pod: &Pod, instances: &BTreeMap<String, Instance>, facts: Facts<'_>) -> Value {
    let phase = phase(pod, instances);
    let ended = matches!(phase, "Succeeded" | "Failed");
    let initialized = is_initialized(pod, instances);
    let ready_of = |container: &Container| instances.get(&container.name).is_some_and(|i| i.ready);
    let sidecars = pod.spec.init_containers.iter().filter(|one| one.is_sidecar());
    let unready: Vec<&str> = sidecars
        .chain(&pod.spec.containers)
        .filter(|container| !ready_of(container))
        .map(|container| container.name.as_str())
        .collect();
    let not_ready = match (ended, unready.is_empty()) {
        (true, _) => Some(("PodCompleted", String::new())),
        (false, false) => {
            let names = unready.join(" ");
            Some(("ContainersNotReady", format!("containers with unready status: [{names}]")))
        }
        (false, true) => None,
    };
    let not_initialized = (!initialized)
        .then(|| ("ContainersNotInitialized", "init containers have not ended".to_owned()));
    let conditions = vec![
        condition("PodScheduled", None, facts),
        condition("Initialized", not_initialized, facts),
        condition("ContainersReady", not_ready.clone(), facts),
        condition("Ready", not_ready, facts),
    ];
    let mut status = facts.before.as_object().cloned().unwrap_or_default();
    status.insert("phase".into(), phase.into());
    status.insert("conditions".into(), conditions.into());
    status.insert("hostIP".into(), NODE.to_string().into());
    status.insert("hostIPs".into(), json!([{"ip": NODE.to_string()}]));
    status.insert("startTime".into(), seconds(facts.started).into());
    if let Some(address) = facts.address {
        status.insert("podIP".into(), address.to_string().into());
        status.insert("podIPs".into(), json!([{"ip": address.to_string()}]));
    }
    let list = |containers: &[Container]| -> Value {
        containers.iter().map(|one| container_status(pod, one, instances.get(&one.name))).collect()
    };
    if !pod.spec.init_containers.is_empty() {
        status.insert("initContainerStatuses".into(), list(&pod.spec.init_containers));
    }
    status.insert("containerStatuses".into(), list(&pod.spec.containers));
    Value::Object(status)
}

/// Whether everything before the application has been done.
pub(crate) fn is_initialized(pod: &Pod, instances: &BTreeMap<String, Instance>) -> bool {
    pod.spec.init_containers.iter().all(|container| {
        let Some(instance) = instances.get(&container.name) else { return false };
        match container.is_sidecar() {
            true => instance.started || matches!(instance.state, State::Terminated(_)),
            false => matches!(&instance.state, State::Terminated(ended) if ended.code == 0),
        }
    })
}

fn phase(pod: &Pod, instances: &BTreeMap<String, Instance>) -> &'static str {
    let ended = |container: &Container| match instances.get(&container.name).map(|i| &i.state) {
        Some(State::Terminated(ended)) => Some(ended.code),
        _ => None,
    };
    let never = pod.spec.restart_policy == RestartPolicy::Never;
    let mut inits = pod.spec.init_containers.iter().filter(|one| !one.is_sidecar());
    if never && inits.any(|init| ended(init).is_some_and(|code| code != 0)) {
        return "Failed";
    }
    if !is_initialized(pod, instances) {
        return "Pending";
    }
    let codes: Option<Vec<i32>> = pod.spec.containers.iter().map(ended).collect();
    match (codes, pod.spec.restart_policy) {
        (_, RestartPolicy::Always) | (None, _) => {
            let began = |container: &Container| {
                instances.get(&container.name).is_some_and(|instance| {
                    instance.last.is_some() || !matches!(instance.state, State::Waiting { .. })
                })
            };
            match pod.spec.containers.iter().all(began) {
                true => "Running",
                false => "Pending",
            }
        }
        (Some(codes), _) if codes.iter().all(|code| *code == 0) => "Succeeded",
        (Some(_), RestartPolicy::Never) => "Failed",
        (Some(_), RestartPolicy::OnFailure) => "Running",
    }
}

fn container_status(pod: &Pod, container: &Container, instance: Option<&Instance>) -> Value {
    let Some(instance) = instance else { return Value::Null };
    let mut status = Map::new();
    status.insert("name".into(), container.name.clone().into());
    status.insert("image".into(), container.image.clone().into());
    status.insert("imageID".into(), format!("weft://{}", container.image).into());
    status.insert("ready".into(), instance.ready.into());
    status.insert("started".into(), instance.started.into());
    status.insert("restartCount".into(), instance.restarts.into());
    let id = format!("weft://{}/{}/{}", pod.metadata.uid, container.name, instance.restarts);
    let state = match &instance.state {
        State::Waiting { reason, message } if message.is_empty() => {
            json!({"waiting": {"reason": reason}})
        }
        State::Waiting { reason, message } => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        State::Running { since } => {
            status.insert("containerID".into(), id.into());
            json!({"running": {"startedAt": seconds(*since)}})
        }
        State::Terminated(ended) => {
            status.insert("containerID".into(), id.clone().into());
            json!({"terminated": terminated(ended, &id)})
        }
    };
    status.insert("state".into(), state);
    let last = instance.last.as_ref().map(|ended| {
        let before = instance.restarts.saturating_sub(1);
        let id = format!("weft://{}/{}/{before}", pod.metadata.uid, container.name);
        json!({"terminated": terminated(ended, &id)})
    });
    status.insert("lastState".into(), last.unwrap_or_else(|| json!({})));
    Value::Object(status)
}

fn terminated(ended: &Terminated, id: &str) -> Value {
    let mut value = json!({
        "exitCode": ended.code,
        "reason": ended.reason,
        "startedAt": seconds(ended.started),
        "finishedAt": seconds(ended.finished),
        "containerID": id,
    });
    if let Some(signal) = ended.signal {
        value["signal"] = signal.into();
    }
    if !ended.message.is_empty() {
        value["message"] = ended.message.clone().into();
    }
    value
}

fn condition(kind: &str, why_not: Option<(&str, String)>, facts: Facts<'_>) -> Value {
    let status = if why_not.is_none() { "True" } else { "False" };
    let before = facts.before["conditions"].as_array().into_iter().flatten();
    let same = before
        .filter(|known| known["type"] == kind && known["status"] == status)
        .find_map(|known| known["lastTransitionTime"].as_str());
    let since = same.map_or_else(|| seconds(facts.now), str::to_owned);
    let mut value = json!({
        "type": kind, "status": status, "lastTransitionTime": since,
    });
    if let Some((reason, message)) = why_not {
        value["reason"] = reason.into();
        if !message.is_empty() {
            value["message"] = message.into();
        }
    }
    value
}

/// A time in whole seconds, as Kubernetes' objects have it.
fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let whole = UNIX_EPOCH + std::time::Duration::from_secs(since);
    timestamp(whole).replace(".000000000Z", "Z")
}

#[cfg(test)]
mod tests;

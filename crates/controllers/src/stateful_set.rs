//! StatefulSet → pods with lasting names, one after the other.
//!
//! A pod is made when all before it are ready, and ends when all behind it are
//! gone; an update goes from the last to the first.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    expand::MOST_PODS,
    object,
    pods::{self, Claim},
    template,
    write::Write,
};

/// The label by which the pods of two templates are told apart.
pub const REVISION: &str = "controller-revision-hash";

/// What a StatefulSet and its pods are to become; `pods` are those of its namespace.
pub fn step(set: &Value, pods: &[&Value], now: &str) -> Vec<Write> {
    let Some(Claim { own, mut writes }) = pods::claim(set, pods) else { return Vec::new() };
    let by_ordinal: BTreeMap<u64, &Value> =
        own.iter().filter_map(|pod| Some((ordinal(set, pod)?, *pod))).collect();
    let revision = revision(set);
    let (first, count) = (start(set), set["spec"]["replicas"].as_u64().unwrap_or(1));
    let wanted = first..first.saturating_add(count);
    if let Some(write) = next(set, &by_ordinal, &wanted, &revision) {
        writes.push(write);
    }
    if set["spec"]["podManagementPolicy"] == "Parallel" {
        let missing = wanted.clone().filter(|number| !by_ordinal.contains_key(number));
        writes.retain(|write| !matches!(write, Write::Create(_)));
        let starting: Vec<&Value> = by_ordinal.values().copied().collect();
        let missing = missing.take(pods::room(&starting, count));
        writes.extend(missing.map(|number| Write::Create(pod(set, number, &revision))));
    }
    writes.extend(pods::told(set, status(set, &by_ordinal, (&revision, now))));
    writes
}

/// The one write that is next: each waits until what it has to wait for is ready.
fn next(
    set: &Value,
    pods: &BTreeMap<u64, &Value>,
    wanted: &std::ops::Range<u64>,
    revision: &str,
) -> Option<Write> {
    let is_parallel = set["spec"]["podManagementPolicy"] == "Parallel";
    for number in wanted.clone() {
        match pods.get(&number) {
            None => return Some(Write::Create(pod(set, number, revision))),
            // Its name is free only when it is gone.
            Some(found) if object::is_terminating(found) => return None,
            Some(found) if pods::is_over(found) => return Some(Write::Delete((*found).clone())),
            Some(found) if !object::is_true(found, "Ready") && !is_parallel => {
                return broken(set, found, revision);
            }
            Some(_) => {}
        }
    }
    let surplus = pods.iter().rev().find(|(number, _)| !wanted.contains(number));
    if let Some((_, last)) = surplus {
        return (!object::is_terminating(last)).then(|| Write::Delete((*last).clone()));
    }
    if set["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return None;
    }
    let partition = set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_u64();
    let last_old =
        pods.iter().rev().take_while(|(number, _)| **number >= partition.unwrap_or(0)).find(
            |(_, pod)| {
                object::label(pod, REVISION) != Some(revision) || !object::is_true(pod, "Ready")
            },
        );
    let (_, found) = last_old?;
    let is_old = object::label(found, REVISION) != Some(revision);
    (is_old && !object::is_terminating(found)).then(|| Write::Delete((*found).clone()))
}

/// A pod of an old template that is not ready would stop its own update.
fn broken(set: &Value, pod: &Value, revision: &str) -> Option<Write> {
    let is_old = object::label(pod, REVISION) != Some(revision);
    let rolls = set["spec"]["updateStrategy"]["type"] != "OnDelete";
    (is_old && rolls).then(|| Write::Delete(pod.clone()))
}

fn start(set: &Value) -> u64 {
    set["spec"]["ordinals"]["start"].as_u64().unwrap_or(0)
}

fn ordinal(set: &Value, pod: &Value) -> Option<u64> {
    object::name(pod).strip_prefix(object::name(set))?.strip_prefix('-')?.parse().ok()
}

fn revision(set: &Value) -> String {
    format!("{}-{}", object::name(set), template::hash(&set["spec"]["template"], 0))
}

/// The pods that a StatefulSet has when everything runs, without addresses; at most
/// [`MOST_PODS`].
pub fn pods(set: &Value) -> Vec<Value> {
    let count = set["spec"]["replicas"].as_u64().unwrap_or(1).min(MOST_PODS);
    (0..count).map(|index| pod(set, start(set).saturating_add(index), &revision(set))).collect()
}

fn pod(set: &Value, ordinal: u64, revision: &str) -> Value {
    let name = format!("{}-{ordinal}", object::name(set));
    let mut pod = pods::from_template(set, &name);
    let labels = &mut pod["metadata"]["labels"];
    labels["statefulset.kubernetes.io/pod-name"] = name.clone().into();
    labels["apps.kubernetes.io/pod-index"] = ordinal.to_string().into();
    labels[REVISION] = revision.into();
    pod["spec"]["hostname"] = name.clone().into();
    if let Some(service) = set["spec"]["serviceName"].as_str().filter(|name| !name.is_empty()) {
        pod["spec"]["subdomain"] = service.into();
    }
    for claim in object::items(&set["spec"]["volumeClaimTemplates"]) {
        let volume = object::name(claim);
        let source = json!({"claimName": format!("{volume}-{name}")});
        let volume = json!({"name": volume, "persistentVolumeClaim": source});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => pod["spec"]["volumes"] = json!([volume]),
        }
    }
    pod
}

fn status(set: &Value, pods: &BTreeMap<u64, &Value>, (revision, now): (&str, &str)) -> Value {
    let rest = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let count = |test: &dyn Fn(&Value) -> bool| {
        pods.values().filter(|pod| !object::is_terminating(pod) && test(pod)).count()
    };
    let updated = count(&|pod| object::label(pod, REVISION) == Some(revision));
    let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let is_done = updated as u64 == wanted && pods.len() as u64 == wanted;
    let before = set["status"]["currentRevision"].as_str().unwrap_or(revision);
    let current = if is_done { revision } else { before };
    json!({
        "observedGeneration": object::generation(set),
        "replicas": pods.len(),
        "readyReplicas": count(&|pod| object::is_true(pod, "Ready")),
        "availableReplicas": count(&|pod| pods::is_available(pod, rest, now)),
        "updatedReplicas": updated,
        "currentReplicas": count(&|pod| object::label(pod, REVISION) == Some(current)),
        "currentRevision": current,
        "updateRevision": revision,
        "collisionCount": 0,
    })
}

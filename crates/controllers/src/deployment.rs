//! Deployment → ReplicaSets: one for each template, the newest grows while the
//! others shrink, never more than `maxSurge` above and `maxUnavailable` below.

mod rollout;
mod status;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::{object, template, write::Write};

/// The number of a template in a Deployment's history.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// Annotations that say something about the Deployment, not about its ReplicaSets.
const OWN_ANNOTATIONS: &[&str] = &["kubectl.kubernetes.io/last-applied-configuration", REVISION];

/// What a Deployment and its ReplicaSets are to become.
///
/// `sets` are the ReplicaSets of its namespace; `now` is written into conditions.
pub fn step(deployment: &Value, sets: &[&Value], now: &str) -> Vec<Write> {
    if object::is_terminating(deployment) {
        return Vec::new();
    }
    let owned: Vec<&Value> = sets
        .iter()
        .copied()
        .filter(|set| object::is_controlled_by(set, deployment) && !object::is_terminating(set))
        .collect();
    let newest = newest(deployment, &owned);
    let old: Vec<&Value> = owned
        .iter()
        .copied()
        .filter(|set| newest.is_none_or(|newest| object::uid(newest) != object::uid(set)))
        .collect();
    let is_paused = deployment["spec"]["paused"] == true;
    let revision = old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    let revision = newest.map_or(revision, |newest| revision.max(self::revision(newest)));
    let mut writes = Vec::new();
    match newest {
        None if !is_paused => {
            let replicas = rollout::first(deployment, &old);
            writes.push(Write::Create(new_set(deployment, sets, replicas, revision)));
        }
        Some(newest) if !is_paused && self::revision(newest) != revision => {
            let mut renumbered = newest.clone();
            renumbered["metadata"]["annotations"][REVISION] = revision.to_string().into();
            writes.push(Write::Update(renumbered));
        }
        _ => writes.extend(rollout::scale(deployment, newest, &old)),
    }
    if !is_paused && object::annotation(deployment, REVISION) != Some(&revision.to_string()) {
        let mut numbered = deployment.clone();
        if !numbered["metadata"]["annotations"].is_object() {
            numbered["metadata"]["annotations"] = json!({});
        }
        numbered["metadata"]["annotations"][REVISION] = revision.to_string().into();
        writes.push(Write::Update(numbered));
    }
    writes.extend(forgotten(deployment, &old));
    let status = status::of(deployment, newest, &owned, now);
    if status != deployment["status"] {
        let mut told = deployment.clone();
        told["status"] = status;
        writes.push(Write::Status(told));
    }
    writes
}

/// The ReplicaSet that a Deployment makes first, for worlds that exist in files only.
pub fn first_set(deployment: &Value) -> Value {
    let replicas = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    new_set(deployment, &[], replicas, 1)
}

/// The ReplicaSet of the Deployment's present template.
fn newest<'v>(deployment: &Value, owned: &[&'v Value]) -> Option<&'v Value> {
    let wanted = &deployment["spec"]["template"];
    let mut fitting: Vec<&'v Value> = owned
        .iter()
        .copied()
        .filter(|set| template::is_same(&set["spec"]["template"], wanted))
        .collect();
    fitting.sort_by_key(|set| set["metadata"]["creationTimestamp"].as_str());
    fitting.first().copied()
}

fn revision(set: &Value) -> i64 {
    object::annotation(set, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn new_set(deployment: &Value, sets: &[&Value], replicas: i64, revision: i64) -> Value {
    let mut pods = deployment["spec"]["template"].clone();
    let name_of = |hash: &str| format!("{}-{hash}", object::name(deployment));
    let hash = (0..)
        .map(|attempt| template::hash(&pods, attempt))
        .find(|hash| !sets.iter().any(|set| object::name(set) == name_of(hash)))
        .unwrap_or_default();
    let mut selector = deployment["spec"]["selector"].clone();
    pods["metadata"]["labels"][template::LABEL] = hash.clone().into();
    selector["matchLabels"][template::LABEL] = hash.clone().into();
    let mut annotations = deployment["metadata"]["annotations"].clone();
    match annotations.as_object_mut() {
        Some(map) => map.retain(|name, _| !OWN_ANNOTATIONS.contains(&name.as_str())),
        None => annotations = json!({}),
    }
    annotations[REVISION] = revision.to_string().into();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name_of(&hash), "namespace": object::namespace(deployment),
            "labels": pods["metadata"]["labels"], "annotations": annotations,
            "ownerReferences": [object::controller_reference(deployment)],
        },
        "spec": {
            "replicas": replicas, "selector": selector, "template": pods,
            "minReadySeconds": deployment["spec"]["minReadySeconds"].as_i64().unwrap_or(0),
        },
    })
}

/// Empty ReplicaSets beyond the history that is to be kept.
fn forgotten(deployment: &Value, old: &[&Value]) -> Vec<Write> {
    let kept = deployment["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10);
    let mut empty: Vec<&Value> = old
        .iter()
        .copied()
        .filter(|set| set["spec"]["replicas"] == 0 && rollout::count(set, "replicas") == 0)
        .collect();
    empty.sort_by_key(|set| revision(set));
    let surplus = empty.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
    empty.into_iter().take(surplus).map(|set| Write::Delete(set.clone())).collect()
}

//! ReplicaSet → pods: as many as wanted, the least useful ones go first.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::{object, selector, time, write::Write};

/// What a ReplicaSet and its pods are to become.
///
/// `pods` are those of its namespace; `suffix` gives the random end of a new name.
pub fn step(
    set: &Value,
    pods: &[&Value],
    now: &str,
    suffix: &mut dyn FnMut() -> String,
) -> Vec<Write> {
    if object::is_terminating(set) {
        return Vec::new();
    }
    let mut writes = Vec::new();
    let mut active = Vec::new();
    for pod in pods.iter().copied().filter(|pod| !object::is_terminating(pod) && !is_over(pod)) {
        let fits = selector::matches(&set["spec"]["selector"], &pod["metadata"]["labels"]);
        match (object::controller(pod).is_some(), object::is_controlled_by(pod, set), fits) {
            (_, true, true) => active.push(pod),
            (_, true, false) => writes.push(Write::Update(released(set, pod))),
            (false, _, true) => {
                writes.push(Write::Update(adopted(set, pod)));
                active.push(pod);
            }
            _ => {}
        }
    }
    let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    for _ in active.len()..wanted {
        let name = format!("{}-{}", object::name(set), suffix());
        writes.push(Write::Create(new_pod(set, &name)));
    }
    if active.len() > wanted {
        let mut by_use = active.clone();
        by_use.sort_by_key(|pod| usefulness(pod));
        let surplus = active.len() - wanted;
        writes.extend(by_use.into_iter().take(surplus).map(|pod| Write::Delete(pod.clone())));
    }
    let status = status(set, &active, now);
    if status != set["status"] {
        let mut told = set.clone();
        told["status"] = status;
        writes.push(Write::Status(told));
    }
    writes
}

/// A pod of a ReplicaSet, under a name.
pub fn new_pod(set: &Value, name: &str) -> Value {
    let template = &set["spec"]["template"];
    let mut metadata = json!({
        "name": name, "generateName": format!("{}-", object::name(set)),
        "namespace": object::namespace(set),
        "labels": template["metadata"]["labels"],
        "ownerReferences": [object::controller_reference(set)],
    });
    for field in ["annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Whether a pod has ended and will not run again.
pub fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// What goes first: pods without a place, then those not ready, then the newest.
fn usefulness(pod: &Value) -> (bool, bool, bool, std::cmp::Reverse<String>) {
    let age = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    (
        pod["spec"]["nodeName"].is_string(),
        pod["status"]["phase"] == "Running",
        object::is_true(pod, "Ready"),
        std::cmp::Reverse(age),
    )
}

fn released(set: &Value, pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(owners) = pod["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|owner| owner["uid"] != set["metadata"]["uid"]);
    }
    pod
}

fn adopted(set: &Value, pod: &Value) -> Value {
    let mut pod = pod.clone();
    let reference = object::controller_reference(set);
    match pod["metadata"]["ownerReferences"].as_array_mut() {
        Some(owners) => owners.push(reference),
        None => pod["metadata"]["ownerReferences"] = json!([reference]),
    }
    pod
}

fn status(set: &Value, active: &[&Value], now: &str) -> Value {
    let rest = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let is_available = |pod: &&&Value| {
        let since = object::condition(pod, "Ready")
            .and_then(|condition| condition["lastTransitionTime"].as_str())
            .and_then(time::seconds);
        rest == 0 || since.zip(time::seconds(now)).is_some_and(|(since, now)| now - since >= rest)
    };
    let ready: Vec<&&Value> = active.iter().filter(|pod| object::is_true(pod, "Ready")).collect();
    let available = ready.iter().copied().filter(|pod| is_available(pod)).count();
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    let labelled =
        active.iter().filter(|pod| selector::includes(labels, &pod["metadata"]["labels"])).count();
    let mut status = json!({
        "observedGeneration": object::generation(set), "replicas": active.len(),
    });
    for (field, number) in [
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", ready.len()),
        ("availableReplicas", available),
    ] {
        if number > 0 {
            status[field] = number.into();
        }
    }
    status
}

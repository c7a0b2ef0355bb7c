//! What the controllers that make pods have in common: claiming pods, making new ones.

use serde_json::{Value, json};
use weft_api::selector;

use crate::{object, time, write::Write};

/// Whether a pod has ended and will not run again.
pub fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// The most pods of one owner that are made and do not run yet.
///
/// Kubernetes' burst for one step. Here what was made before counts too: a number of
/// replicas is a few bytes, and this process holds the pods.
const BURST: usize = 500;

/// How many pods an owner may make now, that has these and lacks `missing`.
pub fn room(active: &[&Value], missing: u64) -> usize {
    let starting = active.iter().filter(|pod| pod["status"]["phase"] != "Running").count();
    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
    missing.min(BURST.saturating_sub(starting))
}

/// The pods of an owner, and the writes that adopt and release some.
#[derive(Debug)]
pub struct Claim<'p> {
    /// The pods that the owner controls, with those that it adopts now.
    pub own: Vec<&'p Value>,
    /// The writes, before all others.
    pub writes: Vec<Write>,
}

/// The pods that `owner` controls or adopts; `None` when it is being deleted, and its pods
/// are left to garbage collection.
///
/// `pods` are those of its namespace. Terminating ones are neither adopted nor released.
pub fn claim<'p>(owner: &Value, pods: &[&'p Value]) -> Option<Claim<'p>> {
    if object::is_terminating(owner) {
        return None;
    }
    let (mut own, mut writes) = (Vec::new(), Vec::new());
    for pod in pods.iter().copied() {
        let fits = selector::matches(&owner["spec"]["selector"], &pod["metadata"]["labels"]);
        let is_own = object::is_controlled_by(pod, owner);
        let ends = object::is_terminating(pod);
        match (object::controller(pod).is_some(), is_own, fits) {
            (_, true, true) => own.push(pod),
            (_, true, false) if !ends => writes.push(Write::Update(released(owner, pod))),
            (false, _, true) if !ends && !is_over(pod) => {
                writes.push(Write::Update(adopted(owner, pod)));
                own.push(pod);
            }
            _ => {}
        }
    }
    Some(Claim { own, writes })
}

fn released(owner: &Value, pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(owners) = pod["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|one| one["uid"] != owner["metadata"]["uid"]);
    }
    pod
}

fn adopted(owner: &Value, pod: &Value) -> Value {
    let mut pod = pod.clone();
    let reference = object::controller_reference(owner);
    match pod["metadata"]["ownerReferences"].as_array_mut() {
        Some(owners) => owners.push(reference),
        None => pod["metadata"]["ownerReferences"] = json!([reference]),
    }
    pod
}

/// A pod from the template of its owner, under a name.
pub fn from_template(owner: &Value, name: &str) -> Value {
    let template = &owner["spec"]["template"];
    let mut metadata = json!({
        "name": name, "generateName": format!("{}-", object::name(owner)),
        "namespace": object::namespace(owner),
        "labels": template["metadata"]["labels"],
        "ownerReferences": [object::controller_reference(owner)],
    });
    for field in ["annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Whether a pod has been ready for as long as its owner wants.
pub fn is_available(pod: &Value, rest: i64, now: &str) -> bool {
    let since = object::condition(pod, "Ready")
        .and_then(|condition| condition["lastTransitionTime"].as_str())
        .and_then(time::seconds);
    object::is_true(pod, "Ready")
        && (rest == 0
            || since.zip(time::seconds(now)).is_some_and(|(since, now)| now - since >= rest))
}

/// The write of a status, if it is another one.
pub fn told(owner: &Value, status: Value) -> Option<Write> {
    (status != owner["status"]).then(|| {
        let mut told = owner.clone();
        told["status"] = status;
        Write::Status(told)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_made_as_fast_as_they_start_to_run() {
        let (waiting, running) = (json!({}), json!({"status": {"phase": "Running"}}));
        assert_eq!(room(&[], u64::MAX), 500);
        assert_eq!(room(&[&waiting; 500], u64::MAX), 0);
        assert_eq!(room(&[&waiting; 600], 1), 0);
        assert_eq!(room(&[&running; 600], 1_000), 500);
        assert_eq!(room(&[&waiting; 3], 2), 2);
    }
}

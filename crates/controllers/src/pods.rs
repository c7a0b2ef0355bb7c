//! What makers of pods have in common: taking in their pods, making new ones.

use serde_json::{Value, json};

use crate::{object, selector, time, write::Write};

/// Whether a pod has ended and will not run again.
pub fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// The pods that `owner` controls or takes in, and the writes that this needs.
///
/// `pods` are those of its namespace. Terminating ones are taken as they are.
pub fn claim<'p>(owner: &Value, pods: &[&'p Value], writes: &mut Vec<Write>) -> Vec<&'p Value> {
    let mut own = Vec::new();
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
    own
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

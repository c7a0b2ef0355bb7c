//! ReplicaSet → pods: as many as wanted, the least useful ones go first.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use weft_api::selector;

use crate::{
    object,
    pods::{self, Claim},
    write::Write,
};

/// What a ReplicaSet and its pods are to become.
///
/// Makes no more pods at once than [`pods::room`] allows; their changes lead to the next
/// step. `pods` are those of its namespace; `suffix` gives the random end of a new name.
pub fn step(
    set: &Value,
    pods: &[&Value],
    now: &str,
    suffix: &mut dyn FnMut() -> String,
) -> Vec<Write> {
    let Some(Claim { own: mut active, mut writes }) = pods::claim(set, pods) else {
        return Vec::new();
    };
    active.retain(|pod| !object::is_terminating(pod) && !pods::is_over(pod));
    let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let missing = wanted.saturating_sub(active.len()) as u64;
    for _ in 0..pods::room(&active, missing) {
        let name = format!("{}-{}", object::name(set), suffix());
        writes.push(Write::Create(pods::from_template(set, &name)));
    }
    if active.len() > wanted {
        let mut by_use = active.clone();
        by_use.sort_by_key(|pod| usefulness(pod));
        let surplus = active.len() - wanted;
        writes.extend(by_use.into_iter().take(surplus).map(|pod| Write::Delete(pod.clone())));
    }
    writes.extend(pods::told(set, status(set, &active, now)));
    writes
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

fn status(set: &Value, active: &[&Value], now: &str) -> Value {
    let rest = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let ready: Vec<&&Value> = active.iter().filter(|pod| object::is_true(pod, "Ready")).collect();
    let available = ready.iter().filter(|pod| pods::is_available(pod, rest, now)).count();
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

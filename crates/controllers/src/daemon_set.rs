//! DaemonSet → one pod on each node that fits.

use serde_json::{Value, json};
use weft_api::selector;

use crate::{
    object,
    pods::{self, Claim},
    stateful_set::REVISION,
    template,
    write::Write,
};

/// What a DaemonSet and its pods are to become; `pods` are those of its namespace.
pub fn step(
    set: &Value,
    (pods, nodes): (&[&Value], &[&Value]),
    now: &str,
    suffix: &mut dyn FnMut() -> String,
) -> Vec<Write> {
    let Some(Claim { own, mut writes }) = pods::claim(set, pods) else { return Vec::new() };
    let revision = template::hash(&set["spec"]["template"], 0);
    let places = &set["spec"]["template"]["spec"]["nodeSelector"];
    let (wanted, others): (Vec<&Value>, Vec<&Value>) =
        nodes.iter().partition(|node| selector::includes(places, &node["metadata"]["labels"]));
    let is_on = |pod: &Value, node: &Value| pod["spec"]["nodeName"] == object::name(node);
    let mut is_updating = own.iter().any(|pod| object::is_terminating(pod));
    for node in &wanted {
        let here: Vec<&&Value> = own.iter().filter(|pod| is_on(pod, node)).collect();
        if here.is_empty() {
            let name = format!("{}-{}", object::name(set), suffix());
            writes.push(Write::Create(pod(set, (&name, object::name(node)), &revision)));
        }
        for pod in here {
            let is_old = object::label(pod, REVISION) != Some(&revision)
                && set["spec"]["updateStrategy"]["type"] != "OnDelete";
            let goes = pods::is_over(pod) || is_old && !is_updating;
            if goes && !object::is_terminating(pod) {
                is_updating = true;
                writes.push(Write::Delete(Value::clone(pod)));
            }
        }
    }
    for pod in &own {
        if others.iter().any(|node| is_on(pod, node)) && !object::is_terminating(pod) {
            writes.push(Write::Delete((*pod).clone()));
        }
    }
    let rest = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let count = |test: &dyn Fn(&Value) -> bool| own.iter().filter(|pod| test(pod)).count();
    let available = count(&|pod| pods::is_available(pod, rest, now));
    let mut status = json!({
        "observedGeneration": object::generation(set),
        "desiredNumberScheduled": wanted.len(),
        "currentNumberScheduled": own.len().min(wanted.len()),
        "numberMisscheduled": 0,
        "numberReady": count(&|pod| object::is_true(pod, "Ready")),
        "numberAvailable": available,
        "updatedNumberScheduled": count(&|pod| object::label(pod, REVISION) == Some(&revision)),
    });
    if available < wanted.len() {
        status["numberUnavailable"] = (wanted.len() - available).into();
    }
    writes.extend(pods::told(set, status));
    writes
}

fn pod(set: &Value, (name, node): (&str, &str), revision: &str) -> Value {
    let mut pod = pods::from_template(set, name);
    pod["metadata"]["labels"][REVISION] = revision.into();
    pod["spec"]["nodeName"] = node.into();
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "log", "namespace": "n", "uid": "u"},
            "spec": {"selector": {"matchLabels": {"app": "log"}},
                     "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": []}}}})
    }

    fn run(set: &Value, pods: &[&Value], nodes: &[&Value]) -> Vec<Write> {
        let writes = step(set, (pods, nodes), "2026-01-01T00:00:00Z", &mut || "abcde".into());
        writes.into_iter().filter(|write| !matches!(write, Write::Status(_))).collect()
    }

    #[test]
    fn each_node_has_one_pod() {
        let (set, node) = (set(), json!({"metadata": {"name": "weft", "labels": {"os": "linux"}}}));
        let writes = run(&set, &[], &[&node]);
        let [Write::Create(made)] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!((object::name(made), &made["spec"]["nodeName"]), ("log-abcde", &json!("weft")));
        assert_eq!(run(&set, &[made], &[&node]), []);
        let mut newer = set.clone();
        newer["spec"]["template"]["spec"]["hostname"] = "x".into();
        assert_eq!(run(&newer, &[made], &[&node]), [Write::Delete(made.clone())]);
        let mut elsewhere = set.clone();
        elsewhere["spec"]["template"]["spec"]["nodeSelector"] = json!({"os": "other"});
        assert_eq!(run(&elsewhere, &[], &[&node]), []);
    }
}

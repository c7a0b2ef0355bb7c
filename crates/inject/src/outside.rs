//! Namespaces whose pods get no sidecars because nothing asks for one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{Decision, Namespace, Settings, decide, pod_of};

/// The namespaces of pods and workloads among `objects` that would get a sidecar if
/// their namespace had the label for it, and do not have it for that reason alone.
///
/// `namespaces` are the namespaces as they are; an object that names none is in
/// `default`, the argument.
pub fn outside<'v>(
    objects: impl IntoIterator<Item = &'v Value>,
    namespaces: &[Value],
    default: &str,
) -> BTreeSet<String> {
    let settings = Settings::default();
    let mut found = BTreeSet::new();
    for object in objects {
        let Some(pod) = pod_of(object) else { continue };
        let name = object.pointer("/metadata/namespace").and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty()).unwrap_or(default);
        let actual = described(name, namespaces);
        let is_labelled = ["istio-injection", "istio.io/rev"]
            .iter()
            .any(|label| actual.labels.contains_key(*label));
        if found.contains(name)
            || is_labelled
            || decide(pod, &actual, &settings) == Decision::Inject
        {
            continue;
        }
        let mut asking = actual;
        asking.labels.insert("istio-injection".to_owned(), "enabled".to_owned());
        if decide(pod, &asking, &settings) == Decision::Inject {
            found.insert(name.to_owned());
        }
    }
    found
}

fn described(name: &str, namespaces: &[Value]) -> Namespace {
    let described = namespaces.iter().find(|one| one["metadata"]["name"] == name);
    let labels = described.and_then(|one| one["metadata"]["labels"].as_object());
    let labels = labels.into_iter().flatten();
    Namespace {
        name: name.to_owned(),
        labels: labels
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `namespace` and `pod` are the labels of a namespace and of a pod in it.
    #[track_caller]
    fn check(namespace: Value, pod: Value, expected: &[&str]) {
        let namespaces = [json!({"metadata": {"name": "shop", "labels": namespace}})];
        let deployment = json!({
            "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"metadata": {"labels": pod}, "spec": {}}},
        });
        let service = json!({"kind": "Service", "metadata": {"name": "web", "namespace": "x"}});
        let found = outside([&deployment, &service], &namespaces, "shop");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_namespace_without_a_label_is_found() {
        check(json!({}), json!({}), &["shop"]);
        check(json!(null), json!({"app": "web"}), &["shop"]);
    }

    #[test]
    fn a_choice_is_not_questioned() {
        check(json!({"istio-injection": "enabled"}), json!({}), &[]);
        check(json!({"istio-injection": "disabled"}), json!({}), &[]);
        check(json!({"istio.io/rev": "other"}), json!({}), &[]);
        check(json!({}), json!({"sidecar.istio.io/inject": "true"}), &[]);
        check(json!({}), json!({"sidecar.istio.io/inject": "false"}), &[]);
    }
}

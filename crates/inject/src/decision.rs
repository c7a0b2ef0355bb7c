//! Whether a pod gets a sidecar.
//!
//! First the selectors of Istio's webhooks, which look at the namespace and
//! the pod's labels; then what its injector asks of a pod that was selected.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_api::selector;

use crate::{Policy, Settings};

/// Namespaces of the cluster itself, where nothing is injected.
const IGNORED: &[&str] = &["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// The label, and the older annotation, by which a pod chooses for itself.
const INJECT: &str = "sidecar.istio.io/inject";

/// The annotation by which a pod chooses templates, and the one that is served.
const TEMPLATES: &str = "inject.istio.io/templates";
const TEMPLATE: &str = "sidecar";

/// The label by which a namespace or a pod chooses a control plane.
const REVISION: &str = "istio.io/rev";

/// What is known of a pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Whether a pod gets a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It does.
    Inject,
    /// It does not, for this reason.
    Skip(String),
    /// What it asks for cannot be done, and it must not run without.
    Refuse(String),
}

/// Decides about `pod` in `namespace`, as Istio's webhooks and injector together do.
pub fn decide(pod: &Value, namespace: &Namespace, settings: &Settings) -> Decision {
    match select(pod, namespace, settings) {
        Decision::Inject => require(pod, &namespace.name, settings),
        other => other,
    }
}

/// Decides about a pod that a user wants to have injected, whatever its namespace is labelled.
pub(crate) fn require(pod: &Value, namespace: &str, settings: &Settings) -> Decision {
    if pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        return skip("the pod uses the node's network");
    }
    if IGNORED.contains(&namespace) {
        return skip(format!("namespace {namespace} belongs to the cluster"));
    }
    let own = [("label", "labels"), ("annotation", "annotations")]
        .into_iter()
        .find_map(|(word, place)| Some((word, metadata(pod, place, INJECT)?)));
    let labels = &pod["metadata"]["labels"];
    let selected = |selectors: &[Value]| selectors.iter().any(|one| selector::matches(one, labels));
    match (own, settings.policy) {
        (Some((_, "true" | "y" | "yes" | "on")), _) => with_template(pod),
        (Some((word, value)), _) => skip(format!("the pod has the {word} {INJECT}={value}")),
        (None, _) if selected(&settings.never) => {
            skip("the mesh's neverInjectSelector selects the pod")
        }
        (None, _) if selected(&settings.always) => with_template(pod),
        (None, Policy::Enabled) => with_template(pod),
        (None, Policy::Disabled) => skip("the mesh injects only pods that ask for it"),
    }
}

/// An injection, if the templates that the pod asks for are served.
fn with_template(pod: &Value) -> Decision {
    let asked = metadata(pod, "annotations", TEMPLATES).unwrap_or(TEMPLATE);
    let other = asked.split(',').map(str::trim).find(|name| !name.is_empty() && *name != TEMPLATE);
    match other {
        None => Decision::Inject,
        Some(name) => Decision::Refuse(format!(
            "the pod asks for template `{name}` ({TEMPLATES}), and only `{TEMPLATE}` is served; \
             remove the annotation"
        )),
    }
}

/// The selectors of the webhooks.
fn select(pod: &Value, namespace: &Namespace, settings: &Settings) -> Decision {
    let own = metadata(pod, "labels", INJECT);
    if own == Some("false") {
        return skip(format!("the pod has the label {INJECT}=false"));
    }
    match namespace.labels.get("istio-injection").map(String::as_str) {
        Some("enabled") => return Decision::Inject,
        Some(other) => return skip(format!("the namespace is labelled istio-injection={other}")),
        None => {}
    }
    let revision = namespace.labels.get(REVISION).map(String::as_str);
    match revision.or_else(|| metadata(pod, "labels", REVISION)) {
        Some(revision) if revision == settings.revision => return Decision::Inject,
        Some(revision) => return skip(format!("revision {revision} is asked for")),
        None => {}
    }
    match (own, settings.unlabelled) {
        (Some("true"), _) | (_, Policy::Enabled) => Decision::Inject,
        _ => skip("neither the namespace (istio-injection=enabled) nor the pod asks for it"),
    }
}

fn metadata<'a>(pod: &'a Value, place: &str, name: &str) -> Option<&'a str> {
    pod.get("metadata")?.get(place)?.get(name)?.as_str()
}

fn skip(reason: impl Into<String>) -> Decision {
    Decision::Skip(reason.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `namespace` and `pod` are labels as `a=b,c=d`; `expected` is `inject` or part of the reason.
    #[track_caller]
    fn check(namespace: &str, pod: &str, expected: &str) {
        let labels = |text: &str| -> BTreeMap<String, String> {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let pod = json!({"metadata": {"labels": labels(pod)}, "spec": {}});
        check_pod(&pod, namespace, expected);
    }

    #[track_caller]
    fn check_pod(pod: &Value, namespace: &str, expected: &str) {
        let labels = namespace
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let namespace = Namespace { name: "shop".to_owned(), labels };
        match decide(pod, &namespace, &Settings::default()) {
            Decision::Inject => assert_eq!("inject", expected),
            Decision::Skip(reason) | Decision::Refuse(reason) => {
                assert!(reason.contains(expected), "{reason}");
            }
        }
    }

    #[test]
    fn a_labelled_namespace_is_injected() {
        check("istio-injection=enabled", "", "inject");
        check("istio.io/rev=default", "", "inject");
        check("istio-injection=enabled,istio.io/rev=other", "", "inject");
    }

    #[test]
    fn an_unlabelled_namespace_is_left_alone_unless_the_pod_asks() {
        check("", "app=cart", "neither");
        check("", "sidecar.istio.io/inject=true", "inject");
        check("", "istio.io/rev=default", "inject");
        check("istio-injection=disabled", "sidecar.istio.io/inject=true", "disabled");
        check("istio.io/rev=canary", "", "canary");
    }

    #[test]
    fn a_pod_can_refuse() {
        check("istio-injection=enabled", "sidecar.istio.io/inject=false", "label");
        let annotated = json!({"metadata": {"annotations": {INJECT: "false"}}, "spec": {}});
        check_pod(&annotated, "istio-injection=enabled", "annotation");
    }

    #[test]
    fn a_template_that_is_not_served_is_refused_not_left_out() {
        let asking = |name: &str| json!({"metadata": {"annotations": {TEMPLATES: name}}});
        check_pod(&asking("sidecar"), "istio-injection=enabled", "inject");
        check_pod(&asking("sidecar,own"), "istio-injection=enabled", "`own`");
        check_pod(&asking("gateway"), "istio-injection=enabled", "only `sidecar` is served");
        check_pod(&asking("gateway"), "", "neither");
    }

    #[test]
    fn the_meshs_selectors_count_where_the_pod_says_nothing() {
        let settings = Settings {
            policy: Policy::Disabled,
            always: vec![json!({"matchLabels": {"mesh": "yes"}})],
            never: vec![json!({"matchExpressions": [{"key": "batch", "operator": "Exists"}]})],
            ..Settings::default()
        };
        let decision =
            |labels: Value| require(&json!({"metadata": {"labels": labels}}), "shop", &settings);
        assert_eq!(decision(json!({"mesh": "yes"})), Decision::Inject);
        assert!(matches!(decision(json!({"mesh": "yes", "batch": ""})), Decision::Skip(_)));
        assert!(matches!(decision(json!({})), Decision::Skip(_)));
        assert_eq!(decision(json!({"batch": "", INJECT: "true"})), Decision::Inject);
    }

    #[test]
    fn the_nodes_network_and_the_clusters_namespaces_are_never_injected() {
        let host = json!({"metadata": {"labels": {INJECT: "true"}}, "spec": {"hostNetwork": true}});
        check_pod(&host, "istio-injection=enabled", "node's network");
        let system = require(&json!({}), "kube-system", &Settings::default());
        assert_eq!(system, skip("namespace kube-system belongs to the cluster"));
    }
}

//! Workloads that the laptop does not run, and kinds that are not honoured: what files
//! say about them is not passed over in silence.

use serde_json::{Value, json};
use weft_controllers::{expand::MOST_PODS, object, pods::from_template};
use weft_manifest::Document;

use crate::explanation::Ignored;

/// The pods of a StatefulSet, ReplicaSet, DaemonSet or Job when everything runs; none for
/// other kinds. A DaemonSet has one, for one node.
pub(crate) fn pods(written: &Value) -> Option<Vec<Value>> {
    let kind = object::kind(written);
    let group = written["apiVersion"].as_str()?.split('/').next()?;
    let count = match (group, kind) {
        ("apps" | "extensions", "StatefulSet" | "ReplicaSet") => {
            written["spec"]["replicas"].as_u64().unwrap_or(1).min(MOST_PODS)
        }
        ("apps" | "extensions", "DaemonSet") | ("batch", "Job") => 1,
        _ => return None,
    };
    let Some(set) = usable(written) else { return Some(Vec::new()) };
    let first = match kind {
        "StatefulSet" => written["spec"]["ordinals"]["start"].as_u64().unwrap_or(0),
        _ => 0,
    };
    let pods = (first..first.saturating_add(count)).map(|number| {
        let name = format!("{}-{number}", object::name(&set));
        let mut pod = from_template(&set, &name);
        if kind == "StatefulSet" {
            pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = name.clone().into();
            pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = number.to_string().into();
            pod["spec"]["hostname"] = name.into();
            pod["spec"]["subdomain"] = written["spec"]["serviceName"].clone();
        }
        pod
    });
    Some(pods.collect())
}

/// The workload with what can be used of its template, judged as a Deployment's is.
fn usable(written: &Value) -> Option<Value> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": written["metadata"],
        "spec": { "template": written["spec"]["template"] },
    });
    let mut set = weft_api::usable(&deployment)?;
    set["apiVersion"] = written["apiVersion"].clone();
    set["kind"] = written["kind"].clone();
    if object::name(&set).is_empty() || !set["spec"]["template"]["spec"].is_object() {
        return None;
    }
    if object::namespace(&set).is_empty() {
        set["metadata"]["namespace"] = "default".into();
    }
    if !set["spec"]["template"]["metadata"]["labels"].is_object() {
        set["spec"]["template"]["metadata"]["labels"] = json!({});
    }
    Some(set)
}

/// An object of a kind that decides about traffic in Istio or Kubernetes, and does not here.
pub(crate) fn ignored(written: &Value, document: &Document) -> Option<Ignored> {
    let group = written["apiVersion"].as_str()?.split('/').next()?;
    let decides = group.ends_with(".istio.io")
        || group == "istio.io"
        || matches!(group, "gateway.networking.k8s.io" | "networking.k8s.io");
    let kind = Some(object::kind(written)).filter(|kind| decides && !kind.is_empty())?;
    let namespace = match object::namespace(written) {
        "" => "default",
        namespace => namespace,
    };
    Some(Ignored {
        object: format!("{kind}/{namespace}/{}", object::name(written)),
        source: document.locate("").map(|place| place.to_string()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_a_stateful_set_are_numbered_and_have_names_of_their_own() {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {"serviceName": "db", "replicas": 2, "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db"}]},
            }},
        });
        let pods = pods(&set).unwrap();
        let names: Vec<_> = pods.iter().map(object::name).collect();
        assert_eq!(names, ["db-0", "db-1"]);
        assert_eq!(pods[1]["spec"]["hostname"], "db-1");
        assert_eq!(pods[1]["spec"]["subdomain"], "db");
        assert_eq!(object::label(&pods[1], "app"), Some("db"));
    }

    #[test]
    fn a_workload_without_a_template_has_no_pods_and_is_no_reason_to_stop() {
        for spec in [json!(null), json!("x"), json!({"template": []})] {
            let set = json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"},
                "spec": spec,
            });
            assert_eq!(pods(&set), Some(Vec::new()));
        }
        assert_eq!(pods(&json!({"apiVersion": "v1", "kind": "Service"})), None);
    }
}

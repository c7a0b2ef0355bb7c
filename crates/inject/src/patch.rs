//! The patch that gives a pod its sidecar.

use json_patch::Patch;
use serde_json::{Value, json};

use crate::{
    Owner, Settings,
    annotations::Annotations,
    capture,
    edits::Edits,
    probes,
    sidecar::{self, Around},
    volumes,
};

/// The annotation that says that a pod has been injected, and with what.
const STATUS: &str = "sidecar.istio.io/status";

/// What has to be done to `pod` (its `metadata` and `spec`) in `namespace` to give it a sidecar.
///
/// Empty when it has one already, and when the pod is not a pod: when what should be a list or a
/// map is something else. The patch can always be applied to `pod`.
pub fn patch(pod: &Value, owner: &Owner, namespace: &str, settings: &Settings) -> Patch {
    let mut edits = Edits::new(pod);
    if !well_formed(pod) || injected(pod) {
        return edits.finish();
    }
    let annotations = Annotations::of(pod);
    let native =
        annotations.flag("sidecar.istio.io/nativeSidecar").unwrap_or(settings.native_sidecar);
    let first = annotations.proxy_config_has("holdApplicationUntilProxyStarts");
    let rewrites = annotations.flag("sidecar.istio.io/rewriteAppHTTPProbers").unwrap_or(true);
    // Probes are rewritten by their position, so before anything moves them.
    let probes = match rewrites {
        true => probes::rewrite(pod, &mut edits),
        false => serde_json::Map::new(),
    };

    let capture = capture::container(annotations, settings);
    let sidecar = sidecar::container(Around { pod, owner, namespace, probes, native }, settings);
    let (init, containers) = (&["spec", "initContainers"], &["spec", "containers"]);
    match (native, first) {
        (true, _) => edits.prepend(init, [capture, sidecar]),
        (false, true) => {
            edits.append(init, [capture]);
            edits.prepend(containers, [sidecar]);
        }
        (false, false) => {
            edits.append(init, [capture]);
            edits.append(containers, [sidecar]);
        }
    }
    let volumes = volumes::volumes(annotations);
    let names = volumes.iter().map(|volume| volume["name"].clone()).collect();
    edits.append(&["spec", "volumes"], volumes);
    label(pod, owner, &mut edits);
    annotate(pod, &status(names, native, settings), settings, &mut edits);
    edits.finish()
}

/// Whether what will be added to is what it should be.
fn well_formed(pod: &Value) -> bool {
    let maps = ["/metadata", "/metadata/labels", "/metadata/annotations"];
    let lists = ["/spec/containers", "/spec/initContainers", "/spec/volumes"];
    let holds = |path: &str, is: fn(&Value) -> bool| {
        pod.pointer(path).is_none_or(|value| value.is_null() || is(value))
    };
    pod.get("spec").is_some_and(Value::is_object)
        && maps.iter().all(|path| holds(path, Value::is_object))
        && lists.iter().all(|path| holds(path, Value::is_array))
}

/// Whether the pod has a sidecar already.
fn injected(pod: &Value) -> bool {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let containers = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    Annotations::of(pod).text(STATUS).is_some()
        || containers.into_iter().any(|container| container["name"] == sidecar::NAME)
}

fn label(pod: &Value, owner: &Owner, edits: &mut Edits<'_>) {
    let labels = ["metadata", "labels"];
    let first = |names: [&str; 2]| {
        let own = pod.pointer("/metadata/labels");
        names.iter().find_map(|name| own?.get(name)?.as_str())
    };
    let name = first(["app.kubernetes.io/name", "app"]).unwrap_or(&owner.name);
    let revision = first(["app.kubernetes.io/version", "version"]).unwrap_or("latest");
    edits.fill(&labels, "security.istio.io/tlsMode", "istio");
    if !name.is_empty() {
        edits.fill(&labels, "service.istio.io/canonical-name", name);
    }
    edits.fill(&labels, "service.istio.io/canonical-revision", revision);
}

fn annotate(pod: &Value, status: &str, settings: &Settings, edits: &mut Edits<'_>) {
    let annotations = Annotations::of(pod);
    let place = ["metadata", "annotations"];
    edits.fill(&place, "istio.io/rev", settings.revision.as_str());
    let first = pod.pointer("/spec/containers/0/name").and_then(Value::as_str);
    if let Some(first) = first {
        let chosen = annotations.text("kubectl.kubernetes.io/default-container").unwrap_or(first);
        edits.fill(&place, "kubectl.kubernetes.io/default-container", chosen);
        edits.fill(&place, "kubectl.kubernetes.io/default-logs-container", chosen);
    }
    let merged = annotations.flag("prometheus.istio.io/merge-metrics").unwrap_or(true);
    if merged && annotations.text("prometheus.io/scrape") != Some("false") {
        edits.set(&place, "prometheus.io/scrape", "true");
        edits.set(&place, "prometheus.io/port", "15020");
        edits.set(&place, "prometheus.io/path", "/stats/prometheus");
    }
    edits.set(&place, STATUS, status);
}

fn status(volumes: Vec<Value>, native: bool, settings: &Settings) -> String {
    let (init, containers) = match native {
        true => (json!([capture::NAME, sidecar::NAME]), Value::Null),
        false => (json!([capture::NAME]), json!([sidecar::NAME])),
    };
    json!({
        "initContainers": init,
        "containers": containers,
        "volumes": Value::Array(volumes),
        "imagePullSecrets": null,
        "revision": settings.revision,
    })
    .to_string()
}

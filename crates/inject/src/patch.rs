//! The patch that gives a pod its sidecar.

use json_patch::Patch;
use serde_json::{Value, json};

use crate::{
    Owner, Settings,
    annotations::Annotations,
    capture,
    edits::Edits,
    own_container, probes,
    proxy_config::ProxyConfig,
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
    let config = ProxyConfig::of(annotations, settings);
    let own = own_container::find(pod);
    let native = annotations.flag("sidecar.istio.io/nativeSidecar");
    // A pod needs a container beside its init containers.
    let native = native.unwrap_or(settings.native_sidecar) && !is_alone(pod);
    let first = config.holds_application();
    let rewrites = annotations.flag("sidecar.istio.io/rewriteAppHTTPProbers");
    // Probes are rewritten by their position, so before anything moves them.
    let probes = match config.status_port() {
        Some(port) if rewrites.unwrap_or(settings.rewrite_probes) => {
            probes::rewrite(pod, port, &mut edits)
        }
        _ => serde_json::Map::new(),
    };

    let capture = capture::container(annotations, &config, settings);
    let around = Around { pod, owner, namespace, probes, native, config: &config };
    let mut sidecar = sidecar::container(around, settings);
    if let Some(own) = own {
        sidecar = own_container::merge(sidecar, own.container);
        edits.remove(&["spec", own.list, &own.index.to_string()]);
    }
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
    let secrets = settings.image_pull_secrets.iter().map(|name| json!({"name": name}));
    if !settings.image_pull_secrets.is_empty() {
        edits.append(&["spec", "imagePullSecrets"], secrets);
    }
    label(pod, owner, &mut edits);
    annotate(pod, &config, settings, &mut edits);
    let place = ["metadata", "annotations"];
    edits.set(&place, STATUS, status(names, native, settings));
    edits.finish()
}

/// Whether the pod has nothing but a container that is to be the sidecar.
fn is_alone(pod: &Value) -> bool {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    containers.is_some_and(|all| all.len() == 1 && all[0]["name"] == sidecar::NAME)
}

/// Whether what will be added to is what it should be.
fn well_formed(pod: &Value) -> bool {
    let maps = ["/metadata", "/metadata/labels", "/metadata/annotations"];
    let lists =
        ["/spec/containers", "/spec/initContainers", "/spec/volumes", "/spec/imagePullSecrets"];
    let holds = |path: &str, is: fn(&Value) -> bool| {
        pod.pointer(path).is_none_or(|value| value.is_null() || is(value))
    };
    pod.get("spec").is_some_and(Value::is_object)
        && maps.iter().all(|path| holds(path, Value::is_object))
        && lists.iter().all(|path| holds(path, Value::is_array))
}

/// Whether the pod has a sidecar already; a container of its name that leaves its image to the
/// injector is not one.
fn injected(pod: &Value) -> bool {
    Annotations::of(pod).text(STATUS).is_some()
        || own_container::find(pod).is_some_and(|own| !own.leaves_image_open())
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

fn annotate(pod: &Value, config: &ProxyConfig, settings: &Settings, edits: &mut Edits<'_>) {
    let annotations = Annotations::of(pod);
    let place = ["metadata", "annotations"];
    edits.fill(&place, "istio.io/rev", settings.revision.as_str());
    for (name, value) in &settings.annotations {
        edits.fill(&place, name, value.clone());
    }
    let first = sidecar::names(pod).into_iter().next();
    if let Some(first) = first {
        let chosen = annotations.text("kubectl.kubernetes.io/default-container").unwrap_or(first);
        edits.fill(&place, "kubectl.kubernetes.io/default-container", chosen);
        edits.fill(&place, "kubectl.kubernetes.io/default-logs-container", chosen);
    }
    let merged = annotations.flag("prometheus.istio.io/merge-metrics");
    if let Some(port) = config.status_port()
        && merged.unwrap_or(settings.merge_metrics)
        && annotations.text("prometheus.io/scrape") != Some("false")
    {
        edits.set(&place, "prometheus.io/scrape", "true");
        edits.set(&place, "prometheus.io/port", port.to_string());
        edits.set(&place, "prometheus.io/path", "/stats/prometheus");
    }
}

fn status(volumes: Vec<Value>, native: bool, settings: &Settings) -> String {
    let (init, containers) = match native {
        true => (json!([capture::NAME, sidecar::NAME]), Value::Null),
        false => (json!([capture::NAME]), json!([sidecar::NAME])),
    };
    let secrets = match settings.image_pull_secrets.as_slice() {
        [] => Value::Null,
        names => json!(names),
    };
    json!({
        "initContainers": init,
        "containers": containers,
        "volumes": Value::Array(volumes),
        "imagePullSecrets": secrets,
        "revision": settings.revision,
    })
    .to_string()
}

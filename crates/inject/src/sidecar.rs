//! The container `istio-proxy`.

use serde_json::{Map, Value, json};

use crate::{Owner, Settings, annotations::Annotations, volumes};

/// Name of the container.
pub(crate) const NAME: &str = "istio-proxy";

/// The user that the sidecar runs as, whose traffic is not captured.
const USER: u32 = 1337;

/// What the sidecar has to know of the pod around it.
pub(crate) struct Around<'a> {
    pub pod: &'a Value,
    pub owner: &'a Owner,
    pub namespace: &'a str,
    pub probes: Map<String, Value>,
    pub native: bool,
}

/// The container.
pub(crate) fn container(around: Around<'_>, settings: &Settings) -> Value {
    let annotations = Annotations::of(around.pod);
    let mut container = json!({
        "name": NAME,
        "image": annotations.text_or("sidecar.istio.io/proxyImage", &settings.image),
        "args": arguments(annotations, settings),
        "env": environment(&around, settings),
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
        "resources": resources(annotations, settings),
        "readinessProbe": readiness(annotations),
        "startupProbe": {
            "httpGet": {"path": "/healthz/ready", "port": 15021},
            "failureThreshold": 600,
            "periodSeconds": 1,
            "timeoutSeconds": 3,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
        },
        "volumeMounts": volumes::mounts(annotations),
    });
    if around.native {
        container["restartPolicy"] = "Always".into();
    }
    container
}

fn arguments(annotations: Annotations<'_>, settings: &Settings) -> Vec<String> {
    let option = |name: &str, annotation: &str, otherwise: &str| {
        let value = annotations.text(&format!("sidecar.istio.io/{annotation}"));
        format!("--{name}={}", value.unwrap_or(otherwise))
    };
    vec![
        "proxy".to_owned(),
        "sidecar".to_owned(),
        "--domain".to_owned(),
        format!("$(POD_NAMESPACE).svc.{}", settings.cluster_domain),
        option("proxyLogLevel", "logLevel", "warning"),
        option("proxyComponentLogLevel", "componentLogLevel", "misc:error"),
        option("log_output_level", "agentLogLevel", "default:info"),
    ]
}

fn environment(around: &Around<'_>, settings: &Settings) -> Vec<Value> {
    let annotations = Annotations::of(around.pod);
    let discovery =
        annotations.text_or("sidecar.istio.io/discoveryAddress", &settings.discovery_address);
    let text = |name: &str, value: &str| json!({"name": name, "value": value});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut environment = vec![
        text("PILOT_CERT_PROVIDER", "istiod"),
        text("CA_ADDR", &discovery),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("INSTANCE_IP", "status.podIP"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("HOST_IP", "status.hostIP"),
        json!({"name": "ISTIO_CPU_LIMIT", "valueFrom": {
            "resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"},
        }}),
        text("PROXY_CONFIG", annotations.text("proxy.istio.io/config").unwrap_or("{}")),
        text("ISTIO_META_POD_PORTS", &ports(around.pod)),
        text("ISTIO_META_APP_CONTAINERS", &names(around.pod).join(",")),
        text("ISTIO_META_CLUSTER_ID", &settings.cluster),
        field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        text(
            "ISTIO_META_INTERCEPTION_MODE",
            annotations.text("sidecar.istio.io/interceptionMode").unwrap_or("REDIRECT"),
        ),
    ];
    if !around.owner.name.is_empty() {
        environment.push(text("ISTIO_META_WORKLOAD_NAME", &around.owner.name));
        environment.push(text("ISTIO_META_OWNER", &around.owner.address(around.namespace)));
    }
    environment.push(text("ISTIO_META_MESH_ID", &settings.mesh));
    environment.push(text("TRUST_DOMAIN", &settings.trust_domain));
    if !around.probes.is_empty() {
        let probes = Value::Object(around.probes.clone()).to_string();
        environment.push(text("ISTIO_KUBE_APP_PROBERS", &probes));
    }
    if let Some(own) = metrics(annotations) {
        environment.push(text("ISTIO_PROMETHEUS_ANNOTATIONS", &own));
    }
    environment
}

/// The application's own metrics, which the sidecar adds to its own.
fn metrics(annotations: Annotations<'_>) -> Option<String> {
    let scrape = annotations.text("prometheus.io/scrape")?;
    let mut own = Map::from_iter([("scrape".to_owned(), scrape.into())]);
    for name in ["path", "port"] {
        if let Some(value) = annotations.text(&format!("prometheus.io/{name}")) {
            own.insert(name.to_owned(), value.into());
        }
    }
    (scrape == "true").then(|| Value::Object(own).to_string())
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten()
}

fn names(pod: &Value) -> Vec<&str> {
    containers(pod).filter_map(|container| container["name"].as_str()).collect()
}

fn ports(pod: &Value) -> String {
    let ports = containers(pod)
        .filter_map(|container| container["ports"].as_array())
        .flatten()
        .map(|port| {
            let kept = ["name", "containerPort", "protocol"];
            let fields =
                kept.iter().filter_map(|name| Some(((*name).into(), port.get(name)?.clone())));
            Value::Object(fields.collect())
        });
    Value::Array(ports.collect()).to_string()
}

fn readiness(annotations: Annotations<'_>) -> Value {
    let number = |name: &str, otherwise: u64| {
        annotations.number_or(&format!("readiness.status.sidecar.istio.io/{name}"), otherwise)
    };
    json!({
        "httpGet": {"path": "/healthz/ready", "port": 15021},
        "initialDelaySeconds": number("initialDelaySeconds", 0),
        "periodSeconds": number("periodSeconds", 15),
        "failureThreshold": number("failureThreshold", 4),
        "timeoutSeconds": 3,
    })
}

/// A pod that names any of the four is given only what it names.
fn resources(annotations: Annotations<'_>, settings: &Settings) -> Value {
    let defaults = &settings.resources;
    let fields = [
        ("requests", "cpu", "proxyCPU", &defaults.cpu),
        ("requests", "memory", "proxyMemory", &defaults.memory),
        ("limits", "cpu", "proxyCPULimit", &defaults.cpu_limit),
        ("limits", "memory", "proxyMemoryLimit", &defaults.memory_limit),
    ];
    let own = |name: &str| annotations.text(&format!("sidecar.istio.io/{name}"));
    let custom = fields.iter().any(|(.., annotation, _)| own(annotation).is_some());
    let mut resources = json!({});
    for (group, resource, annotation, default) in fields {
        match (own(annotation), custom) {
            (Some(value), _) => resources[group][resource] = value.into(),
            (None, false) => resources[group][resource] = default.as_str().into(),
            (None, true) => {}
        }
    }
    resources
}

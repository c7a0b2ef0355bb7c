//! The container `istio-proxy`.

use serde_json::{Map, Value, json};

use crate::{
    Owner, Resources, Settings, annotations::Annotations, proxy_config::ProxyConfig, volumes,
};

/// Name of the container.
pub(crate) const NAME: &str = "istio-proxy";

/// Where it is asked whether it is ready.
const READINESS_PORT: u16 = 15021;

/// The user that the sidecar runs as, whose traffic is not captured.
const USER: u32 = 1337;

/// What the sidecar has to know of the pod around it.
pub(crate) struct Around<'a> {
    pub pod: &'a Value,
    pub owner: &'a Owner,
    pub namespace: &'a str,
    pub probes: Map<String, Value>,
    pub native: bool,
    pub config: &'a ProxyConfig,
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
    if let Some(policy) = &settings.image_pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
    if let Some(lifecycle) = lifecycle(&around, settings) {
        container["lifecycle"] = lifecycle;
    }
    // Without a port for its status it is not asked for it, either.
    if around.config.status_port().is_some() {
        container["readinessProbe"] = readiness(annotations, settings);
        if let Some(failures) = settings.startup_failures {
            container["startupProbe"] = json!({
                "httpGet": {"path": "/healthz/ready", "port": READINESS_PORT},
                "failureThreshold": failures,
                "periodSeconds": 1,
                "timeoutSeconds": 3,
            });
        }
    }
    container
}

/// What is done after its start and before its end.
///
/// A native sidecar has the hook that Istio gives it; the proxy does not serve
/// `/drain` yet, which the hook takes for a success. One that the application waits for says when it is ready.
fn lifecycle(around: &Around<'_>, settings: &Settings) -> Option<Value> {
    let agent = |words: &[&str]| {
        let command = [&["pilot-agent"], words].concat();
        json!({"exec": {"command": command}})
    };
    match (&settings.lifecycle, around.native) {
        (Some(own), _) => Some(own.clone()),
        (None, true) => {
            let port = format!("--debug-port={}", around.config.status_port()?);
            Some(json!({"preStop": agent(&["request", &port, "POST", "drain"])}))
        }
        (None, false) if around.config.holds_application() => {
            Some(json!({"postStart": agent(&["wait"])}))
        }
        (None, false) => None,
    }
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
        option("proxyLogLevel", "logLevel", &settings.log_level),
        option("proxyComponentLogLevel", "componentLogLevel", &settings.component_log_level),
        option("log_output_level", "agentLogLevel", "default:info"),
    ]
}

fn environment(around: &Around<'_>, settings: &Settings) -> Vec<Value> {
    let annotations = Annotations::of(around.pod);
    let discovery = annotations.text("sidecar.istio.io/discoveryAddress");
    let discovery = discovery.or(around.config.discovery_address());
    let discovery = discovery.unwrap_or(&settings.discovery_address);
    let text = |name: &str, value: &str| json!({"name": name, "value": value});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut environment = vec![
        text("PILOT_CERT_PROVIDER", "istiod"),
        text("CA_ADDR", discovery),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("INSTANCE_IP", "status.podIP"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("HOST_IP", "status.hostIP"),
        json!({"name": "ISTIO_CPU_LIMIT", "valueFrom": {
            "resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"},
        }}),
        text("PROXY_CONFIG", &around.config.to_text(settings)),
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
    environment.extend(around.config.metadata().map(|(name, value)| text(name, value)));
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

/// The containers of the application.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let all = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    all.filter(|container| container["name"] != NAME)
}

/// Their names.
pub(crate) fn names(pod: &Value) -> Vec<&str> {
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

fn readiness(annotations: Annotations<'_>, settings: &Settings) -> Value {
    let usual = settings.readiness;
    let number = |name: &str, otherwise: u64| {
        annotations.number_or(&format!("readiness.status.sidecar.istio.io/{name}"), otherwise)
    };
    json!({
        "httpGet": {"path": "/healthz/ready", "port": READINESS_PORT},
        "initialDelaySeconds": number("initialDelaySeconds", usual.initial_delay),
        "periodSeconds": number("periodSeconds", usual.period),
        "failureThreshold": number("failureThreshold", usual.failures),
        "timeoutSeconds": 3,
    })
}

/// A pod that names any of the four is given only what it names.
fn resources(annotations: Annotations<'_>, settings: &Settings) -> Value {
    let own = |name: &str| annotations.text(&format!("sidecar.istio.io/{name}")).map(str::to_owned);
    let own = Resources {
        cpu: own("proxyCPU"),
        memory: own("proxyMemory"),
        cpu_limit: own("proxyCPULimit"),
        memory_limit: own("proxyMemoryLimit"),
    };
    let nothing = Resources { cpu: None, memory: None, cpu_limit: None, memory_limit: None };
    resources_of(if own == nothing { &settings.resources } else { &own })
}

/// As a container has them.
pub(crate) fn resources_of(resources: &Resources) -> Value {
    let fields = [
        ("requests", "cpu", &resources.cpu),
        ("requests", "memory", &resources.memory),
        ("limits", "cpu", &resources.cpu_limit),
        ("limits", "memory", &resources.memory_limit),
    ];
    let mut value = json!({});
    for (group, resource, amount) in fields {
        if let Some(amount) = amount {
            value[group][resource] = amount.as_str().into();
        }
    }
    value
}

//! The ingress gateway that manifests select with `istio: ingressgateway`.
//!
//! Its pod is written out here and not injected, so that it starts beside the
//! control plane and not after it.

use serde_json::{Value, json};

use super::{Settings, field, variable};

const NAME: &str = "istio-ingressgateway";
/// On a laptop the gateway takes its listening sockets from the node, so that a
/// port is open on the host exactly while a Gateway has a server for it.
const HOST_SOCKETS: &str = "weft.internal/host-sockets";
const ACCOUNT: &str = "istio-ingressgateway-service-account";

/// The objects of the ingress gateway.
pub(super) fn objects(settings: &Settings) -> Vec<Value> {
    let metadata = |name: &str| {
        json!({
            "name": name,
            "namespace": settings.namespace,
            "labels": {"app": NAME, "istio": "ingressgateway"},
        })
    };
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(ACCOUNT)}),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(NAME),
            "spec": {
                "type": "LoadBalancer",
                "selector": {"app": NAME, "istio": "ingressgateway"},
                "ports": [
                    {"name": "status-port", "port": 15021, "targetPort": 15021, "protocol": "TCP"},
                    {"name": "http2", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                    {"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"},
                ],
            },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(NAME),
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": NAME, "istio": "ingressgateway"}},
                "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": "25%"}},
                "template": {
                    "metadata": {
                        "labels": {
                            "app": NAME,
                            "istio": "ingressgateway",
                            "istio.io/rev": "default",
                            "service.istio.io/canonical-name": NAME,
                            "service.istio.io/canonical-revision": "latest",
                            "sidecar.istio.io/inject": "false",
                        },
                        "annotations": {
                            "istio.io/rev": "default",
                            "prometheus.io/path": "/stats/prometheus",
                            "prometheus.io/port": "15020",
                            "prometheus.io/scrape": "true",
                            "sidecar.istio.io/inject": "false",
                            HOST_SOCKETS: "true",
                        },
                    },
                    "spec": {
                        "serviceAccountName": ACCOUNT,
                        "terminationGracePeriodSeconds": 30,
                        "containers": [container(settings)],
                        "volumes": volumes(),
                    },
                },
            },
        }),
    ]
}

fn container(settings: &Settings) -> Value {
    let owner =
        format!("kubernetes://apis/apps/v1/namespaces/{}/deployments/{NAME}", settings.namespace);
    json!({
        "name": "istio-proxy",
        "image": settings.proxy_image,
        "args": [
            "proxy",
            "router",
            "--domain",
            format!("$(POD_NAMESPACE).svc.{}", settings.domain),
            "--proxyLogLevel=warning",
            "--proxyComponentLogLevel=misc:error",
            "--log_output_level=default:info",
        ],
        "ports": [
            {"containerPort": 15021, "name": "status-port", "protocol": "TCP"},
            {"containerPort": 8080, "protocol": "TCP"},
            {"containerPort": 8443, "protocol": "TCP"},
            {"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": 15021, "scheme": "HTTP"},
            "failureThreshold": 30,
            "periodSeconds": 2,
            "timeoutSeconds": 1,
        },
        "env": [
            variable("PILOT_CERT_PROVIDER", "istiod"),
            variable("CA_ADDR", &format!("istiod.{}.svc:15012", settings.namespace)),
            field("NODE_NAME", "spec.nodeName"),
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("INSTANCE_IP", "status.podIP"),
            field("HOST_IP", "status.hostIP"),
            field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            variable("ISTIO_META_WORKLOAD_NAME", NAME),
            variable("ISTIO_META_OWNER", &owner),
            variable("ISTIO_META_MESH_ID", "cluster.local"),
            variable("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            variable("TRUST_DOMAIN", "cluster.local"),
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 1337,
            "runAsGroup": 1337,
        },
        "volumeMounts": [
            {"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"},
            {"name": "istio-token", "mountPath": "/var/run/secrets/tokens", "readOnly": true},
            {"name": "istio-data", "mountPath": "/var/lib/istio/data"},
            {"name": "podinfo", "mountPath": "/etc/istio/pod"},
        ],
    })
}

fn volumes() -> Value {
    json!([
        {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {
            "audience": "istio-ca",
            "expirationSeconds": 43200,
            "path": "istio-token",
        }}]}},
        {"name": "istio-data", "emptyDir": {"medium": "Memory"}},
        {"name": "podinfo", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
        ]}},
    ])
}

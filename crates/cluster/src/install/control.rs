//! The control plane: `istiod`, what it may do, and the mesh's settings.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weft_api::Kind;

use super::{DOMAIN, INJECTOR, ISTIOD, Settings, WEBHOOK_PORT, field};

/// The objects of the control plane.
pub(super) fn objects(settings: &Settings) -> Vec<Value> {
    let metadata = || {
        json!({
            "name": ISTIOD,
            "namespace": settings.namespace,
            "labels": {"app": ISTIOD, "istio": "pilot", "istio.io/rev": "default"},
        })
    };
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata()}),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": settings.namespace},
            "data": {"mesh": settings.mesh, "meshNetworks": "networks: {}"},
        }),
    ];
    // Where the injector looks for what differs from its defaults, as in Istio.
    if settings.domain != DOMAIN {
        let values = json!({"global": {"proxy": {"clusterDomain": settings.domain}}});
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": INJECTOR, "namespace": settings.namespace},
            "data": {"values": values.to_string()},
        }));
    }
    objects.extend(permissions(settings));
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(),
        "spec": {
            "selector": {"app": ISTIOD, "istio": "pilot"},
            "ports": [
                {"name": "https-dns", "port": 15012, "protocol": "TCP"},
                {
                    "name": "https-webhook",
                    "port": 443,
                    "targetPort": WEBHOOK_PORT,
                    "protocol": "TCP",
                },
                {"name": "http-monitoring", "port": 15014, "protocol": "TCP"},
            ],
        },
    }));
    objects.push(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": ISTIOD, "istio": "pilot"}},
            "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {
                    "labels": {
                        "app": ISTIOD,
                        "istio": "pilot",
                        "istio.io/rev": "default",
                        "sidecar.istio.io/inject": "false",
                    },
                    "annotations": {
                        "prometheus.io/port": "15014",
                        "prometheus.io/scrape": "true",
                        "sidecar.istio.io/inject": "false",
                    },
                },
                "spec": pod(settings),
            },
        },
    }));
    objects
}

fn pod(settings: &Settings) -> Value {
    let arguments = match settings.domain.as_str() {
        DOMAIN => json!(["control"]),
        other => json!(["control", "--domain", other]),
    };
    json!({
        "serviceAccountName": ISTIOD,
        "terminationGracePeriodSeconds": 5,
        "containers": [{
            "name": "discovery",
            "image": settings.control_image,
            "args": arguments,
            "ports": [
                {"containerPort": 15012, "name": "tls-xds", "protocol": "TCP"},
                {"containerPort": WEBHOOK_PORT, "name": "https-webhooks", "protocol": "TCP"},
                {"containerPort": 15014, "name": "http-monitoring", "protocol": "TCP"},
            ],
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": 15014},
                "periodSeconds": 3,
                "timeoutSeconds": 5,
            },
            "env": [
                {"name": "REVISION", "value": "default"},
                {"name": "PILOT_CERT_PROVIDER", "value": "istiod"},
                field("POD_NAME", "metadata.name"),
                field("POD_NAMESPACE", "metadata.namespace"),
                field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            ],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "runAsUser": 1337,
                "runAsGroup": 1337,
            },
        }],
    })
}

/// Reading and watching what the control plane watches: the kinds that decide about traffic.
fn read_rules() -> Vec<Value> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in Kind::deciding() {
        groups.entry(kind.group()).or_default().push(kind.plural());
    }
    let rule = |(group, plurals)| json!({"apiGroups": [group], "resources": plurals, "verbs": ["get", "list", "watch"]});
    groups.into_iter().map(rule).collect()
}

/// What the control plane may do, and no more: it reads the mesh, and writes its own
/// Secret and ConfigMaps and the authorities of its webhooks.
fn permissions(settings: &Settings) -> Vec<Value> {
    let name = format!("{ISTIOD}-clusterrole-{}", settings.namespace);
    let mut rules: Vec<Value> = read_rules();
    rules.extend([
        // The mesh's root is in a ConfigMap of every namespace.
        json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]}),
        json!({
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": [
                Kind::MutatingWebhookConfiguration.plural(),
                Kind::ValidatingWebhookConfiguration.plural(),
            ],
            "verbs": ["get", "list", "watch", "patch"],
        }),
        json!({
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["tokenreviews"],
            "verbs": ["create"],
        }),
    ]);
    let subject =
        json!({"kind": "ServiceAccount", "name": ISTIOD, "namespace": settings.namespace});
    let group = "rbac.authorization.k8s.io";
    let api = format!("{group}/v1");
    vec![
        json!({"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
        json!({
            "apiVersion": api,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [subject.clone()],
        }),
        json!({
            "apiVersion": api,
            "kind": "Role",
            "metadata": {"name": ISTIOD, "namespace": settings.namespace},
            "rules": [{
                "apiGroups": [""],
                "resources": ["secrets"],
                "verbs": ["create", "get", "update"],
            }],
        }),
        json!({
            "apiVersion": api,
            "kind": "RoleBinding",
            "metadata": {"name": ISTIOD, "namespace": settings.namespace},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": ISTIOD},
            "subjects": [subject],
        }),
    ]
}

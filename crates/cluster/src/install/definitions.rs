//! CustomResourceDefinitions of every kind that Istio's users write.
//!
//! Schemas keep unknown fields: a schema that prunes would lose what is written
//! in snake_case, and hide from validation what the mesh does not honour.

use serde_json::{Value, json};

/// One kind: what it is called, its versions (the first one is stored), its columns.
struct Definition {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    versions: &'static [&'static str],
    columns: &'static [(&'static str, &'static str)],
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const STABLE: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const DEFINITIONS: &[Definition] = &[
    Definition {
        group: NETWORKING,
        kind: "DestinationRule",
        plural: "destinationrules",
        short: &["dr"],
        versions: STABLE,
        columns: &[("Host", ".spec.host")],
    },
    Definition {
        group: NETWORKING,
        kind: "EnvoyFilter",
        plural: "envoyfilters",
        short: &[],
        versions: &["v1alpha3"],
        columns: &[],
    },
    Definition {
        group: NETWORKING,
        kind: "Gateway",
        plural: "gateways",
        short: &["gw"],
        versions: STABLE,
        columns: &[],
    },
    Definition {
        group: NETWORKING,
        kind: "ProxyConfig",
        plural: "proxyconfigs",
        short: &[],
        versions: &["v1beta1"],
        columns: &[],
    },
    Definition {
        group: NETWORKING,
        kind: "ServiceEntry",
        plural: "serviceentries",
        short: &["se"],
        versions: STABLE,
        columns: &[
            ("Hosts", ".spec.hosts"),
            ("Location", ".spec.location"),
            ("Resolution", ".spec.resolution"),
        ],
    },
    Definition {
        group: NETWORKING,
        kind: "Sidecar",
        plural: "sidecars",
        short: &[],
        versions: STABLE,
        columns: &[],
    },
    Definition {
        group: NETWORKING,
        kind: "VirtualService",
        plural: "virtualservices",
        short: &["vs"],
        versions: STABLE,
        columns: &[("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")],
    },
    Definition {
        group: NETWORKING,
        kind: "WorkloadEntry",
        plural: "workloadentries",
        short: &["we"],
        versions: STABLE,
        columns: &[("Address", ".spec.address")],
    },
    Definition {
        group: NETWORKING,
        kind: "WorkloadGroup",
        plural: "workloadgroups",
        short: &["wg"],
        versions: STABLE,
        columns: &[],
    },
    Definition {
        group: SECURITY,
        kind: "AuthorizationPolicy",
        plural: "authorizationpolicies",
        short: &["ap"],
        versions: &["v1", "v1beta1"],
        columns: &[("Action", ".spec.action")],
    },
    Definition {
        group: SECURITY,
        kind: "PeerAuthentication",
        plural: "peerauthentications",
        short: &["pa"],
        versions: &["v1", "v1beta1"],
        columns: &[("Mode", ".spec.mtls.mode")],
    },
    Definition {
        group: SECURITY,
        kind: "RequestAuthentication",
        plural: "requestauthentications",
        short: &["ra"],
        versions: &["v1", "v1beta1"],
        columns: &[],
    },
    Definition {
        group: "telemetry.istio.io",
        kind: "Telemetry",
        plural: "telemetries",
        short: &["telemetry"],
        versions: &["v1", "v1alpha1"],
        columns: &[],
    },
    Definition {
        group: "extensions.istio.io",
        kind: "WasmPlugin",
        plural: "wasmplugins",
        short: &[],
        versions: &["v1alpha1"],
        columns: &[],
    },
];

/// The definitions as objects.
pub(super) fn objects() -> Vec<Value> {
    DEFINITIONS.iter().map(definition).collect()
}

fn definition(definition: &Definition) -> Value {
    let singular = definition.kind.to_lowercase();
    let versions: Vec<Value> = definition
        .versions
        .iter()
        .enumerate()
        .map(|(rank, version)| self::version(definition, version, rank == 0))
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", definition.plural, definition.group),
            "labels": {"app": "istio-pilot", "release": "istio"},
        },
        "spec": {
            "group": definition.group,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": format!("{}List", definition.kind),
                "plural": definition.plural,
                "singular": singular,
                "shortNames": definition.short,
                "categories": ["istio-io", definition.group.replace('.', "-")],
            },
            "versions": versions,
        },
    })
}

fn version(definition: &Definition, version: &str, storage: bool) -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut columns: Vec<Value> = definition
        .columns
        .iter()
        .map(|(name, path)| json!({"name": name, "type": "string", "jsonPath": path}))
        .collect();
    columns.push(json!({
        "name": "Age",
        "type": "date",
        "jsonPath": ".metadata.creationTimestamp",
    }));
    json!({
        "name": version,
        "served": true,
        "storage": storage,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": anything.clone(), "status": anything},
        }},
    })
}

//! CustomResourceDefinitions of the kinds that the mesh brings, from the table of kinds.
//!
//! Schemas keep unknown fields: a schema that prunes would lose what is written
//! in snake_case, and hide from validation what the mesh does not honour.

use serde_json::{Value, json};
use weft_api::Kind;

/// The definitions as objects.
pub(super) fn objects() -> Vec<Value> {
    Kind::all().filter(|kind| kind.is_defined_by_mesh()).map(definition).collect()
}

fn definition(kind: Kind) -> Value {
    let singular = kind.name().to_lowercase();
    let versions: Vec<Value> = kind
        .versions()
        .iter()
        .enumerate()
        .map(|(rank, version)| self::version(kind, version, rank == 0))
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", kind.plural(), kind.group()),
            "labels": {"app": "istio-pilot", "release": "istio"},
        },
        "spec": {
            "group": kind.group(),
            "scope": if kind.namespaced() { "Namespaced" } else { "Cluster" },
            "names": {
                "kind": kind.name(),
                "listKind": format!("{}List", kind.name()),
                "plural": kind.plural(),
                "singular": singular,
                "shortNames": kind.short_names(),
                "categories": ["istio-io", kind.group().replace('.', "-")],
            },
            "versions": versions,
        },
    })
}

fn version(kind: Kind, version: &str, storage: bool) -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut columns: Vec<Value> = kind
        .columns()
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

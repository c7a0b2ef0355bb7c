//! As much OpenAPI v3 as kubectl reads before it writes.
//!
//! kubectl asks per group and version whether the server validates fields; the
//! schemas of CustomResourceDefinitions are passed on for `kubectl explain`.
//! Built-in kinds have no schema here: kubectl carries its own.

use serde_json::{Map, Value, json};

use crate::{
    registry::Registry,
    resource::{Origin, Resource},
};

/// The media type of OpenAPI v2 in protobuf, as kubectl up to 1.28 insists on it.
pub const SECOND_MEDIA: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// [`second`] in protobuf: field 1, the version.
pub const SECOND: &[u8] = b"\x0a\x032.0";

/// `/openapi/v2`: a document without kinds. kubectl up to 1.28 does not apply without one;
/// it takes the fields of kinds, and whether they are validated, from its own types and from v3.
pub fn second() -> Value {
    let info = json!({"title": "Kubernetes", "version": "v1.33.0+weft"});
    json!({"swagger": "2.0", "info": info, "paths": {}})
}

/// `/openapi/v3`: where each group and version has its document.
pub fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path = base(&group, &version);
            paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}")}));
        }
    }
    json!({"paths": paths})
}

/// The document of one group and version.
pub fn document(registry: &Registry, path: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in registry.all() {
        let base = base(&resource.group, &resource.version);
        if base != path || resource.is_review() {
            continue;
        }
        let within = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let plural = &resource.plural;
        let kind = json!({
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        });
        paths.insert(format!("/{base}{within}/{plural}"), operations(&kind, &["post"]));
        paths.insert(
            format!("/{base}{within}/{plural}/{{name}}"),
            operations(&kind, &["patch", "put"]),
        );
        if let Origin::Custom(custom) = &resource.origin {
            let mut schema = match custom.schema.is_object() {
                true => custom.schema.clone(),
                false => json!({"type": "object"}),
            };
            schema["x-kubernetes-group-version-kind"] = json!([kind]);
            schemas.insert(schema_name(resource), schema);
        }
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0+weft"},
            "paths": paths, "components": {"schemas": schemas},
        })
    })
}

fn base(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

fn operations(kind: &Value, methods: &[&str]) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters =
        json!([parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")]);
    methods
        .iter()
        .map(|method| {
            let action = if *method == "patch" { "patch" } else { *method };
            let operation = json!({
                "parameters": parameters, "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind,
            });
            ((*method).to_owned(), operation)
        })
        .collect::<Map<_, _>>()
        .into()
}

/// Reversed group, version and kind, as in Kubernetes' own documents.
fn schema_name(resource: &Resource) -> String {
    let mut parts: Vec<&str> = resource.group.split('.').rev().collect();
    parts.extend([resource.version.as_str(), resource.kind.as_str()]);
    parts.join(".")
}

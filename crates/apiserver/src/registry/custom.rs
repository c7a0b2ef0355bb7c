//! From a CustomResourceDefinition to the resources that it brings.
//!
//! Conversion between versions is by name only (`strategy: None`): that is what
//! the definitions of a mesh say, and a webhook is refused at creation.

use serde_json::{Value, json};

use crate::resource::{Custom, Origin, Resource};

/// The served versions of a definition, in Kubernetes' order of preference.
pub fn resources(definition: &Value) -> Vec<Resource> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let Some(versions) = spec["versions"].as_array() else { return Vec::new() };
    let storage = versions
        .iter()
        .find(|version| version["storage"] == true)
        .and_then(|version| version["name"].as_str())
        .unwrap_or_default();
    let mut served: Vec<&Value> =
        versions.iter().filter(|version| version["served"] == true).collect();
    served.sort_by_key(|version| {
        std::cmp::Reverse(super::priority(version["name"].as_str().unwrap_or_default()))
    });
    served.into_iter().map(|version| resource(spec, names, version, storage)).collect()
}

fn resource(spec: &Value, names: &Value, version: &Value, storage: &str) -> Resource {
    let kind = text(&names["kind"]);
    let singular = match names["singular"].as_str() {
        Some(singular) if !singular.is_empty() => singular.to_owned(),
        _ => kind.to_ascii_lowercase(),
    };
    let mut subresources = Vec::new();
    for name in ["status", "scale"] {
        if version["subresources"].get(name).is_some() {
            subresources.push(name.to_owned());
        }
    }
    let deprecation = (version["deprecated"] == true).then(|| {
        version["deprecationWarning"].as_str().map_or_else(
            || format!("{}/{} {kind} is deprecated", text(&spec["group"]), text(&version["name"])),
            str::to_owned,
        )
    });
    Resource {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        plural: text(&names["plural"]),
        singular,
        kind,
        namespaced: spec["scope"] != "Cluster",
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        subresources,
        origin: Origin::Custom(Custom {
            schema: version["schema"]["openAPIV3Schema"].clone(),
            columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
            storage: storage.to_owned(),
            deprecation,
        }),
    }
}

/// The status that says a definition is served, which clients wait for.
pub fn established(definition: &Value, now: &str) -> Value {
    let spec = &definition["spec"];
    let mut names = spec["names"].clone();
    if names["singular"].as_str().unwrap_or_default().is_empty() {
        names["singular"] = text(&names["kind"]).to_ascii_lowercase().into();
    }
    if names["listKind"].as_str().unwrap_or_default().is_empty() {
        names["listKind"] = format!("{}List", text(&names["kind"])).into();
    }
    let stored: Vec<&Value> = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .map(|version| &version["name"])
        .collect();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message,
               "lastTransitionTime": now})
    };
    json!({
        "acceptedNames": names,
        "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

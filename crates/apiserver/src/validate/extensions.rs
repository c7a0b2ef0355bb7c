//! What webhook configurations and definitions of kinds have to be.

use serde_json::Value;
use weft_controllers::object::items;

use super::causes::Causes;
use crate::registry::Registry;

/// Webhooks must be reachable, and must not depend on conditions that are not evaluated here.
pub fn webhooks(object: &Value, causes: &mut Causes) {
    for (index, webhook) in items(&object["webhooks"]).enumerate() {
        let field = format!("webhooks[{index}]");
        let config = &webhook["clientConfig"];
        match (config["url"].is_string(), config["service"].is_object()) {
            (false, false) | (true, true) => causes.required(
                format!("{field}.clientConfig"),
                "exactly one of url or service is required",
            ),
            _ => {}
        }
        let name = webhook["name"].as_str().unwrap_or_default();
        if name.split('.').count() < 3 {
            let rule = "should be a domain with at least three segments separated by dots";
            causes.invalid(format!("{field}.name"), &name.into(), rule);
        }
        causes.one_of(
            format!("{field}.failurePolicy"),
            &webhook["failurePolicy"],
            &["Ignore", "Fail"],
        );
        match webhook["sideEffects"].as_str() {
            None => causes
                .required(format!("{field}.sideEffects"), "must specify one of None, NoneOnDryRun"),
            Some(_) => {
                let kinds = ["None", "NoneOnDryRun"];
                causes.one_of(format!("{field}.sideEffects"), &webhook["sideEffects"], &kinds);
            }
        }
        if items(&webhook["admissionReviewVersions"]).next().is_none() {
            causes.required(
                format!("{field}.admissionReviewVersions"),
                "must specify one of v1, v1beta1",
            );
        }
        let timeout = webhook["timeoutSeconds"].as_i64().unwrap_or(10);
        if !(1..=30).contains(&timeout) {
            let rule = "the timeout value must be between 1 and 30 seconds";
            causes.invalid(format!("{field}.timeoutSeconds"), &timeout.into(), rule);
        }
        let conditions = &webhook["matchConditions"];
        if items(conditions).next().is_some() {
            let rule = "expressions are not evaluated here; select by rules, namespaceSelector \
                        and objectSelector";
            causes.invalid(format!("{field}.matchConditions"), conditions, rule);
        }
    }
}

/// Checks a CustomResourceDefinition.
pub fn definition(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    for (field, value) in [
        ("spec.group", &spec["group"]),
        ("spec.names.plural", &spec["names"]["plural"]),
        ("spec.names.kind", &spec["names"]["kind"]),
    ] {
        if value.as_str().is_none_or(str::is_empty) {
            causes.required(field, "");
        }
    }
    let (group, plural) = (&spec["group"], &spec["names"]["plural"]);
    if let (Some(group), Some(plural)) = (group.as_str(), plural.as_str()) {
        if !group.is_empty() && !group.contains('.') {
            causes.invalid("spec.group", &group.into(), "should be a domain with at least one dot");
        } else if Registry::built_in().is_built_in(group, plural) {
            causes.invalid("spec.names.plural", &plural.into(), "this kind is built in");
        }
    }
    let stored = items(&spec["versions"]).filter(|version| version["storage"] == true).count();
    if stored != 1 {
        let rule = "must have exactly one version marked as storage version";
        causes.invalid("spec.versions", &spec["versions"], rule);
    }
    for (index, version) in items(&spec["versions"]).enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            causes.required(field, "schemas are required");
        }
    }
    if spec["conversion"]["strategy"] == "Webhook" {
        let rule = "conversion by webhook is not served here; use the strategy None";
        causes.invalid("spec.conversion.strategy", &"Webhook".into(), rule);
    }
    let expected = format!(
        "{}.{}",
        spec["names"]["plural"].as_str().unwrap_or_default(),
        spec["group"].as_str().unwrap_or_default()
    );
    if object["metadata"]["name"] != expected.as_str() {
        let rule = format!("must be spec.names.plural+\".\"+spec.group, here {expected}");
        causes.invalid("metadata.name", &object["metadata"]["name"], &rule);
    }
}

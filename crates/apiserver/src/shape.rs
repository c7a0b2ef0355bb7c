//! Whether an object has the outline that every other module relies on.
//!
//! Maps where maps belong, lists where lists belong. Checked before anything
//! else looks at what a client sent, so that nothing else has to ask again.

use serde_json::Value;

use crate::{
    resource::{Origin, Resource},
    status::Status,
};

/// What stands at a place.
#[derive(Clone, Copy, PartialEq)]
enum Outline {
    /// An object with fields that are checked in turn.
    Fields,
    /// An object that is not looked into.
    Map,
    /// An object whose values are texts.
    Texts,
    /// A list of objects that are checked in turn.
    Objects,
    /// A list of texts.
    List,
}
use Outline::{Fields, List, Map, Objects, Texts};

/// Outlines of what stands at the top of an object.
const TOP: &[(&str, Outline)] = &[
    ("metadata", Fields),
    ("spec", Fields),
    ("status", Fields),
    ("data", Texts),
    ("stringData", Texts),
];

/// Outlines of what stands anywhere below, in the built-in kinds.
const BELOW: &[(&str, Outline)] = &[
    ("metadata", Fields),
    ("labels", Texts),
    ("annotations", Texts),
    ("ownerReferences", Objects),
    ("finalizers", List),
    ("managedFields", Objects),
    ("template", Fields),
    ("strategy", Fields),
    ("rollingUpdate", Fields),
    ("matchLabels", Texts),
    ("matchExpressions", Objects),
    ("selector", Fields),
    ("names", Map),
    ("conversion", Map),
    ("versions", Objects),
    ("containers", Objects),
    ("initContainers", Objects),
    ("volumes", Objects),
    ("env", Objects),
    ("ports", Objects),
    ("conditions", Objects),
];

/// Refuses an object without the right outline.
pub fn check(resource: &Resource, object: &Value) -> Result<(), Status> {
    let refuse = |(path, wanted, found): Wrong| {
        let kind = &resource.kind;
        Status::bad_request(format!("{kind} cannot be read: {path} must be {wanted}, not {found}"))
    };
    let is_custom = matches!(resource.origin, Origin::Custom(_));
    for (field, outline) in TOP {
        if is_custom && *field != "metadata" {
            continue;
        }
        if let Some(value) = object.get(field).filter(|value| !value.is_null()) {
            look(value, *outline, field).map_err(refuse)?;
        }
    }
    // Webhooks stand at the top, where the other kinds have a specification.
    match object.get("webhooks").filter(|value| !is_custom && !value.is_null()) {
        Some(webhooks) => look(webhooks, Objects, "webhooks").map_err(refuse),
        None => Ok(()),
    }
}

/// Where, what should be there, and what is.
type Wrong = (String, &'static str, &'static str);

fn look(value: &Value, outline: Outline, path: &str) -> Result<(), Wrong> {
    let wrong = |wanted| Err((path.to_owned(), wanted, kind(value)));
    match (outline, value) {
        (Fields, Value::Object(_)) => below(value, path),
        (Map, Value::Object(_)) => Ok(()),
        (Texts, Value::Object(map)) => {
            let odd = map.iter().find(|(_, value)| !value.is_string() && !value.is_null());
            odd.map_or(Ok(()), |(key, value)| Err((format!("{path}.{key}"), "a text", kind(value))))
        }
        (Objects, Value::Array(items)) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| look(item, Fields, &format!("{path}[{index}]"))),
        (List, Value::Array(items)) => {
            let odd = items.iter().position(|item| !item.is_string());
            odd.map_or(Ok(()), |index| {
                Err((format!("{path}[{index}]"), "a text", kind(&items[index])))
            })
        }
        (Fields | Map | Texts, _) => wrong("an object"),
        (Objects | List, _) => wrong("a list"),
    }
}

fn below(value: &Value, path: &str) -> Result<(), Wrong> {
    for (field, value) in value.as_object().into_iter().flatten() {
        let known = BELOW.iter().find(|(name, _)| name == field);
        let path = || format!("{path}.{field}");
        match known.filter(|_| !value.is_null()) {
            Some((_, outline)) => look(value, *outline, &path())?,
            // The fields of a schema and of managed fields are names, not places.
            None if field == "schema" || field == "fieldsV1" => {}
            None if value.is_object() => below(value, &path())?,
            None => {}
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    #[track_caller]
    fn check_text(group: &str, plural: &str, object: Value, expected: &str) {
        let resource = Registry::built_in().find(group, plural).unwrap();
        let said = check(&resource, &object).err().map(|refused| refused.message);
        assert_eq!(said.unwrap_or_default(), expected, "{object}");
    }

    #[test]
    fn what_has_another_outline_is_refused_where_it_stands() {
        let deployment = |spec: Value| json!({"metadata": {"name": "d"}, "spec": spec});
        check_text("apps", "deployments", deployment(json!({"template": {"metadata": null}})), "");
        for (spec, expected) in [
            (json!("x"), "spec must be an object, not a text"),
            (json!({"strategy": 5}), "spec.strategy must be an object, not a number"),
            (
                json!({"template": {"spec": {"containers": [1]}}}),
                "spec.template.spec.containers[0] must be an object, not a number",
            ),
            (
                json!({"template": {"metadata": {"labels": {"a": true}}}}),
                "spec.template.metadata.labels.a must be a text, not true or false",
            ),
        ] {
            let expected = format!("Deployment cannot be read: {expected}");
            check_text("apps", "deployments", deployment(spec), &expected);
        }
        check_text(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            json!({"metadata": {}, "spec": {"versions": [{"schema": {"openAPIV3Schema": {
                "properties": {"labels": {"maxItems": 3}, "ports": {"type": "array"}}}}}]}}),
            "",
        );
        check_text(
            "",
            "secrets",
            json!({"metadata": [], "data": {}}),
            "Secret cannot be read: metadata must be an object, not a list",
        );
        check_text(
            "",
            "configmaps",
            json!({"metadata": {}, "data": {"port": 80}}),
            "ConfigMap cannot be read: data.port must be a text, not a number",
        );
    }
}

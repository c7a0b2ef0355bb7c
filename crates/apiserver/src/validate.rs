//! What a stored object has to be, kind by kind.
//!
//! Only mistakes that would leave the laptop unable to act on the object are
//! refused; a mesh's own rules are its admission webhook's.

use serde_json::Value;
use weft_controllers::object::items;

use crate::{resource::Resource, status::Cause};

/// Whether a name can be an object's name.
pub fn name(resource: &Resource, name: &str) -> Option<Cause> {
    const FIELD: &str = "metadata.name";
    if name.is_empty() {
        return Some(Cause::required(FIELD, "name or generateName is required"));
    }
    let value = Value::from(name);
    if resource.group == "rbac.authorization.k8s.io" {
        let bad = name.contains(['/', '%']) || name == "." || name == "..";
        return bad.then(|| Cause::invalid(FIELD, &value, "may not contain '/' or '%'"));
    }
    let is_label = resource.plural == "services" || resource.plural == "namespaces";
    let limit = if is_label { 63 } else { 253 };
    let part = |part: &str| {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !part.is_empty()
            && part.bytes().all(|byte| inside(byte) || byte == b'-')
            && part.bytes().next().is_some_and(inside)
            && part.bytes().last().is_some_and(inside)
    };
    let fits = match is_label {
        true => part(name),
        false => name.split('.').all(part),
    };
    let rule = match is_label {
        true => {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
                 or '-', and must start and end with an alphanumeric character"
        }
        false => {
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                  characters, '-' or '.', and must start and end with an alphanumeric character"
        }
    };
    if name.len() > limit {
        return Some(Cause::invalid(FIELD, &value, &format!("must be no more than {limit} bytes")));
    }
    (!fits).then(|| Cause::invalid(FIELD, &value, rule))
}

/// What is wrong with an object.
pub fn object(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    labels(&object["metadata"]["labels"], "metadata.labels", &mut causes);
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod(&object["spec"], "spec", &mut causes),
        ("apps" | "extensions", "Deployment" | "ReplicaSet") => workload(object, &mut causes),
        ("", "Service") => service(&object["spec"], &mut causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object, &mut causes),
        ("admissionregistration.k8s.io", _) => webhooks(object, &mut causes),
        _ => {}
    }
    causes
}

/// Webhooks must be reachable, and must not hang on conditions that nobody evaluates.
fn webhooks(object: &Value, causes: &mut Vec<Cause>) {
    for (index, webhook) in items(&object["webhooks"]).enumerate() {
        let field = format!("webhooks[{index}]");
        let config = &webhook["clientConfig"];
        if !config["url"].is_string() && !config["service"].is_object() {
            causes
                .push(Cause::required(format!("{field}.clientConfig"), "name a url or a service"));
        }
        let conditions = &webhook["matchConditions"];
        if items(conditions).next().is_some() {
            let rule = "expressions are not evaluated here; select by rules, namespaceSelector \
                        and objectSelector";
            causes.push(Cause::invalid(format!("{field}.matchConditions"), conditions, rule));
        }
    }
}

fn labels(labels: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        let field = format!("{field}.{key}");
        if !is_label_key(key) {
            let rule = "a label's name consists of up to 63 alphanumeric characters, '-', '_' or '.', \
                        begins and ends with an alphanumeric one, and may have a DNS subdomain and \
                        '/' before it";
            causes.push(Cause::invalid(&field, &Value::from(key.as_str()), rule));
        }
        match value.as_str() {
            None => causes.push(Cause::invalid(field, value, "must be a string")),
            Some(text) if text.len() > 63 => {
                causes.push(Cause::invalid(field, value, "must be no more than 63 bytes"));
            }
            Some(text)
                if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) =>
            {
                let rule = "a valid label must be an empty string or consist of alphanumeric \
                            characters, '-', '_' or '.'";
                causes.push(Cause::invalid(field, value, rule));
            }
            Some(_) => {}
        }
    }
}

/// Whether selectors can name a label.
fn is_label_key(key: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric();
    let part = |part: &str, longest: usize, more: &[u8]| {
        part.len() <= longest
            && part.bytes().all(|byte| inside(byte) || more.contains(&byte))
            && part.bytes().next().is_some_and(inside)
            && part.bytes().last().is_some_and(inside)
    };
    let (prefix, name) =
        key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(|prefix| part(prefix, 253, b"-.")) && part(name, 63, b"-_.")
}

fn pod(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    if items(&spec["containers"]).next().is_none() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = Vec::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in items(&spec[list]).enumerate() {
            let field = format!("{path}.{list}[{index}]");
            match container["name"].as_str() {
                None | Some("") => causes.push(Cause::required(format!("{field}.name"), "")),
                Some(name) if names.contains(&name) => causes.push(Cause {
                    field: format!("{field}.name"),
                    message: format!("Duplicate value: \"{name}\""),
                    reason: "FieldValueDuplicate",
                }),
                Some(name) => names.push(name),
            }
            if container["image"].as_str().is_none_or(str::is_empty) {
                causes.push(Cause::required(format!("{field}.image"), ""));
            }
            ports(&container["ports"], "containerPort", &format!("{field}.ports"), causes);
        }
    }
}

fn ports(list: &Value, number: &str, path: &str, causes: &mut Vec<Cause>) {
    for (index, port) in items(list).enumerate() {
        let field = format!("{path}[{index}].{number}");
        match &port[number] {
            Value::Null => causes.push(Cause::required(field, "")),
            value if value.as_u64().is_some_and(|port| (1..65_536).contains(&port)) => {}
            value => {
                let rule = "must be between 1 and 65535, inclusive";
                causes.push(Cause::invalid(field, value, rule));
            }
        }
    }
}

fn workload(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let selector = &spec["selector"];
    if !selector.is_object() {
        causes.push(Cause::required("spec.selector", ""));
    }
    let labels_of_template = &spec["template"]["metadata"]["labels"];
    if selector.is_object() && !weft_controllers::selector::matches(selector, labels_of_template) {
        let rule = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels_of_template, rule));
    }
    if spec["replicas"].as_i64().is_some_and(|count| count < 0) {
        let rule = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.replicas", &spec["replicas"], rule));
    }
    labels(labels_of_template, "spec.template.metadata.labels", causes);
    pod(&spec["template"]["spec"], "spec.template.spec", causes);
}

fn service(spec: &Value, causes: &mut Vec<Cause>) {
    ports(&spec["ports"], "port", "spec.ports", causes);
    let count = items(&spec["ports"]).count();
    let free = spec["type"] == "ExternalName" || spec["clusterIP"] == "None";
    if count == 0 && !free {
        causes.push(Cause::required("spec.ports", ""));
    }
    if spec["type"] == "ExternalName" && spec["externalName"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("spec.externalName", ""));
    }
    for (index, port) in items(&spec["ports"]).enumerate() {
        if count > 1 && port["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("spec.ports[{index}].name"), ""));
        }
    }
}

fn definition(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    for (field, value) in [
        ("spec.group", &spec["group"]),
        ("spec.names.plural", &spec["names"]["plural"]),
        ("spec.names.kind", &spec["names"]["kind"]),
    ] {
        if value.as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(field, ""));
        }
    }
    let stored = items(&spec["versions"]).filter(|version| version["storage"] == true).count();
    if stored != 1 {
        let rule = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &spec["versions"], rule));
    }
    if spec["conversion"]["strategy"] == "Webhook" {
        let rule = "conversion by webhook is not served here; use the strategy None";
        causes.push(Cause::invalid("spec.conversion.strategy", &"Webhook".into(), rule));
    }
    let expected = format!(
        "{}.{}",
        spec["names"]["plural"].as_str().unwrap_or_default(),
        spec["group"].as_str().unwrap_or_default()
    );
    if object["metadata"]["name"] != expected.as_str() {
        let rule = format!("must be spec.names.plural+\".\"+spec.group, here {expected}");
        causes.push(Cause::invalid("metadata.name", &object["metadata"]["name"], &rule));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_what_selectors_can_name() {
        let wrong = |key: &str| {
            let mut causes = Vec::new();
            labels(&json!({key: "x"}), "metadata.labels", &mut causes);
            !causes.is_empty()
        };
        for fine in ["app", "App_1.x", "app.kubernetes.io/name", "a"] {
            assert!(!wrong(fine), "{fine}");
        }
        for bad in ["", "bad label", "-a", "a-", "/a", "a/", "a/b/c", "a=b", &"x".repeat(64)] {
            assert!(wrong(bad), "{bad}");
        }
    }
}

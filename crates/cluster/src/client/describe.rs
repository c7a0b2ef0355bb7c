//! An object told for people: its fields by name, and what happened to it.

mod service;

use serde_json::Value;

use super::{
    ClientError, Cluster, NamespaceScope, Query, Resource, ResourceNames, Resources, text,
};

/// Fields of metadata that are not for people.
const NOISE: [&str; 6] =
    ["managedFields", "name", "namespace", "labels", "annotations", "selfLink"];

/// The column of the values of an object's first lines.
const WIDTH: usize = 14;
/// The same for a Service, whose titles are longer.
const SERVICE_WIDTH: usize = 26;

impl Cluster {
    /// What is known of `object`, with its events.
    pub async fn describe(
        &self,
        resources: &Resources,
        (resource, object): (&Resource, &Value),
    ) -> Result<String, ClientError> {
        let events = match resources.of("v1", "Event") {
            Ok(events) if resource.namespaced => self.events(events, object).await?,
            _ => Vec::new(),
        };
        if resource.kind == "Service" && resource.group.is_empty() {
            let slices = self.slices(resources, object).await?;
            let about = service::render(object, &slices);
            return Ok(head(object, SERVICE_WIDTH) + &about + &tail(&events, SERVICE_WIDTH));
        }
        Ok(head(object, WIDTH) + &fields(object) + &tail(&events, WIDTH))
    }

    /// The EndpointSlices of a Service.
    async fn slices(
        &self,
        resources: &Resources,
        service: &Value,
    ) -> Result<Vec<Value>, ClientError> {
        let resource = resources.of("discovery.k8s.io/v1", "EndpointSlice")?.clone();
        let name = text(service, "/metadata/name");
        let query = Query {
            words: Vec::new(),
            scope: NamespaceScope::Namespace(text(service, "/metadata/namespace").to_owned()),
            labels: Some(format!("kubernetes.io/service-name={name}")),
            fields: None,
        };
        let target = ResourceNames { resource, names: Vec::new() };
        let slices = self.objects(std::slice::from_ref(&target), &query).await?;
        Ok(slices.into_iter().map(|(_, slice)| slice).collect())
    }

    async fn events(&self, resource: &Resource, object: &Value) -> Result<Vec<Value>, ClientError> {
        let fields = format!(
            "involvedObject.name={},involvedObject.kind={}",
            text(object, "/metadata/name"),
            text(object, "/kind")
        );
        let scope = NamespaceScope::Namespace(text(object, "/metadata/namespace").to_owned());
        let query = Query { words: Vec::new(), scope, labels: None, fields: Some(fields) };
        let target = ResourceNames { resource: resource.clone(), names: Vec::new() };
        let events = self.objects(std::slice::from_ref(&target), &query).await?;
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }
}

/// Name, labels and annotations, with values in column `width`.
fn head(object: &Value, width: usize) -> String {
    let mut out = String::new();
    let mut line = |title: &str, value: &str| {
        let value = if value.is_empty() { "<none>" } else { value };
        out += &format!("{title:<width$}{value}\n");
    };
    line("Name:", text(object, "/metadata/name"));
    let namespace = text(object, "/metadata/namespace");
    if !namespace.is_empty() {
        line("Namespace:", namespace);
    }
    for (title, field, mark) in [("Labels:", "labels", "="), ("Annotations:", "annotations", ": ")]
    {
        let entries = object["metadata"][field].as_object().into_iter().flatten();
        let entries: Vec<String> = entries
            .map(|(key, value)| format!("{key}{mark}{}", value.as_str().unwrap_or_default()))
            .collect();
        line(title, &entries.join(&format!("\n{:width$}", "")));
    }
    out
}

/// Every field, by name.
fn fields(object: &Value) -> String {
    let mut out = format!("{:<WIDTH$}{}\n", "API Version:", text(object, "/apiVersion"));
    out += &format!("{:<WIDTH$}{}\n", "Kind:", text(object, "/kind"));
    if let Some(fields) = object.as_object() {
        for (key, value) in fields.iter().filter(|(key, _)| !is_head(key)) {
            field(&mut out, 0, key, value);
        }
    }
    if let Some(metadata) = object["metadata"].as_object() {
        out += "Metadata:\n";
        for (key, value) in metadata.iter().filter(|(key, _)| !NOISE.contains(&key.as_str())) {
            field(&mut out, 2, key, value);
        }
    }
    out
}

/// What happened to it.
fn tail(events: &[Value], width: usize) -> String {
    if events.is_empty() {
        return format!("{:<width$}<none>\n", "Events:");
    }
    let mut out = "Events:\n".to_owned();
    for event in events {
        let part = |pointer| text(event, pointer);
        let (kind, reason) = (part("/type"), part("/reason"));
        out += &format!("  {kind:<9}{reason:<20}{}\n", part("/message"));
    }
    out
}

fn is_head(key: &str) -> bool {
    matches!(key, "apiVersion" | "kind" | "metadata")
}

/// `field` and what is in it, further in than its name.
fn field(out: &mut String, indent: usize, key: &str, value: &Value) {
    let title = title(key);
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if map.is_empty() => {}
        Value::Array(list) if list.is_empty() => {}
        Value::Object(map) => {
            *out += &format!("{pad}{title}:\n");
            for (key, value) in map {
                field(out, indent + 2, key, value);
            }
        }
        Value::Array(list) => {
            *out += &format!("{pad}{title}:\n");
            for item in list {
                match item {
                    Value::Object(map) => {
                        for (key, value) in map {
                            field(out, indent + 2, key, value);
                        }
                        *out += &format!("{pad}  ---\n");
                    }
                    other => *out += &format!("{pad}  {}\n", plain(other)),
                }
            }
        }
        other => *out += &format!("{pad}{title}:  {}\n", plain(other)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `matchLabels` → `Match Labels`; keys that are data, such as `app.kubernetes.io/name`, stay.
fn title(key: &str) -> String {
    if !key.chars().all(|character| character.is_ascii_alphanumeric()) {
        return key.to_owned();
    }
    let mut title = String::new();
    let mut before_is_upper = true;
    for (index, character) in key.chars().enumerate() {
        if index == 0 {
            title.extend(character.to_uppercase());
            continue;
        }
        if character.is_uppercase() && !before_is_upper {
            title.push(' ');
        }
        before_is_upper = character.is_uppercase();
        title.push(character);
    }
    title
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_told_by_name() {
        let object = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "hello", "namespace": "default", "uid": "7", "labels": {"a": "b"}},
            "spec": {
                "host": "hello",
                "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
                "exportTo": ["*"],
            },
        });
        let events = [json!({"type": "Warning", "reason": "Odd", "message": "so it is"})];
        let expected = "\
Name:         hello
Namespace:    default
Labels:       a=b
Annotations:  <none>
API Version:  networking.istio.io/v1
Kind:         DestinationRule
Spec:
  Export To:
    *
  Host:  hello
  Subsets:
    Labels:
      Version:  v1
    Name:  v1
    ---
Metadata:
  Uid:  7
Events:
  Warning  Odd                 so it is
";
        let told = head(&object, WIDTH) + &fields(&object) + &tail(&events, WIDTH);
        assert_eq!(told, expected);
    }

    #[test]
    fn titles_are_words() {
        assert_eq!(title("podIPs"), "Pod IPs");
        assert_eq!(title("app.kubernetes.io/name"), "app.kubernetes.io/name");
    }
}

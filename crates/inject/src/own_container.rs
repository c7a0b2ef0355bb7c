//! A container `istio-proxy` of the pod's own: not a sidecar yet, but what the
//! pod's author wants to be different about it.

use serde_json::{Map, Value};

use crate::sidecar;

/// What an image is called that the injector has to fill in.
const AUTO: &str = "auto";

/// Lists whose items are merged, and by which of their fields.
const MERGED: &[(&str, &str)] =
    &[("env", "name"), ("ports", "containerPort"), ("volumeMounts", "mountPath")];

/// Where a pod has a container `istio-proxy` of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'p> {
    /// `containers` or `initContainers`.
    pub(crate) list: &'static str,
    pub(crate) index: usize,
    pub(crate) container: &'p Value,
}

impl Own<'_> {
    /// Whether the injector has to fill in the image.
    pub(crate) fn leaves_image_open(&self) -> bool {
        self.container["image"].as_str().is_none_or(|image| image.is_empty() || image == AUTO)
    }
}

/// The pod's own container `istio-proxy`.
pub(crate) fn find(pod: &Value) -> Option<Own<'_>> {
    ["initContainers", "containers"].into_iter().find_map(|list| {
        let containers = pod.get("spec")?.get(list)?.as_array()?;
        let index = containers.iter().position(|one| one["name"] == sidecar::NAME)?;
        Some(Own { list, index, container: &containers[index] })
    })
}

/// The injector's container with what the pod's own says over it, field by field.
pub(crate) fn merge(mut made: Value, own: &Value) -> Value {
    let (Some(fields), Some(own)) = (made.as_object_mut(), own.as_object()) else { return made };
    for (name, value) in own {
        let keyed = MERGED.iter().find(|(list, _)| list == name).map(|(_, key)| *key);
        match (keyed, fields.get_mut(name), value) {
            _ if name == "image" => {}
            (Some(key), Some(Value::Array(made)), Value::Array(own)) => merge_list(made, own, key),
            (None, Some(Value::Object(made)), Value::Object(own)) => merge_maps(made, own),
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
    made
}

fn merge_list(made: &mut Vec<Value>, own: &[Value], key: &str) {
    for item in own {
        match made.iter_mut().find(|one| !one[key].is_null() && one[key] == item[key]) {
            Some(known) => *known = item.clone(),
            None => made.push(item.clone()),
        }
    }
}

fn merge_maps(made: &mut Map<String, Value>, own: &Map<String, Value>) {
    for (name, value) in own {
        match (made.get_mut(name), value) {
            (Some(Value::Object(made)), Value::Object(own)) => merge_maps(made, own),
            _ => {
                made.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_pod_says_stands_over_what_is_made() {
        let made = json!({
            "name": "istio-proxy", "image": "proxy:1", "args": ["proxy"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
        });
        let own = json!({
            "name": "istio-proxy", "image": "auto",
            "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
            "resources": {"limits": {"cpu": "4"}},
            "tty": true,
        });
        let expected = json!({
            "name": "istio-proxy", "image": "proxy:1", "args": ["proxy"],
            "env": [
                {"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"},
            ],
            "resources": {"limits": {"cpu": "4", "memory": "1Gi"}},
            "tty": true,
        });
        assert_eq!(merge(made.clone(), &own), expected);
        assert_eq!(merge(made.clone(), &json!(5)), made);
    }
}

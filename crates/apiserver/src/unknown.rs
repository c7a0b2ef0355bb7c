//! Fields of built-in objects that Kubernetes does not know.
//!
//! The names of all fields are in crate `api`; of what it finds only unknown
//! names count here, since what a mesh makes of an object is not this crate's.

use serde_json::Value;

use crate::resource::{Origin, Resource};

/// How crate `api` begins to say that a field is unknown.
const UNKNOWN: &str = "unknown field";

/// The paths of fields that the object's kind does not have.
pub fn fields(resource: &Resource, object: &Value) -> Vec<String> {
    if resource.origin != Origin::BuiltIn {
        return Vec::new();
    }
    weft_api::check(object)
        .diagnostics
        .into_iter()
        .filter(|found| found.message.starts_with(UNKNOWN))
        .map(|found| found.field)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    #[test]
    fn a_misspelt_field_is_found_where_it_stands() {
        let pods = Registry::built_in().find("", "pods").unwrap();
        let pod = |container: Value| {
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]},
                   "metadata": {"name": "p", "namespace": "n", "creationTimestamp": null},
                   "status": {}})
        };
        let right = json!({"name": "c", "image": "i", "resources": {}, "stdin": true});
        assert_eq!(fields(&pods, &pod(right)), Vec::<String>::new());
        let wrong = json!({"name": "c", "imagee": "i"});
        assert_eq!(fields(&pods, &pod(wrong)), ["spec.containers[0].imagee"]);
    }
}

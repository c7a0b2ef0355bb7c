//! Which webhooks want to see a write.

use serde_json::Value;
use weft_api::selector;
use weft_controllers::object::items;

use super::Review;
use crate::resource::Resource;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It comes into being.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
}

impl Operation {
    /// The word in a webhook's rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Whether a webhook wants to see a write. `namespace` is the labels that its
/// namespace selector is about; absent where there is no namespace.
pub fn concerns(
    webhook: &Value,
    review: &Review<'_>,
    object: &Value,
    namespace: Option<&Value>,
) -> bool {
    items(&webhook["rules"]).any(|rule| covers(rule, webhook, review))
        && namespace.is_none_or(|labels| selects(&webhook["namespaceSelector"], labels))
        && [Some(object), review.old]
            .into_iter()
            .flatten()
            .any(|object| selects(&webhook["objectSelector"], &object["metadata"]["labels"]))
}

/// A selector that a webhook does not have selects everything.
fn selects(selector: &Value, labels: &Value) -> bool {
    selector.is_null() || selector::matches(selector, labels)
}

fn covers(rule: &Value, webhook: &Value, review: &Review<'_>) -> bool {
    let lists =
        |field: &str, wanted: &str| items(&rule[field]).any(|one| one == "*" || one == wanted);
    let resource = review.resource;
    let any_version = webhook["matchPolicy"] != "Exact";
    let in_scope = match rule["scope"].as_str() {
        Some("Namespaced") => resource.namespaced,
        Some("Cluster") => !resource.namespaced,
        _ => true,
    };
    let group = canonical_group(resource);
    in_scope
        && lists("operations", review.operation.word())
        && (lists("apiGroups", &resource.group) || (any_version && lists("apiGroups", group)))
        && (any_version || lists("apiVersions", &resource.version))
        && items(&rule["resources"])
            .filter_map(Value::as_str)
            .any(|pattern| names(pattern, &resource.plural, review.subresource))
}

/// The group under which the objects are stored.
fn canonical_group(resource: &Resource) -> &str {
    if resource.group == "extensions" { "apps" } else { &resource.group }
}

fn names(pattern: &str, plural: &str, subresource: &str) -> bool {
    let (wanted, below) = pattern.split_once('/').unwrap_or((pattern, ""));
    (wanted == "*" || wanted == plural) && (below == "*" || below == subresource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::User, registry::Registry, store::Mode};
    use serde_json::json;

    #[track_caller]
    fn check(rule: Value, subresource: &str, expected: bool) {
        let pods = Registry::built_in().find("", "pods").unwrap();
        let user = User::default();
        let review = Review {
            operation: Operation::Create,
            resource: &pods,
            subresource,
            old: None,
            user: &user,
            mode: Mode::Commit,
        };
        let webhook = json!({
            "rules": [rule], "namespaceSelector": {"matchLabels": {"injection": "on"}},
            "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
        });
        let object = json!({"metadata": {"name": "p"}});
        let labels = json!({"injection": "on"});
        assert_eq!(concerns(&webhook, &review, &object, Some(&labels)), expected, "{webhook}");
        assert!(!concerns(&webhook, &review, &object, Some(&json!({}))));
        let skipped = json!({"metadata": {"labels": {"skip": "yes"}}});
        assert!(!concerns(&webhook, &review, &skipped, Some(&labels)));
    }

    fn rule(resources: &str, operation: &str, scope: &str) -> Value {
        json!({"operations": [operation], "apiGroups": [""], "apiVersions": ["v1"],
               "resources": [resources], "scope": scope})
    }

    #[test]
    fn rules_select_by_operation_resource_subresource_and_scope() {
        check(rule("pods", "CREATE", "*"), "", true);
        check(rule("*", "*", "Namespaced"), "", true);
        check(rule("pods", "UPDATE", "*"), "", false);
        check(rule("pods", "CREATE", "Cluster"), "", false);
        check(rule("services", "CREATE", "*"), "", false);
        check(rule("pods", "CREATE", "*"), "status", false);
        check(rule("pods/status", "CREATE", "*"), "status", true);
        check(rule("*/*", "CREATE", "*"), "status", true);
        check(rule("pods/*", "CREATE", "*"), "status", true);
        check(rule("services/*", "CREATE", "*"), "status", false);
    }
}

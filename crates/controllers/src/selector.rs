//! Which labels a selector selects.
//!
//! Both spellings: the `LabelSelector` of objects and the plain map of Services.
//! Knows nothing of what carries the labels.

use serde_json::Value;

use crate::object::items;

/// Whether `labels` satisfy a `LabelSelector` object; an empty one selects all.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    includes(&selector["matchLabels"], labels)
        && items(&selector["matchExpressions"]).all(|expression| satisfies(expression, labels))
}

/// Whether `labels` contain every pair of `wanted`.
pub fn includes(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_none_or(|wanted| {
        wanted.iter().all(|(key, value)| labels.get(key).is_some_and(|have| have == value))
    })
}

fn satisfies(expression: &Value, labels: &Value) -> bool {
    let have = expression["key"].as_str().and_then(|key| labels.get(key));
    let listed = || items(&expression["values"]).any(|value| Some(value) == have);
    match expression["operator"].as_str() {
        Some("In") => have.is_some() && listed(),
        Some("NotIn") => have.is_none() || !listed(),
        Some("Exists") => have.is_some(),
        Some("DoesNotExist") => have.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(selector: Value, labels: Value, expected: bool) {
        assert_eq!(matches(&selector, &labels), expected, "{selector} on {labels}");
    }

    #[test]
    fn every_operator_means_what_kubernetes_says() {
        let labels = || json!({"app": "web", "tier": "front"});
        let one = |operator: &str, key: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        check(json!({}), labels(), true);
        check(json!({"matchLabels": {"app": "web"}}), labels(), true);
        check(json!({"matchLabels": {"app": "db"}}), labels(), false);
        check(one("In", "app", json!(["web", "db"])), labels(), true);
        check(one("In", "zone", json!(["a"])), labels(), false);
        check(one("NotIn", "zone", json!(["a"])), labels(), true);
        check(one("NotIn", "app", json!(["web"])), labels(), false);
        check(one("Exists", "tier", json!([])), labels(), true);
        check(one("DoesNotExist", "tier", json!([])), labels(), false);
        check(one("Like", "tier", json!([])), labels(), false);
    }
}

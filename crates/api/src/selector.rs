//! Which labels a selector selects: the `LabelSelector` of Kubernetes' objects, and the
//! plain map of Services and Istio's objects.
//!
//! What cannot be read selects nothing. A `LabelSelector` that is not there selects nothing
//! either, and an empty one everything; a map without pairs asks for nothing.

use std::collections::BTreeMap;

use serde_json::Value;

/// Whether `labels` satisfy a `LabelSelector` object.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let expressions = match &selector["matchExpressions"] {
        Value::Null => &[],
        Value::Array(expressions) => expressions.as_slice(),
        _ => return false,
    };
    selector.is_object()
        && includes(&selector["matchLabels"], labels)
        && expressions.iter().all(|expression| satisfies(expression, labels))
}

/// Whether `labels` contain every pair of the map `wanted`.
pub fn includes(wanted: &Value, labels: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Object(wanted) => wanted.iter().all(|(key, value)| {
            value.is_string() && labels.get(key).is_some_and(|have| have == value)
        }),
        _ => false,
    }
}

/// Whether `labels` contain every pair of `wanted`.
pub fn selects(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// What is asked of the value of one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is one of these.
    In,
    /// It is another value than these, or absent.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl Operator {
    /// Whether a label with this value, or an absent one, is as asked.
    pub fn holds<'v>(self, have: Option<&str>, values: impl IntoIterator<Item = &'v str>) -> bool {
        let is_listed = || have.is_some_and(|have| values.into_iter().any(|value| value == have));
        match self {
            Self::In => is_listed(),
            Self::NotIn => !is_listed(),
            Self::Exists => have.is_some(),
            Self::DoesNotExist => have.is_none(),
        }
    }
}

fn satisfies(expression: &Value, labels: &Value) -> bool {
    let operator = match expression["operator"].as_str() {
        Some("In") => Operator::In,
        Some("NotIn") => Operator::NotIn,
        Some("Exists") => Operator::Exists,
        Some("DoesNotExist") => Operator::DoesNotExist,
        _ => return false,
    };
    let Some(key) = expression["key"].as_str() else { return false };
    let values = expression["values"].as_array().into_iter().flatten();
    operator.holds(labels.get(key).and_then(Value::as_str), values.filter_map(Value::as_str))
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

    #[test]
    fn what_is_absent_or_cannot_be_read_selects_nothing() {
        for selector in [
            json!(null),
            json!("app=web"),
            json!({"matchLabels": ["app"]}),
            json!({"matchLabels": {"app": 5}}),
            json!({"matchExpressions": {"key": "app"}}),
            json!({"matchExpressions": [{"operator": "DoesNotExist"}]}),
        ] {
            check(selector, json!({"app": "web"}), false);
        }
        check(json!({"matchLabels": null, "matchExpressions": null}), json!(null), true);
        assert!(includes(&json!(null), &json!({"app": "web"})));
        assert!(!includes(&json!([]), &json!({"app": "web"})));
    }
}

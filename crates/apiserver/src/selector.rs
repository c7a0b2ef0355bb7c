//! Selectors as text: which labels and which fields a caller wants.
//!
//! The grammar is Kubernetes' own; a field that cannot be selected by is refused.

use serde_json::Value;
use weft_api::selector;

use crate::status::Status;

/// A label selector such as `app=web,tier in (a,b),!old`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    /// As in a `LabelSelector` object.
    Plain(selector::Operator),
    Above,
    Below,
}

const IN: Operator = Operator::Plain(selector::Operator::In);
const NOT_IN: Operator = Operator::Plain(selector::Operator::NotIn);
const EXISTS: Operator = Operator::Plain(selector::Operator::Exists);
const ABSENT: Operator = Operator::Plain(selector::Operator::DoesNotExist);

impl Labels {
    /// Reads a selector; an empty one selects everything.
    pub fn parse(text: &str) -> Result<Self, Status> {
        parts(text).into_iter().map(requirement).collect::<Result<_, _>>().map(Self).map_err(
            |part| {
                Status::bad_request(format!(
                    "unable to parse requirement {part:?} of labelSelector"
                ))
            },
        )
    }

    /// Whether an object is selected.
    pub fn match_object(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|one| one.is_met(labels.get(&one.key).and_then(Value::as_str)))
    }
}

impl Requirement {
    fn is_met(&self, have: Option<&str>) -> bool {
        let compare = || {
            let number = |text: &str| text.parse::<i64>().ok();
            Some(number(have?)?.cmp(&number(self.values.first()?)?))
        };
        match self.operator {
            Operator::Plain(plain) => plain.holds(have, self.values.iter().map(String::as_str)),
            Operator::Above => compare().is_some_and(std::cmp::Ordering::is_gt),
            Operator::Below => compare().is_some_and(std::cmp::Ordering::is_lt),
        }
    }
}

/// Splits at commas outside parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let make = |key: &str, operator, values: Vec<String>| {
        let key = key.trim();
        let fits = !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
        match fits {
            true => Ok(Requirement { key: key.to_owned(), operator, values }),
            false => Err(part.to_owned()),
        }
    };
    if let Some(key) = part.strip_prefix('!') {
        return make(key, ABSENT, Vec::new());
    }
    for (word, operator) in
        [("!=", NOT_IN), ("==", IN), ("=", IN), (">", Operator::Above), ("<", Operator::Below)]
    {
        if let Some((key, value)) = part.split_once(word) {
            return make(key, operator, vec![value.trim().to_owned()]);
        }
    }
    for (word, operator) in [(" notin ", NOT_IN), (" in ", IN)] {
        let spaced = part.replace('(', " (");
        if let Some((key, list)) = spaced.split_once(word) {
            let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
            let Some(list) = list else { return Err(part.to_owned()) };
            let values = list.split(',').map(|value| value.trim().to_owned()).collect();
            return make(key, operator, values);
        }
    }
    make(part, EXISTS, Vec::new())
}

/// Fields by which objects can be selected.
const SELECTABLE: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "type",
    "source",
];

/// A field selector such as `metadata.name=web,status.phase!=Running`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Reads a selector; an empty one selects everything.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let one = |part: &str| {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, true, value)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, true, value)
            } else {
                let message = format!("fieldSelector {part:?} has no operator; use = or !=");
                return Err(Status::bad_request(message));
            };
            if !SELECTABLE.contains(&field) {
                let message = format!("field label not supported: {field}");
                return Err(Status::bad_request(message));
            }
            Ok((field.to_owned(), equal, value.to_owned()))
        };
        parts(text).into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an object is selected.
    pub fn match_object(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let value = field.split('.').fold(object, |value, step| &value[step]);
            (value.as_str().unwrap_or_default() == wanted) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({"metadata": {"name": "p", "labels": {"app": "web", "tier": "front", "n": "5"}},
               "status": {"phase": "Running"}})
    }

    #[track_caller]
    fn check(labels: &str, expected: Option<bool>) {
        let found = Labels::parse(labels).ok().map(|labels| labels.match_object(&object()));
        assert_eq!(found, expected, "{labels}");
    }

    #[test]
    fn label_selectors_read_as_kubectl_writes_them() {
        check("", Some(true));
        check("app=web,tier!=back", Some(true));
        check("app in (web, db),tier notin (back)", Some(true));
        check("app in(db)", Some(false));
        check("app,!zone", Some(true));
        check("!app", Some(false));
        check("n>4,n<6", Some(true));
        check("zone!=x", Some(true));
        check("app in web", None);
        check("a b", None);
    }

    #[test]
    fn field_selectors_know_their_fields() {
        let fields =
            |text: &str| FieldSelector::parse(text).map(|fields| fields.match_object(&object()));
        assert_eq!(fields("metadata.name=p,status.phase!=Failed"), Ok(true));
        assert_eq!(fields("status.phase==Pending"), Ok(false));
        assert_eq!(
            fields("spec.colour=red").unwrap_err().message,
            "field label not supported: spec.colour"
        );
    }
}

//! The name of any object, of whatever kind.

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::{Document, Problem, foreign};

/// Names one object of any kind, in whatever version it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty when none is written, or the one that this means.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// The name of `object`, if it has an `apiVersion`, a `kind` and a name; objects that
    /// name no namespace are those of `namespace`.
    pub fn of(object: &Value, namespace: &str) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let present = |pointer: &str| text(pointer).filter(|text| !text.is_empty());
        let group = match present("/apiVersion")?.split_once('/') {
            // Deployments have moved; they are the same objects.
            Some(("extensions", _)) => "apps",
            Some((group, _)) => group,
            None => "",
        };
        Some(Self {
            group: group.to_owned(),
            kind: present("/kind")?.to_owned(),
            namespace: present("/metadata/namespace")
                .filter(|own| *own != namespace)
                .unwrap_or_default()
                .to_owned(),
            name: present("/metadata/name")?.to_owned(),
        })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_empty() {
            true => write!(f, "{}/{}", self.kind, self.name),
            false => write!(f, "{}/{}/{}", self.kind, self.namespace, self.name),
        }
    }
}

/// The documents with their names, and why others have none.
pub(super) fn each(
    documents: Vec<Document>,
    namespace: &str,
) -> (Vec<(ObjectName, Arc<Document>)>, Vec<Problem>) {
    let (mut named, mut problems) = (Vec::new(), Vec::new());
    for document in documents {
        if !document.problems.is_empty() {
            problems.extend(document.problems);
            continue;
        }
        if let Some(problem) = foreign(&document) {
            problems.push(problem);
            continue;
        }
        let name = document.value.as_ref().and_then(|value| ObjectName::of(value, namespace));
        match name {
            Some(name) => named.push((name, Arc::new(document))),
            None => problems.push(nameless(&document)),
        }
    }
    (named, problems)
}

/// Which part of the name is missing, or is something else than a text.
fn nameless(document: &Document) -> Problem {
    let parts =
        [("apiVersion", "/apiVersion"), ("kind", "/kind"), ("metadata.name", "/metadata/name")];
    let found = parts.into_iter().find_map(|part| missing(document, part));
    let message = || "the object has no name".to_owned();
    found.unwrap_or_else(|| Problem { place: document.place(), message: message() })
}

/// What an object lacks first that has no `metadata.name`.
pub fn unnamed(document: &Document) -> Option<Problem> {
    missing(document, ("metadata.name", "/metadata/name")).map(|_| nameless(document))
}

fn missing(document: &Document, (field, pointer): (&str, &str)) -> Option<Problem> {
    let value = document.value.as_ref().and_then(|value| value.pointer(pointer));
    let message = match value {
        Some(Value::String(text)) if !text.is_empty() => return None,
        Some(value @ (Value::Bool(_) | Value::Number(_))) => {
            format!("{field} is read as {value}, not as a text; put it in quotes")
        }
        _ => format!("the object has no {field}; give it one"),
    };
    let place = document.locate(field).unwrap_or_else(|| document.place());
    Some(Problem { place, message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(version: &str, namespace: &str, expected: &str) {
        let object = json!({
            "apiVersion": version, "kind": "Deployment",
            "metadata": {"name": "cart", "namespace": namespace},
        });
        let name = ObjectName::of(&object, "default").unwrap();
        assert_eq!(format!("{} {name}", name.group), expected);
    }

    #[test]
    fn an_object_without_a_namespace_is_in_the_one_of_its_files() {
        let object = |namespace: &str| {
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "cart", "namespace": namespace},
            })
        };
        let name = |namespace| ObjectName::of(&object(namespace), "shop").unwrap();
        assert_eq!(name(""), name("shop"));
        assert_ne!(name(""), name("default"));
    }

    #[test]
    fn versions_and_the_default_namespace_do_not_make_another_object() {
        check("apps/v1", "", "apps Deployment/cart");
        check("apps/v1", "default", "apps Deployment/cart");
        check("extensions/v1beta1", "shop", "apps Deployment/shop/cart");
    }
}

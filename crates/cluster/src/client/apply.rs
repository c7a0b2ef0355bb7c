//! Server-side apply of one object, told as kubectl tells it.

use http::Method;
use serde_json::{Value, json};

use super::{ClientError, Cluster, JSON, MANAGER, Resources, get, text};

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// It is new.
    Created,
    /// It has changed.
    Configured,
    /// It was as it should be.
    Unchanged,
}

/// An object that the server has accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// `deployment.apps/hello`.
    pub name: String,
    /// What became of it.
    pub outcome: ApplyOutcome,
    /// The object as the server has it now.
    pub object: Value,
    /// What the server had to say about it.
    pub warnings: Vec<String>,
}

impl ApplyOutcome {
    /// kubectl's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Where `kubectl apply` looks for what was applied before.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most that all annotations of an object may have, in bytes.
const ANNOTATIONS: usize = 256 * 1024;

/// `object` with the annotation that `kubectl apply` expects on objects that it did not
/// create itself. One that is too large for an annotation goes without.
pub fn with_last_applied(object: &Value) -> Value {
    let mut last = object.clone();
    let annotations = last.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{last}\n");
    let mut object = object.clone();
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return object;
    };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let Some(annotations) = annotations.as_object_mut() else { return object };
    let others: usize = annotations.iter().map(|(key, value)| key.len() + text_len(value)).sum();
    if others + LAST_APPLIED.len() + text.len() <= ANNOTATIONS {
        annotations.insert(LAST_APPLIED.to_owned(), text.into());
    }
    object
}

fn text_len(value: &Value) -> usize {
    value.as_str().map_or(0, str::len)
}

impl Cluster {
    /// Applies `object` on the server. Fields of other managers are kept; a field that
    /// `object` sets, too, is taken over.
    ///
    /// An object that names no namespace goes into `namespace`.
    pub async fn apply(
        &self,
        resources: &Resources,
        object: &Value,
        namespace: &str,
    ) -> Result<Applied, ClientError> {
        let resource = resources.of(text(object, "/apiVersion"), text(object, "/kind"))?;
        let name = text(object, "/metadata/name");
        if name.is_empty() {
            let message = format!("a {} without metadata.name cannot be applied", resource.kind);
            return Err(ClientError::Usage(message));
        }
        let mut object = object.clone();
        let namespace = match text(&object, "/metadata/namespace") {
            "" => namespace.to_owned(),
            own => own.to_owned(),
        };
        if resource.namespaced
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.insert("namespace".to_owned(), namespace.clone().into());
        }
        // A manifest that was read from a server carries what only the server may say.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp"] {
                metadata.remove(field);
            }
        }
        let path = resource.path(&namespace, name);
        let before = self.find(resource, &namespace, name).await?;
        let query = format!("{path}?fieldManager={MANAGER}&force=true");
        let media = (JSON, "application/apply-patch+yaml");
        let reply = self.call(Method::PATCH, &query, media, Some(&object)).await?;
        let version = |object: &Value| text(object, "/metadata/resourceVersion").to_owned();
        let outcome = match &before {
            _ if reply.code == 201 => ApplyOutcome::Created,
            None => ApplyOutcome::Created,
            Some(before) if version(before) == version(&reply.body) => ApplyOutcome::Unchanged,
            Some(_) => ApplyOutcome::Configured,
        };
        Ok(Applied {
            name: get::name(resource, &reply.body),
            outcome,
            object: reply.body,
            warnings: reply.warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_finds_what_was_applied() {
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "c"}});
        let applied = with_last_applied(&object);
        let text = applied["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), object);
        // Applying what was read from a server does not nest annotations.
        let again = with_last_applied(&applied);
        let text = again["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
        assert!(!text.contains(LAST_APPLIED), "{text}");
    }

    #[test]
    fn an_object_that_is_too_large_goes_without() {
        let object = json!({"metadata": {"name": "a"}, "data": {"b": "c".repeat(ANNOTATIONS)}});
        assert_eq!(with_last_applied(&object)["metadata"]["annotations"], json!({}));
        assert_eq!(with_last_applied(&json!({"metadata": "x"})), json!({"metadata": "x"}));
    }
}

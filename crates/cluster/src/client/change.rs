//! Small changes to objects: their labels, and how many pods they have.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{ClientError, Cluster, JSON, Resource, text};

/// What became of an object's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labelled {
    /// At least one is new or different.
    Labelled,
    /// Some were taken away, none is new.
    Unlabelled,
    /// They were as they should be.
    Unchanged,
}

const MERGE: &str = "application/merge-patch+json";

impl Cluster {
    /// Sets labels, and removes those without a value. A label that has another
    /// value is only changed when `overwrite` says so.
    pub async fn label(
        &self,
        resource: &Resource,
        object: &Value,
        (changes, overwrite): (&BTreeMap<String, Option<String>>, bool),
    ) -> Result<Labelled, ClientError> {
        let outcome = labelled(object, changes, overwrite)?;
        if outcome != Labelled::Unchanged {
            let path = self.path_of(resource, object);
            let patch = json!({"metadata": {"labels": changes}});
            self.call(Method::PATCH, &path, (JSON, MERGE), Some(&patch)).await?;
        }
        Ok(outcome)
    }

    /// Sets how many pods an object has.
    pub async fn scale(
        &self,
        resource: &Resource,
        object: &Value,
        replicas: u32,
    ) -> Result<(), ClientError> {
        let path = self.path_of(resource, object) + "/scale";
        let patch = json!({"spec": {"replicas": replicas}});
        self.call(Method::PATCH, &path, (JSON, MERGE), Some(&patch)).await?;
        Ok(())
    }

    fn path_of(&self, resource: &Resource, object: &Value) -> String {
        resource.path(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
    }
}

fn labelled(
    object: &Value,
    changes: &BTreeMap<String, Option<String>>,
    overwrite: bool,
) -> Result<Labelled, ClientError> {
    let mut outcome = Labelled::Unchanged;
    for (key, value) in changes {
        let old = object["metadata"]["labels"].get(key).and_then(Value::as_str);
        match (old, value) {
            (old, Some(new)) if old == Some(new) => {}
            (Some(old), Some(_)) if !overwrite => {
                let text = format!("'{key}' already has a value ({old}), and --overwrite is false");
                return Err(ClientError::Usage(text));
            }
            (_, Some(_)) => outcome = Labelled::Labelled,
            (Some(_), None) if outcome == Labelled::Unchanged => outcome = Labelled::Unlabelled,
            (_, None) => {}
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(changes: &[(&str, Option<&str>)], overwrite: bool, expected: Result<Labelled, &str>) {
        let object = json!({"metadata": {"labels": {"a": "1"}}});
        let own = |text: &str| text.to_owned();
        let changes = changes.iter().map(|(key, value)| (own(key), value.map(own))).collect();
        let outcome = labelled(&object, &changes, overwrite).map_err(|error| error.to_string());
        assert_eq!(outcome, expected.map_err(str::to_owned));
    }

    #[test]
    fn labels_are_only_overwritten_on_demand() {
        check(&[("a", Some("1"))], false, Ok(Labelled::Unchanged));
        let refusal = "'a' already has a value (1), and --overwrite is false";
        check(&[("a", Some("2"))], false, Err(refusal));
        check(&[("a", Some("2"))], true, Ok(Labelled::Labelled));
        check(&[("a", None)], false, Ok(Labelled::Unlabelled));
        check(&[("b", None)], false, Ok(Labelled::Unchanged));
        check(&[("a", None), ("b", Some("1"))], false, Ok(Labelled::Labelled));
    }
}

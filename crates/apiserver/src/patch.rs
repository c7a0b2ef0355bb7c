//! Changing an object by a description of the change.
//!
//! Pure: an object and a patch in, an object out. Who owns which field is kept
//! by [`managers`]; storing and admission happen elsewhere.

pub mod apply;
pub mod fields;
pub mod json;
pub mod lists;
pub mod managers;
pub mod strategic;

use serde_json::Value;

use crate::{
    media,
    resource::{Origin, Resource},
    status::Status,
};

/// What happens to unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// They are dropped or kept in silence.
    Ignore,
    /// The client is warned.
    Warn,
    /// The write is refused.
    Strict,
}

/// A change to an object, in one of the four languages.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own merge, which knows the keys of lists.
    Strategic(Value),
    /// The fields that their manager wants, with or without force.
    Apply(Value, Conflicts),
}

/// What happens when fields that a manager wants belong to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// The write is refused.
    Refuse,
    /// The fields change hands.
    Force,
}

impl Patch {
    /// Reads a patch by its media type.
    pub fn parse(media: &str, body: &[u8], force: Conflicts) -> Result<Self, Status> {
        let kind = media.split(';').next().unwrap_or_default().trim();
        let json = || {
            media::json(body)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
        };
        match kind {
            "application/json-patch+json" => {
                let wrong = |error| Status::bad_request(format!("error decoding patch: {error}"));
                serde_json::from_value(json()?).map(Self::Json).map_err(wrong)
            }
            "application/merge-patch+json" => Ok(Self::Merge(json()?)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(json()?)),
            "application/apply-patch+yaml" => {
                let wanted = media::yaml(body)?;
                match wanted.is_object() {
                    true => Ok(Self::Apply(wanted, force)),
                    false => Err(Status::bad_request("what is applied must be one object")),
                }
            }
            other => Err(Status::new(
                415,
                "UnsupportedMediaType",
                format!(
                    "the body of the request was in an unknown format ({other:?}); accepted media \
                     types are application/json-patch+json, application/merge-patch+json, \
                     application/strategic-merge-patch+json and application/apply-patch+yaml"
                ),
            )),
        }
    }

    /// The object after a patch that is no [`Patch::Apply`].
    pub fn merged(&self, resource: &Resource, object: &Value) -> Result<Value, Status> {
        let mut result = object.clone();
        match self {
            Self::Json(patch) => json::change(&mut result, patch)?,
            Self::Merge(patch) => json_patch::merge(&mut result, patch),
            Self::Strategic(patch) => {
                if matches!(resource.origin, Origin::Custom(_)) {
                    let message = "strategic merge patches are not served for custom resources; \
                                   send application/merge-patch+json";
                    return Err(Status::new(415, "UnsupportedMediaType", message));
                }
                strategic::merge(&mut result, patch)?;
            }
            Self::Apply(wanted, _) => result = wanted.clone(),
        }
        match result.is_object() {
            true => Ok(result),
            false => Err(Status::bad_request("the patched object is not an object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    #[test]
    fn a_json_patch_that_fails_late_is_refused_whatever_it_did_before() {
        let resource = Registry::built_in().find("", "configmaps").unwrap();
        let object = json!({"metadata": {"name": "a"}, "data": {}});
        let fails = json!({"op": "test", "path": "/nowhere", "value": 1});
        for first in [
            json!({"op": "move", "from": "/metadata", "path": ""}),
            json!({"op": "replace", "path": "", "value": 1}),
            json!({"op": "add", "path": "/data/a", "value": 1}),
        ] {
            let body = json!([first, fails]).to_string();
            let media = "application/json-patch+json";
            let patch = Patch::parse(media, body.as_bytes(), Conflicts::Refuse).unwrap();
            let refused = patch.merged(&resource, &object).unwrap_err();
            assert_eq!(refused.code, 422, "{first}");
        }
    }
}

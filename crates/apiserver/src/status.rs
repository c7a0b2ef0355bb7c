//! A refusal as Kubernetes clients read it: code, reason, text and details.
//!
//! Every boundary of this crate that can refuse returns a [`Status`], since a
//! client decides by code and reason what to do next. It knows no resource.

use serde_json::{Value, json};

/// Why the API server refused a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// The sentence for a person.
    pub message: String,
    /// Kubernetes' `details` object: name, group, kind, causes.
    pub details: Value,
}

/// One field of an object that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Path of the field, such as `spec.ports[0].port`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Kubernetes' name for the kind of mistake, such as `FieldValueRequired`.
    pub reason: &'static str,
}

impl Cause {
    /// A field that has to be there and is not.
    pub fn required(field: impl Into<String>, message: &str) -> Self {
        let message = match message {
            "" => "Required value".to_owned(),
            text => format!("Required value: {text}"),
        };
        Self { field: field.into(), message, reason: "FieldValueRequired" }
    }

    /// A field whose value cannot be.
    pub fn invalid(field: impl Into<String>, value: &Value, message: &str) -> Self {
        let message = format!("Invalid value: {value}: {message}");
        Self { field: field.into(), message, reason: "FieldValueInvalid" }
    }
}

impl Status {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    /// The object does not exist.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, plural));
        Self::new(404, "NotFound", message).about(group, plural, name)
    }

    /// Nothing is served under this path.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// The object exists already.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, plural));
        Self::new(409, "AlreadyExists", message).about(group, plural, name)
    }

    /// Another writer has changed the object in the meantime.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let object = qualified(group, plural);
        let message = format!("Operation cannot be fulfilled on {object} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(group, plural, name)
    }

    /// Fields of the object are wrong.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let object = qualified(group, kind);
        let texts: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let list = match texts.as_slice() {
            [only] => only.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status =
            Self::new(422, "Invalid", format!("{object} \"{name}\" is invalid: {list}"))
                .about(group, kind, name);
        status.details["causes"] = causes
            .iter()
            .map(|cause| {
                json!({"reason": cause.reason, "message": cause.message, "field": cause.field})
            })
            .collect();
        status
    }

    /// The request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The caller may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    /// The caller may not do something to a resource or one of its objects.
    pub fn forbidden_to(group: &str, plural: &str, name: &str, what: &str) -> Self {
        let resource = qualified(group, plural);
        let message = match name {
            "" => format!("{resource} is forbidden: {what}"),
            name => format!("{resource} \"{name}\" is forbidden: {what}"),
        };
        Self::forbidden(message).about(group, plural, name)
    }

    /// Nobody knows the caller.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// The version asked for has left the history; list again.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self::new(410, "Expired", message)
    }

    /// The resource exists, this verb on it does not.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(405, "MethodNotAllowed", message)
    }

    /// Something on this side failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// Names the object that this refusal is about.
    #[must_use]
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = json!({"name": name, "kind": kind});
        if !group.is_empty() {
            self.details["group"] = group.into();
        }
        self
    }

    /// The `v1` Status object that goes over the wire.
    pub fn to_value(&self) -> Value {
        // Details are there even if empty: kubectl looks into those of a 404 unasked.
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
            "details": self.details,
        })
    }
}

fn qualified(group: &str, word: &str) -> String {
    match group {
        "" => word.to_owned(),
        group => format!("{word}.{group}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_on_a_cluster() {
        let status = Status::not_found("apps", "deployments", "web");
        assert_eq!(status.to_string(), "deployments.apps \"web\" not found");
        assert_eq!(
            status.to_value()["details"],
            json!({"name": "web", "kind": "deployments", "group": "apps"})
        );
    }

    #[test]
    fn a_path_that_is_not_served_has_details_for_kubectl_to_look_into() {
        assert_eq!(Status::no_such_path().to_value()["details"], json!({}));
    }

    #[test]
    fn several_wrong_fields_are_told_together() {
        let causes =
            [Cause::required("spec.a", ""), Cause::invalid("spec.b", &json!(7), "must be even")];
        let status = Status::invalid("", "Pod", "p", &causes);
        assert_eq!(
            status.message,
            "Pod \"p\" is invalid: [spec.a: Required value, spec.b: Invalid value: 7: must be even]"
        );
    }
}

//! Asking webhooks about a write before it is stored.
//!
//! First those that may change the object, then those that may refuse it. What a
//! webhook does with an object is its own affair; nothing here knows a mesh.

mod call;
mod matching;
mod pod_security;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use weft_controllers::object;

use crate::{
    access::User,
    node::Dial,
    resource::{Builtin, Resource},
    status::Status,
    store::{Mode, Store},
};
pub use matching::Operation;

/// What is about to be written, by whom.
pub struct Review<'a> {
    /// What kind of write.
    pub operation: Operation,
    /// Of which resource, in the version of the request.
    pub resource: &'a Resource,
    /// Through which subresource, or nothing.
    pub subresource: &'a str,
    /// The object as stored; absent for a new one.
    pub old: Option<&'a Value>,
    /// By whom.
    pub user: &'a User,
    /// Whether it is a trial.
    pub mode: Mode,
}

/// The webhooks of a cluster.
pub struct Admission {
    store: Store,
    caller: call::Caller,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Mutating,
    Validating,
}

impl Admission {
    /// Webhooks are the configurations in `store`, reached through `dial`.
    pub fn new(store: Store, dial: Arc<dyn Dial>) -> Self {
        Self { store, caller: call::Caller::new(dial) }
    }

    /// The object as the mutating webhooks want it, and whether one of them changed it;
    /// their warnings are added.
    pub async fn mutate(
        &self,
        review: &Review<'_>,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<(Value, bool), Status> {
        let webhooks = self.concerned(Phase::Mutating, review, &object);
        let mut last_change = None;
        for (index, webhook) in webhooks.iter().enumerate() {
            let answered = self.ask(webhook, review, Some(&object), warnings).await?;
            if let Some(changed) = answered.filter(|changed| *changed != object) {
                object = changed;
                last_change = Some(index);
            }
        }
        for (index, webhook) in webhooks.iter().enumerate() {
            let again = last_change.is_some_and(|last| last > index)
                && webhook["reinvocationPolicy"] == "IfNeeded";
            if again
                && let Some(changed) = self.ask(webhook, review, Some(&object), warnings).await?
            {
                object = changed;
            }
        }
        Ok((object, last_change.is_some()))
    }

    /// Whether the validating webhooks agree; their warnings are added.
    pub async fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let looked_at = object.or(review.old).unwrap_or(&Value::Null);
        for webhook in self.concerned(Phase::Validating, review, looked_at) {
            self.ask(&webhook, review, object, warnings).await?;
        }
        Ok(())
    }

    /// Whether the namespace's labels allow a pod; what they warn about is added.
    pub fn secure(
        &self,
        resource: &Resource,
        object: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let Some(namespaces) =
            self.store.resource("", "namespaces").filter(|_| resource.namespaced)
        else {
            return Ok(());
        };
        let namespace = self.store.get(&namespaces, "", object::namespace(object));
        namespace.map_or(Ok(()), |found| pod_security::check(resource, object, &found, warnings))
    }

    /// The webhooks that want to see this write, in the order of their names.
    fn concerned(&self, phase: Phase, review: &Review<'_>, object: &Value) -> Vec<Value> {
        // Nobody may lock themselves out of the configurations that lock them out.
        if review.resource.group == "admissionregistration.k8s.io" {
            return Vec::new();
        }
        let plural = match phase {
            Phase::Mutating => "mutatingwebhookconfigurations",
            Phase::Validating => "validatingwebhookconfigurations",
        };
        let Some(configurations) = self.store.resource("admissionregistration.k8s.io", plural)
        else {
            return Vec::new();
        };
        let configurations = self.store.list(&configurations, None).items;
        let namespace = self.labels_of_namespace(review.resource, object);
        configurations
            .iter()
            .flat_map(|configuration| object::items(&configuration["webhooks"]))
            .filter(|webhook| matching::concerns(webhook, review, object, namespace.as_ref()))
            .cloned()
            .collect()
    }

    /// The labels that a webhook's `namespaceSelector` is about, if it is about any.
    fn labels_of_namespace(&self, resource: &Resource, object: &Value) -> Option<Value> {
        if resource.is(Builtin::Namespace) {
            return Some(object["metadata"]["labels"].clone());
        }
        let namespaces = self.store.resource("", "namespaces").filter(|_| resource.namespaced)?;
        let found = self.store.get(&namespaces, "", object::namespace(object));
        Some(found.map_or(Value::Null, |found| found["metadata"]["labels"].clone()))
    }

    /// One webhook's answer: the object if it changed it.
    async fn ask(
        &self,
        webhook: &Value,
        review: &Review<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, Status> {
        let name = webhook["name"].as_str().unwrap_or_default();
        let uid = crate::store::uid();
        let answer = match self.caller.call(webhook, &request(review, object, &uid)).await {
            Ok(answer) => answer,
            Err(error) if webhook["failurePolicy"] == "Ignore" => {
                tracing::warn!(
                    webhook = name,
                    "calling a webhook failed, which it allows: {error}"
                );
                return Ok(None);
            }
            Err(error) => {
                return Err(Status::internal(format!(
                    "Internal error occurred: failed calling webhook \"{name}\": failed to call \
                     webhook: {error}"
                )));
            }
        };
        let response = &answer["response"];
        warnings.extend(
            object::items(&response["warnings"]).filter_map(Value::as_str).map(str::to_owned),
        );
        if response["uid"] != uid.as_str() {
            let message = format!("webhook \"{name}\" answered another request than it was asked");
            return Err(Status::internal(message));
        }
        if response["allowed"] != true {
            return Err(denial(name, &response["status"]));
        }
        match (object, response["patch"].as_str()) {
            (Some(object), Some(patch)) => patched(name, object, patch).map(Some),
            _ => Ok(None),
        }
    }
}

fn patched(webhook: &str, object: &Value, patch: &str) -> Result<Value, Status> {
    let broken = |why: String| {
        Status::internal(format!(
            "Internal error occurred: webhook \"{webhook}\" sent a patch that {why}"
        ))
    };
    let bytes =
        STANDARD.decode(patch).map_err(|error| broken(format!("is not base64: {error}")))?;
    let patch: json_patch::Patch = serde_json::from_slice(&bytes)
        .map_err(|error| broken(format!("is no JSON patch: {error}")))?;
    let mut changed = object.clone();
    crate::patch::json::change(&mut changed, &patch)
        .map_err(|error| broken(format!("does not fit the object: {error}")))?;
    Ok(changed)
}

fn denial(webhook: &str, status: &Value) -> Status {
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(403);
    let message = match status["message"].as_str().or(status["reason"].as_str()) {
        Some(text) if !text.is_empty() => {
            format!("admission webhook \"{webhook}\" denied the request: {text}")
        }
        _ => format!("admission webhook \"{webhook}\" denied the request without explanation"),
    };
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        409 => "Conflict",
        422 => "Invalid",
        code if code >= 500 => "InternalError",
        _ => "Forbidden",
    };
    Status::new(code, reason, message)
}

fn request(review: &Review<'_>, object: Option<&Value>, uid: &str) -> Value {
    let resource = review.resource;
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let plural = json!({
        "group": resource.group, "version": resource.version, "resource": resource.plural,
    });
    let looked_at = object.or(review.old).unwrap_or(&Value::Null);
    let mut request = json!({
        "uid": uid, "kind": kind, "resource": plural, "requestKind": kind,
        "requestResource": plural, "name": object::name(looked_at),
        "operation": review.operation.word(), "userInfo": review.user.to_value(),
        "object": object, "oldObject": review.old, "dryRun": review.mode == Mode::DryRun,
        "options": null,
    });
    if resource.namespaced {
        request["namespace"] = object::namespace(looked_at).into();
    }
    if !review.subresource.is_empty() {
        request["subResource"] = review.subresource.into();
        request["requestSubResource"] = review.subresource.into();
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

#[cfg(test)]
mod tests;

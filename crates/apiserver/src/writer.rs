//! The steps of every write that may be refused: defaults, webhooks, validation,
//! ownership of fields, storage.
//!
//! Writes of requests and of controllers take the same steps, so a pod made by a
//! ReplicaSet meets the same webhooks as one made by kubectl.

mod preparation;

use std::sync::Arc;

use serde_json::Value;
use weft_controllers::object;

use crate::{
    access::{self, Attempt, User},
    admission::{Admission, Operation, Review},
    defaults, form,
    patch::{
        Patch, Validation, apply,
        fields::FieldSet,
        managers::{self, Manager},
    },
    resource::{Builtin, Origin, Resource},
    schema,
    status::Status,
    store::{Deleted, Deletion, Mode, Part, Store, name, timestamp},
    validate,
};

pub use preparation::check_identity;
use preparation::{check_size, inherit, prepare};

/// How often a patch is tried again after another writer has changed the object.
const TRIES: usize = 8;

/// Namespaces that a cluster is never without.
const LASTING: &[&str] = &["default", "kube-system", "kube-public"];

/// Who writes, and how.
#[derive(Debug, Clone)]
pub struct Author {
    /// The caller.
    pub user: User,
    /// The name under which its fields are kept.
    pub manager: String,
    /// Whether it is a trial.
    pub mode: Mode,
    /// What happens to unknown fields.
    pub validation: Validation,
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object after it.
    pub object: Arc<Value>,
    /// What the client should be told.
    pub warnings: Vec<String>,
    /// Whether the object is new.
    pub is_new: bool,
}

/// Writes through admission.
pub struct Writer {
    store: Store,
    admission: Admission,
}

impl Writer {
    /// A writer to `store` by way of `admission`.
    pub fn new(store: Store, admission: Admission) -> Self {
        Self { store, admission }
    }

    /// Makes an object.
    pub async fn create(
        &self,
        author: &Author,
        resource: &Resource,
        mut object: Value,
    ) -> Result<Written, Status> {
        let mut warnings = Vec::new();
        prepare(author, resource, &mut object, &mut warnings)?;
        name(&mut object);
        if let Some(cause) = validate::name(resource, object::name(&object)) {
            let name = object::name(&object);
            return Err(Status::invalid(&resource.group, &resource.kind, name, &[cause]));
        }
        if !managers::read(&object)
            .iter()
            .any(|one| one.operation == managers::ManagerOperation::Apply)
        {
            managers::record(resource, None, &mut object, signature(author, resource, ""));
        }
        let review = Review {
            operation: Operation::Create,
            resource,
            subresource: "",
            old: None,
            user: &author.user,
            mode: author.mode,
        };
        let object = self.admit(&review, object, &mut warnings).await?;
        let object = self.store.insert(resource, object, author.mode)?;
        Ok(Written { object, warnings, is_new: true })
    }

    /// Replaces a part of an object.
    pub async fn update(
        &self,
        author: &Author,
        resource: &Resource,
        object: Value,
        part: Part,
    ) -> Result<Written, Status> {
        let old = self.stored(resource, object::namespace(&object), object::name(&object))?;
        self.replace(author, resource, (&old, object), (part, Trace::Changes)).await
    }

    /// Changes an object, or makes it where an apply finds none.
    pub async fn patch(
        &self,
        author: &Author,
        resource: &Resource,
        (namespace, name): (&str, &str),
        (part, patch): (Part, &Patch),
    ) -> Result<Written, Status> {
        let mut patch = patch.clone();
        if let Patch::Apply(wanted, _) = &mut patch {
            form::decode(resource, wanted)?;
        }
        let patch = &patch;
        let mut tries = 0;
        loop {
            tries += 1;
            let old = self.store.get(resource, namespace, name);
            let Some(old) = old else {
                // As in Kubernetes, only the object itself is made by an apply.
                if part != Part::Main {
                    return Err(Status::not_found(&resource.group, &resource.plural, name));
                }
                return self.apply_new(author, resource, (namespace, name), patch).await;
            };
            let (new, trace) = match patch {
                Patch::Apply(wanted, conflicts) => {
                    check_identity(resource, wanted, (namespace, name))?;
                    let writer = signature(author, resource, subresource(part));
                    (apply::apply(resource, Some(&old), wanted, writer, *conflicts)?, Trace::Kept)
                }
                other => (other.merged(resource, &old)?, Trace::Changes),
            };
            let names_version =
                new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"];
            check_identity(resource, &new, (namespace, name))?;
            match self.replace(author, resource, (&old, new), (part, trace)).await {
                Err(refused) if refused.reason == "Conflict" && !names_version && tries < TRIES => {
                }
                done => return done,
            }
        }
    }

    /// Deletes an object after asking the webhooks.
    pub async fn delete(
        &self,
        author: &Author,
        resource: &Resource,
        (namespace, name): (&str, &str),
        deletion: &Deletion,
    ) -> Result<(Deleted, Vec<String>), Status> {
        let old = self.stored(resource, namespace, name)?;
        if resource.is(Builtin::Namespace) && LASTING.contains(&name) {
            let message =
                format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
            return Err(Status::forbidden(message).about("", "namespaces", name));
        }
        let review = Review {
            operation: Operation::Delete,
            resource,
            subresource: "",
            old: Some(&old),
            user: &author.user,
            mode: author.mode,
        };
        let mut warnings = Vec::new();
        self.admission.validate(&review, None, &mut warnings).await?;
        let deleted = self.store.delete_as(resource, (namespace, name), deletion, author.mode)?;
        Ok((deleted, warnings))
    }

    fn stored(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, Status> {
        self.store
            .get(resource, namespace, name)
            .ok_or_else(|| Status::not_found(&resource.group, &resource.plural, name))
    }

    async fn apply_new(
        &self,
        author: &Author,
        resource: &Resource,
        (namespace, name): (&str, &str),
        patch: &Patch,
    ) -> Result<Written, Status> {
        let Patch::Apply(wanted, conflicts) = patch else {
            return Err(Status::not_found(&resource.group, &resource.plural, name));
        };
        let attempt = Attempt {
            verb: "create".to_owned(),
            group: resource.group.clone(),
            plural: resource.plural.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Attempt::default()
        };
        access::authorize(&self.store, &author.user, &attempt)?;
        let mut wanted = wanted.clone();
        if resource.namespaced && object::namespace(&wanted).is_empty() {
            wanted["metadata"]["namespace"] = namespace.into();
        }
        check_identity(resource, &wanted, (namespace, name))?;
        let writer = signature(author, resource, "");
        let object = apply::apply(resource, None, &wanted, writer, *conflicts)?;
        self.create(author, resource, object).await
    }

    async fn replace(
        &self,
        author: &Author,
        resource: &Resource,
        (old, mut new): (&Arc<Value>, Value),
        (part, trace): (Part, Trace),
    ) -> Result<Written, Status> {
        let mut warnings = Vec::new();
        prepare(author, resource, &mut new, &mut warnings)?;
        if part == Part::Main {
            inherit(resource, old, &mut new);
        } else if part == Part::Status {
            let status = new["status"].take();
            let sent = new["metadata"]["managedFields"].take();
            new = Value::clone(old);
            new["status"] = status;
            if trace == Trace::Kept {
                new["metadata"]["managedFields"] = sent;
            }
        }
        if trace == Trace::Changes {
            let writer = signature(author, resource, subresource(part));
            managers::record(resource, Some(old), &mut new, writer);
        }
        let review = Review {
            operation: Operation::Update,
            resource,
            subresource: subresource(part),
            old: Some(old),
            user: &author.user,
            mode: author.mode,
        };
        let new = self.admit(&review, new, &mut warnings).await?;
        let object = self.store.replace(resource, new, part, author.mode)?;
        Ok(Written { object, warnings, is_new: false })
    }

    async fn admit(
        &self,
        review: &Review<'_>,
        object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let resource = review.resource;
        let (mut object, is_changed) = self.admission.mutate(review, object, warnings).await?;
        if is_changed {
            form::decode(resource, &mut object)?;
            defaults::apply(resource, &mut object);
        }
        let old = review.old.filter(|_| review.subresource.is_empty());
        let mut causes = validate::object(resource, &object, old);
        if let Origin::Custom(custom) = &resource.origin {
            causes.extend(schema::check(&custom.schema, &object));
        }
        if !causes.is_empty() {
            let name = object::name(&object);
            return Err(Status::invalid(&resource.group, &resource.kind, name, &causes));
        }
        if review.subresource.is_empty() {
            access::check_grant(&self.store, review.user, &object, review.old)?;
            self.admission.secure(resource, &object, warnings)?;
        }
        self.admission.validate(review, Some(&object), warnings).await?;
        check_size(&object)?;
        Ok(object)
    }
}

/// Whether a write's trace in the managed fields has been made already.
#[derive(Clone, Copy, PartialEq)]
enum Trace {
    /// By an apply.
    Kept,
    /// It is to be found from what changes.
    Changes,
}

fn subresource(part: Part) -> &'static str {
    match part {
        Part::Main => "",
        Part::Status => "status",
        Part::Finalizers => "finalize",
    }
}

fn signature(author: &Author, resource: &Resource, subresource: &str) -> Manager {
    Manager {
        name: author.manager.clone(),
        operation: managers::ManagerOperation::Update,
        api_version: resource.api_version(),
        subresource: subresource.to_owned(),
        time: timestamp(),
        fields: FieldSet::default(),
    }
}

#[cfg(test)]
mod tests;

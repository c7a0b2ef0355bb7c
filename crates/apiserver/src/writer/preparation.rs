//! What becomes of an object before it is admitted: its form, its defaults, what an update
//! keeps, and what is refused without a look at other objects.

use serde_json::Value;
use weft_controllers::object;

use super::Author;
use crate::{
    defaults, form,
    patch::Validation,
    resource::{Builtin, Origin, Resource},
    schema,
    status::Status,
    unserved,
};

/// The largest object: the limit of a request to etcd.
const LARGEST: usize = 1_572_864;

/// Fields that the server itself keeps, so that no writer seems to have removed them.
pub(super) fn inherit(resource: &Resource, old: &Value, new: &mut Value) {
    if resource.has("status") {
        new["status"] = old["status"].clone();
        if new["status"].is_null() {
            new.as_object_mut().map(|fields| fields.remove("status"));
        }
    }
    if resource.is(Builtin::Service) && new["spec"]["type"] != "ExternalName" {
        for field in ["clusterIP", "clusterIPs"] {
            if new["spec"][field].is_null() && !old["spec"][field].is_null() {
                new["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    // A pod's place is not its writer's to forget.
    if resource.is(Builtin::Pod)
        && new["spec"]["nodeName"].is_null()
        && old["spec"]["nodeName"].is_string()
    {
        new["spec"]["nodeName"] = old["spec"]["nodeName"].clone();
    }
}

/// Checks what the object says it is, brings it into the form of its kind, fills in
/// defaults. What an update leaves out of a status is not defaulted here.
pub(super) fn prepare(
    author: &Author,
    resource: &Resource,
    object: &mut Value,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    for (field, expected) in
        [("apiVersion", resource.api_version()), ("kind", resource.kind.clone())]
    {
        match object[field].as_str() {
            None | Some("") => object[field] = expected.into(),
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(Status::bad_request(format!(
                    "{field} in the data ({found}) does not match the expected {field} ({expected})"
                )));
            }
        }
    }
    let mut unknown = form::decode(resource, object)?;
    defaults::apply(resource, object);
    warnings.extend(unserved::warnings(resource, object));
    if let Origin::Custom(custom) = &resource.origin {
        warnings.extend(custom.deprecation.clone());
        unknown.extend(schema::prune(&custom.schema, object));
        schema::fill(&custom.schema, object);
    }
    let unknown: Vec<String> =
        unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    match author.validation {
        _ if unknown.is_empty() => Ok(()),
        Validation::Ignore => Ok(()),
        Validation::Warn => {
            warnings.extend(unknown);
            Ok(())
        }
        Validation::Strict => Err(Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
            unknown.join(", "),
            kind = resource.kind,
            version = resource.version,
        ))),
    }
}

/// Whether an object says the name and namespace under which it was sent.
pub fn check_identity(
    resource: &Resource,
    object: &Value,
    (namespace, name): (&str, &str),
) -> Result<(), Status> {
    let said = object::name(object);
    if said != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    let said = object::namespace(object);
    if resource.namespaced && !said.is_empty() && said != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the \
             request ({said} is not {namespace})"
        )));
    }
    Ok(())
}

/// Refuses what etcd, with its defaults, would not take.
pub(super) fn check_size(object: &Value) -> Result<(), Status> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let counted = serde_json::to_writer(&mut count, object);
    match counted.is_ok() && count.0 <= LARGEST {
        true => Ok(()),
        false => {
            // As kube-apiserver hands on what etcd said: without a reason.
            Err(Status::new(500, "", "etcdserver: request is too large"))
        }
    }
}

//! Creating, replacing, patching and deleting by request.

use std::{sync::Arc, time::Duration};

use http::{Method, Response, header};
use serde_json::{Value, json};
use weft_controllers::object;

use super::{
    ApiRequest, Server, read,
    reply::{self, Body},
};
use crate::{
    form, media,
    patch::{Conflicts, Patch},
    resource::{Builtin, Origin, Resource},
    status::Status,
    store::{Deleted, Deletion, Mode, Part, Propagation},
    target::Objects,
    writer::{Written, check_identity},
};

/// POST to a collection.
pub async fn create(
    server: &Server,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let mut object = media::object(asked.header(header::CONTENT_TYPE), &asked.body)?;
    let resource = &at.resource;
    settle_namespace(resource, at, &mut object)?;
    let author = asked.author()?;
    let written = server.writer.create(&author, resource, object).await?;
    Ok(answered(&written))
}

/// PUT of an object or its status.
pub async fn update(
    server: &Server,
    at: &Objects,
    name: &str,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let mut object = media::object(asked.header(header::CONTENT_TYPE), &asked.body)?;
    settle_namespace(&at.resource, at, &mut object)?;
    check_identity(&at.resource, &object, (at.within(), name))?;
    let written = server.writer.update(&asked.author()?, &at.resource, object, part(at)).await?;
    Ok(answered(&written))
}

/// PATCH of an object or its status.
pub async fn patch(
    server: &Server,
    at: &Objects,
    name: &str,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let patch = read_patch(asked)?;
    let author = asked.author()?;
    let written =
        server.writer.patch(&author, &at.resource, (at.within(), name), (part(at), &patch)).await?;
    Ok(answered(&written))
}

/// DELETE of an object.
pub async fn delete(
    server: &Server,
    at: &Objects,
    name: &str,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let deletion = deletion(asked)?;
    let mut author = asked.author()?;
    author.mode = mode(asked)?;
    let resource = &at.resource;
    let (deleted, warnings) =
        server.writer.delete(&author, resource, (at.within(), name), &deletion).await?;
    Ok(match deleted {
        Deleted::Terminating(object) => reply::object(200, object, &warnings),
        // A pod's last state is what clients expect, anything else is a success.
        Deleted::Gone(object) if resource.is(Builtin::Pod) => reply::object(200, object, &warnings),
        Deleted::Gone(object) => {
            let details = json!({
                "name": name, "group": resource.group, "kind": resource.plural,
                "uid": object::uid(&object),
            });
            let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                                 "status": "Success", "details": details});
            reply::short(200, &success, &warnings)
        }
    })
}

/// DELETE of a collection, as far as the selectors select it.
pub async fn delete_all(
    server: &Server,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let (labels, fields, deletion) =
        (asked.query.labels()?, asked.query.fields()?, deletion(asked)?);
    let mut author = asked.author()?;
    author.mode = mode(asked)?;
    let list = server.store.list(&at.resource, at.namespace.as_deref());
    let mut items = Vec::new();
    let mut all_warnings = Vec::new();
    for object in list.items {
        if !labels.match_object(&object) || !fields.match_object(&object) {
            continue;
        }
        let place = (object::namespace(&object), object::name(&object));
        match server.writer.delete(&author, &at.resource, place, &deletion).await {
            Ok((Deleted::Gone(last) | Deleted::Terminating(last), warnings)) => {
                items.push(last);
                all_warnings.extend(warnings);
            }
            Err(refused) if refused.code == 404 => {}
            Err(refused) => return Err(refused),
        }
    }
    let version = Value::from(server.store.version().to_string());
    let (rest, items) = read::listed(&at.resource, items, version);
    Ok(reply::list(rest, "items", items, &all_warnings))
}

/// GET, PUT and PATCH of `scale`.
pub async fn scale(
    server: &Server,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let resource = &at.resource;
    let name = at.name.as_deref().unwrap_or_default();
    let stored = || {
        let found = server.store.get(resource, at.within(), name);
        found.ok_or_else(|| Status::not_found(&resource.group, &resource.plural, name))
    };
    if let Origin::Custom(_) = resource.origin {
        let message = "the scale of custom resources is not served; patch the object itself";
        return Err(Status::method_not_allowed(message));
    }
    let current = stored()?;
    let scale = scale_of(&current);
    let wanted = match asked.method {
        Method::GET => return Ok(reply::short(200, &scale, &[])),
        Method::PUT => media::object(asked.header(header::CONTENT_TYPE), &asked.body)?,
        Method::PATCH => match read_patch(asked)? {
            Patch::Strategic(patch) => Patch::Merge(patch),
            other => other,
        }
        .merged(resource, &scale)?,
        _ => return Err(Status::method_not_allowed("scale can be read, replaced and patched")),
    };
    let replicas = wanted["spec"]["replicas"].as_i64().filter(|count| *count >= 0);
    let replicas = replicas.ok_or_else(|| {
        Status::bad_request(format!(
            "spec.replicas of the scale of {name} must be a number, 0 or more"
        ))
    })?;
    let mut patch = json!({"spec": {"replicas": replicas}});
    let version = &wanted["metadata"]["resourceVersion"];
    if version.is_string() && asked.method == Method::PUT {
        patch["metadata"] = json!({"resourceVersion": version});
    }
    let author = asked.author()?;
    let place = (at.within(), name);
    let patch = Patch::Merge(patch);
    let written = server.writer.patch(&author, resource, place, (Part::Main, &patch)).await?;
    Ok(reply::short(200, &scale_of(&written.object), &written.warnings))
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let selector: Vec<String> = object["spec"]["selector"]["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": object["spec"]["replicas"]},
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
            "selector": selector.join(","),
        },
    })
}

/// PUT of a namespace's `finalize`.
pub async fn finalize(
    server: &Server,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let object = media::object(asked.header(header::CONTENT_TYPE), &asked.body)?;
    let author = asked.author()?;
    let written = server.writer.update(&author, &at.resource, object, Part::Finalizers).await?;
    Ok(answered(&written))
}

/// POST of a pod's `eviction`: a deletion, since no budget forbids it here.
pub async fn evict(
    server: &Server,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let mut eviction = media::object(asked.header(header::CONTENT_TYPE), &asked.body)?;
    form::decode_as("Eviction", &mut eviction)?;
    let deletion = options(&eviction["deleteOptions"])?;
    let name = at.name.as_deref().unwrap_or_default();
    let place = (at.within(), name);
    server.writer.delete(&asked.author()?, &at.resource, place, &deletion).await?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    Ok(reply::short(201, &success, &[]))
}

fn part(at: &Objects) -> Part {
    match at.subresource.as_deref() {
        Some("status") => Part::Status,
        _ => Part::Main,
    }
}

fn answered(written: &Written) -> Response<Body> {
    let code = if written.is_new { 201 } else { 200 };
    reply::object(code, Arc::clone(&written.object), &written.warnings)
}

/// Gives an object the namespace of its path, or refuses another.
fn settle_namespace(resource: &Resource, at: &Objects, object: &mut Value) -> Result<(), Status> {
    if !resource.namespaced {
        return Ok(());
    }
    let wanted = at.namespace.as_deref().ok_or_else(|| {
        Status::bad_request(format!(
            "{} are made in a namespace; name it in the path",
            resource.plural
        ))
    })?;
    let said = object::namespace(object);
    if !said.is_empty() && said != wanted {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    // Metadata of another form is refused where the object is decoded.
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.insert("namespace".into(), wanted.into());
    }
    Ok(())
}

fn read_patch(asked: &ApiRequest) -> Result<Patch, Status> {
    let force = if asked.query.is_set("force") { Conflicts::Force } else { Conflicts::Refuse };
    let patch = Patch::parse(asked.header(header::CONTENT_TYPE), &asked.body, force)?;
    if matches!(patch, Patch::Apply(..)) && asked.query.text("fieldManager").is_none() {
        return Err(Status::bad_request("fieldManager is required for apply patch"));
    }
    Ok(patch)
}

fn mode(asked: &ApiRequest) -> Result<Mode, Status> {
    match object::items(&delete_options(asked)?["dryRun"]).any(|one| one == "All") {
        true => Ok(Mode::DryRun),
        false => asked.query.mode(),
    }
}

/// The DeleteOptions in a body that may be empty.
fn delete_options(asked: &ApiRequest) -> Result<Value, Status> {
    match asked.body.is_empty() {
        true => Ok(Value::Null),
        false => {
            let mut options = media::object(asked.header(header::CONTENT_TYPE), &asked.body)?;
            form::decode_as("DeleteOptions", &mut options)?;
            Ok(options)
        }
    }
}

fn deletion(asked: &ApiRequest) -> Result<Deletion, Status> {
    let mut deletion = options(&delete_options(asked)?)?;
    if let Some(grace) = asked.query.integer("gracePeriodSeconds")? {
        deletion.grace = Some(grace_period(grace));
    }
    if let Some(policy) = asked.query.text("propagationPolicy") {
        deletion.propagation = Some(propagation(policy)?);
    }
    Ok(deletion)
}

fn options(options: &Value) -> Result<Deletion, Status> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let orphans = (options["orphanDependents"] == true).then_some(Propagation::Orphan);
    Ok(Deletion {
        grace: options["gracePeriodSeconds"].as_i64().map(grace_period),
        propagation: options["propagationPolicy"]
            .as_str()
            .map(propagation)
            .transpose()?
            .or(orphans),
        uid: text(&options["preconditions"]["uid"]),
        version: text(&options["preconditions"]["resourceVersion"]),
    })
}

/// As in Kubernetes, a negative grace period is one of a second.
fn grace_period(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
}

fn propagation(policy: &str) -> Result<Propagation, Status> {
    match policy {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => Err(Status::bad_request(format!(
            "propagationPolicy {other:?} must be Background, Foreground or Orphan"
        ))),
    }
}

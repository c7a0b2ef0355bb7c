//! Getting and listing, as objects, as metadata only, or as a Table.

use std::sync::Arc;

use http::{Response, header};
use serde_json::{Value, json};

use super::{
    Asked, Server,
    page::Page,
    reply::{self, Body},
};
use crate::{
    media,
    resource::{Origin, Resource},
    status::Status,
    table,
    target::Objects,
};

/// The form in which a client wants objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Whole,
    /// Only what identifies them.
    Metadata,
    /// Rows for people.
    Table(Rows),
}

/// What stands behind each row of a Table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// The object's metadata.
    Metadata,
    /// The object.
    Object,
    /// Nothing.
    Bare,
}

impl Form {
    /// The form that a request asks for.
    pub fn of(asked: &Asked) -> Self {
        let accept = asked.header(header::ACCEPT);
        if media::wants_table(accept) {
            return Self::Table(match asked.query.text("includeObject") {
                Some("Object") => Rows::Object,
                Some("None") => Rows::Bare,
                _ => Rows::Metadata,
            });
        }
        if media::wants_metadata(accept) { Self::Metadata } else { Self::Whole }
    }
}

/// One object.
pub fn get(
    server: &Arc<Server>,
    at: &Objects,
    name: &str,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let resource = &at.resource;
    let object = server
        .store
        .get(resource, at.within(), name)
        .ok_or_else(|| Status::not_found(&resource.group, &resource.plural, name))?;
    let value = match Form::of(asked) {
        Form::Whole => return Ok(reply::object(200, &object, &[])),
        Form::Metadata => metadata_of(&object),
        Form::Table(rows) => {
            let version = object["metadata"]["resourceVersion"].clone();
            table::of(resource, &[object], rows, version)
        }
    };
    Ok(reply::object(200, &value, &[]))
}

/// The objects of a namespace or of all, as far as the selectors select them.
pub fn list(server: &Arc<Server>, at: &Objects, asked: &Asked) -> Result<Response<Body>, Status> {
    let (labels, fields) = (asked.query.labels()?, asked.query.fields()?);
    let list = server.store.list(&at.resource, at.namespace.as_deref());
    let items: Vec<Arc<Value>> = list
        .items
        .into_iter()
        .filter(|object| labels.match_object(object) && fields.match_object(object))
        .collect();
    let page = Page::of(&asked.query)?;
    let piece = page.cut((&server.store, &at.resource), items, list.version)?;
    let version = Value::from(piece.version.to_string());
    let mut value = match Form::of(asked) {
        Form::Table(rows) => table::of(&at.resource, &piece.items, rows, version),
        Form::Whole => listed(&at.resource, &piece.items, version),
        Form::Metadata => {
            let items: Vec<Value> = piece.items.iter().map(|object| metadata_of(object)).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                   "metadata": {"resourceVersion": version}, "items": items})
        }
    };
    // As on a cluster, what selectors leave of the rest is not counted.
    let selects =
        ["labelSelector", "fieldSelector"].iter().any(|it| asked.query.text(it).is_some());
    piece.note_rest(&mut value, !selects);
    Ok(reply::object(200, &value, &[]))
}

/// A list object of some kind. As on a cluster, the items of a built-in kind do not
/// repeat the type that the list has already named; those of a custom one do.
pub fn listed(resource: &Resource, items: &[Arc<Value>], version: Value) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|object| {
            let mut item = Value::clone(object);
            if let (Origin::BuiltIn, Some(fields)) = (&resource.origin, item.as_object_mut()) {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            item
        })
        .collect();
    json!({
        "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
        "metadata": {"resourceVersion": version}, "items": items,
    })
}

/// What identifies an object.
pub fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
           "metadata": object["metadata"]})
}

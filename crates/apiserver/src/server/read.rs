//! Getting and listing, as objects, as metadata only, or as a Table.

use std::sync::Arc;

use http::{Response, header};
use serde_json::{Value, json};

use super::{
    ApiRequest, Server,
    page::Page,
    pieces::Part,
    reply::{self, Body},
};
use crate::{media, resource::Resource, status::Status, table, target::Objects};

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
    pub fn of(asked: &ApiRequest) -> Self {
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
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let resource = &at.resource;
    let object = server
        .store
        .get(resource, at.within(), name)
        .ok_or_else(|| Status::not_found(&resource.group, &resource.plural, name))?;
    let value = match Form::of(asked) {
        Form::Whole => return Ok(reply::object(200, object, &[])),
        Form::Metadata => metadata_of(&object),
        Form::Table(rows) => {
            let version = object["metadata"]["resourceVersion"].clone();
            table::of(resource, &[object], rows, version)
        }
    };
    Ok(reply::short(200, &value, &[]))
}

/// The objects of a namespace or of all, as far as the selectors select them.
pub fn list(
    server: &Arc<Server>,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
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
    // As on a cluster, what selectors leave of the rest is not counted.
    let selects =
        ["labelSelector", "fieldSelector"].iter().any(|it| asked.query.text(it).is_some());
    let noted = |mut rest: Value| {
        piece.note_rest(&mut rest, !selects);
        rest
    };
    Ok(match Form::of(asked) {
        Form::Table(rows) => {
            let rest = noted(table::of(&at.resource, &[], rows, version));
            let resource = Arc::clone(&at.resource);
            let row = move |object| {
                let mut table = table::of(&resource, &[object], rows, Value::Null);
                Part::whole(Arc::new(table["rows"][0].take()))
            };
            reply::list(rest, "rows", piece.items.into_iter().map(row), &[])
        }
        Form::Whole => {
            let (rest, items) = listed(&at.resource, piece.items.clone(), version);
            reply::list(noted(rest), "items", items, &[])
        }
        Form::Metadata => {
            let rest = noted(json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": version},
            }));
            let items =
                piece.items.into_iter().map(|object| Part::whole(metadata_of(&object).into()));
            reply::list(rest, "items", items, &[])
        }
    })
}

/// A list object of some kind, and its items. As on a cluster, those of a built-in kind do
/// not repeat the type that the list has already named; those of a custom one do.
pub fn listed(
    resource: &Resource,
    items: Vec<Arc<Value>>,
    version: Value,
) -> (Value, impl Iterator<Item = Part> + use<>) {
    let is_bare = resource.builtin().is_some();
    let items = items.into_iter().map(move |item| Part { is_bare, ..Part::whole(item) });
    let rest = json!({
        "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
        "metadata": {"resourceVersion": version},
    });
    (rest, items)
}

/// What identifies an object.
pub fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
           "metadata": object["metadata"]})
}

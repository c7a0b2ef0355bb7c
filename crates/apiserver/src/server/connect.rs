//! What reaches into pods and Services: logs, forwarded ports, proxied requests.

mod forward;

use std::{io, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use weft_controllers::object::{self, items};

use super::{
    ApiRequest, Server,
    reply::{self, Body},
};
use crate::{
    node::{DIAL_DEADLINE, Io, LogOptions, NodeError, PodRef},
    resource::Builtin,
    status::Status,
    target::Objects,
};
pub use forward::forward;

/// Headers that belong to one connection, and the caller's own credentials.
const HELD_BACK: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "authorization",
    "host",
];

/// The pod that a request is about.
pub fn pod(server: &Server, at: &Objects, name: &str) -> Result<(PodRef, Arc<Value>), Status> {
    let object = server
        .store
        .get(&at.resource, at.within(), name)
        .ok_or_else(|| Status::not_found("", "pods", name))?;
    let pod = PodRef {
        namespace: at.within().to_owned(),
        name: name.to_owned(),
        uid: object::uid(&object).to_owned(),
    };
    Ok((pod, object))
}

/// The container that a request is about: the one named, else the only one.
pub fn container(object: &Value, asked: &ApiRequest) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        items(&object["spec"][list])
            .filter_map(|container| container["name"].as_str())
            .map(str::to_owned)
            .collect()
    };
    let (own, initial) = (names("containers"), names("initContainers"));
    let pod = object::name(object);
    if let Some(name) = asked.query.text("container") {
        return match own.iter().chain(&initial).any(|one| one == name) {
            true => Ok(name.to_owned()),
            false => {
                Err(Status::bad_request(format!("container {name} is not valid for pod {pod}")))
            }
        };
    }
    let preferred = object::annotation(object, "kubectl.kubernetes.io/default-container");
    if let Some(name) = preferred.filter(|name| own.iter().any(|one| one == name)) {
        return Ok(name.to_owned());
    }
    if let [only] = own.as_slice() {
        return Ok(only.clone());
    }
    let others = match initial.is_empty() {
        true => String::new(),
        false => format!(" or one of the init containers: [{}]", initial.join(" ")),
    };
    Err(Status::bad_request(format!(
        "a container name must be specified for pod {pod}, choose one of: [{}]{others}",
        own.join(" ")
    )))
}

/// What the node refused, as a client reads it.
pub fn refused(error: &NodeError) -> Status {
    match error {
        NodeError::NotFound(text) => Status::new(404, "NotFound", text.clone()),
        NodeError::NotReady(text) => Status::bad_request(text.clone()),
        NodeError::Unsupported(text) => Status::new(501, "NotImplemented", text.clone()),
        NodeError::Failed { what, source } => Status::internal(format!("{what}: {source}")),
    }
}

/// GET of a pod's `log`.
pub async fn log(
    server: &Server,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let (pod, object) = pod(server, at, at.name.as_deref().unwrap_or_default())?;
    let container = container(&object, asked)?;
    let query = &asked.query;
    let since = match (query.seconds("sinceSeconds")?, query.text("sinceTime")) {
        (Some(ago), _) => SystemTime::now().checked_sub(ago),
        (None, Some(text)) => {
            let time = text.parse::<jiff::Timestamp>().map_err(|error| {
                Status::bad_request(format!("sinceTime={text:?} is no RFC 3339 time: {error}"))
            })?;
            Some(SystemTime::from(time))
        }
        (None, None) => None,
    };
    let options = LogOptions {
        follow: query.is_set("follow"),
        previous: query.is_set("previous"),
        timestamps: query.is_set("timestamps"),
        tail_lines: query.number("tailLines")?,
        since,
        limit_bytes: query.number("limitBytes")?,
    };
    let pieces =
        server.node.logs(pod, container, options).await.map_err(|error| refused(&error))?;
    Ok(reply::stream("text/plain", pieces))
}

/// Anything below a pod's or a Service's `proxy`.
pub async fn proxy(
    server: &Arc<Server>,
    at: &Objects,
    asked: ApiRequest,
) -> Result<Response<Body>, Status> {
    let (name, port) = address(at.name.as_deref().unwrap_or_default())?;
    let failed = |error: io::Error| {
        let text = format!("error trying to reach {} {name}: {error}", at.resource.singular);
        Status::new(503, "ServiceUnavailable", text)
    };
    let stream: Box<dyn Io> = if at.resource.is(Builtin::Service) {
        let port = port_of_service(server, at, name, port)?;
        let dialled = server.dial.service(at.within(), name, port);
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        let stream = tokio::time::timeout(DIAL_DEADLINE, dialled).await.map_err(late);
        Box::new(stream.and_then(|dialled| dialled).map_err(failed)?)
    } else {
        let (pod, object) = pod(server, at, name)?;
        let port = port_of_pod(&object, port)?;
        server.node.connect(pod, port).await.map_err(|error| refused(&error))?
    };
    relay(server, stream, at, asked).await.map_err(|error| failed(io::Error::other(error)))
}

/// Reads `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
fn address(text: &str) -> Result<(&str, Option<&str>), Status> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => Ok((name, None)),
        [name, port] => Ok((name, Some(port))),
        ["" | "http", name, port] => {
            Ok((name, Some(port).filter(|port| !port.is_empty()).copied()))
        }
        _ => Err(Status::bad_request(format!(
            "{text:?} cannot be proxied to; name it NAME:PORT, over plain HTTP"
        ))),
    }
}

fn port_of_service(
    server: &Server,
    at: &Objects,
    name: &str,
    port: Option<&str>,
) -> Result<u16, Status> {
    let service = server
        .store
        .get(&at.resource, at.within(), name)
        .ok_or_else(|| Status::not_found("", "services", name))?;
    let found = items(&service["spec"]["ports"]).find(|one| match port {
        None => true,
        Some(text) => one["name"] == text || number(&one["port"]) == text.parse().ok(),
    });
    found.and_then(|one| number(&one["port"])).ok_or_else(|| {
        let port = port.unwrap_or_default();
        Status::bad_request(format!("no port {port:?} in service {}/{name}", at.within()))
    })
}

fn port_of_pod(object: &Value, port: Option<&str>) -> Result<u16, Status> {
    let mut declared =
        items(&object["spec"]["containers"]).flat_map(|container| items(&container["ports"]));
    let found = match port {
        None => declared.next().and_then(|one| number(&one["containerPort"])),
        Some(text) => text.parse().ok().or_else(|| {
            declared.find(|one| one["name"] == text).and_then(|one| number(&one["containerPort"]))
        }),
    };
    found.ok_or_else(|| {
        let name = object::name(object);
        Status::bad_request(format!("pod {name} has no port {:?}", port.unwrap_or("by default")))
    })
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

async fn relay(
    server: &Server,
    stream: Box<dyn Io>,
    at: &Objects,
    asked: ApiRequest,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    server.keep(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a proxied connection ended: {error}");
        }
    });
    let question = if asked.raw_query.is_empty() { "" } else { "?" };
    let mut request = Request::builder()
        .method(asked.method)
        .uri(format!("{}{question}{}", at.rest, asked.raw_query))
        .body(Full::<Bytes>::new(asked.body))?;
    *request.headers_mut() = passed_on(&asked.headers);
    let host = at.name.as_deref().unwrap_or_default().split(':').next().unwrap_or_default();
    request.headers_mut().insert(header::HOST, host.parse()?);
    let (mut parts, body) = sender.send_request(request).await?.into_parts();
    parts.headers = passed_on(&parts.headers);
    Ok(Response::from_parts(parts, body.map_err(io::Error::other).boxed_unsync()))
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for (name, value) in headers {
        if !HELD_BACK.contains(&name.as_str()) {
            passed.append(name, value.clone());
        }
    }
    passed
}

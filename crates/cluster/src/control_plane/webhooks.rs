//! The HTTPS server that the API server asks.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use weft_inject::{Namespace, Settings};
use weft_process::shutdown::Stopping;

use super::admission;
use crate::client::{Cluster, Resource};

/// The longest review that is read; etcd takes no larger objects.
const LONGEST_REVIEW: usize = 8 << 20;
/// How long a client has for its handshake, for a request's head, and for its body.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rest when no connection can be accepted, for want of descriptors.
const REST: Duration = Duration::from_millis(50);

/// What answers.
struct Webhooks {
    cluster: Cluster,
    /// The namespace of the mesh's own objects.
    root_namespace: String,
    namespaces: Resource,
}

/// Serves `listener` until `stopping`, with the certificate of `tls`.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    (cluster, root_namespace): (Cluster, String),
    mut stopping: Stopping,
) {
    // The config stream's certificate, but HTTP/1.1: reviews are few and small.
    let mut tls = ServerConfig::clone(&tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let namespaces = Resource {
        version: "v1".to_owned(),
        plural: "namespaces".to_owned(),
        kind: "Namespace".to_owned(),
        ..Resource::default()
    };
    let webhooks = Arc::new(Webhooks { cluster, root_namespace, namespaces });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.stopped() => return,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let (acceptor, webhooks) = (acceptor.clone(), Arc::clone(&webhooks));
        connections.spawn(async move {
            let handshake = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
            let Ok(Ok(stream)) = handshake else { return };
            let service = service_fn(|request| answer(&webhooks, request));
            // A connection that breaks is told by the API server, which asks again.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    webhooks: &Webhooks,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if request.method() != Method::POST
        || !(path.starts_with("/inject") || path.starts_with("/validate"))
    {
        return Ok(text(StatusCode::NOT_FOUND, "POST a review to /inject or /validate\n"));
    }
    let reading = Limited::new(request.into_body(), LONGEST_REVIEW).collect();
    let review: Value = match tokio::time::timeout(PATIENCE, reading).await {
        Err(_) => return Ok(text(StatusCode::REQUEST_TIMEOUT, "the review takes too long\n")),
        Ok(Err(_)) => {
            return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "the review cannot be read whole\n"));
        }
        Ok(Ok(body)) => match serde_json::from_slice(&body.to_bytes()) {
            Ok(review) => review,
            Err(error) => {
                let message = format!("not an admission review: {error}\n");
                return Ok(text(StatusCode::BAD_REQUEST, &message));
            }
        },
    };
    let answer = match path.starts_with("/inject") {
        false => admission::validate(&review),
        true => {
            let (namespace, settings) =
                futures::join!(webhooks.namespace(&review), webhooks.settings());
            match (namespace, settings) {
                (Ok(namespace), Ok(settings)) => admission::inject(&review, &namespace, &settings),
                (Err(message), _) | (_, Err(message)) => {
                    return Ok(text(StatusCode::INTERNAL_SERVER_ERROR, &message));
                }
            }
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

impl Webhooks {
    /// The labels of the namespace as they are now.
    async fn namespace(&self, review: &Value) -> Result<Namespace, String> {
        let name = review["request"]["namespace"].as_str().unwrap_or("default");
        let found = self.cluster.find(&self.namespaces, "", name).await;
        let object = found.map_err(|error| format!("reading namespace {name}: {error}\n"))?;
        let labels = object.unwrap_or_default()["metadata"]["labels"].clone();
        Ok(Namespace {
            name: name.to_owned(),
            labels: serde_json::from_value(labels).unwrap_or_default(),
        })
    }

    /// The mesh's settings as they are now.
    async fn settings(&self) -> Result<Settings, String> {
        let read = self.cluster.injection_settings(&self.root_namespace).await;
        let (settings, warnings) =
            read.map_err(|error| format!("reading the mesh's settings: {error}\n"))?;
        for warning in warnings {
            tracing::warn!("{}: {}", warning.field, warning.message);
        }
        Ok(settings)
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}

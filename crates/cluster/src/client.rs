//! A client of any Kubernetes API: what is behind `weft get`, `apply`, `exec` and
//! the other verbs.
//!
//! It works on the laptop's API server and on a cluster alike, and takes tables
//! and discovery from the server. It prints nothing and reads no files.

mod acknowledged;
mod apply;
mod apply_refusal;
mod change;
mod delete;
mod describe;
mod discovery;
mod exec;
mod get;
mod injection;
mod logs;
mod pod;
mod table;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

use crate::stored;

pub use acknowledged::{Acknowledgement, ControlPlane, all_acknowledged};
pub use apply::{Applied, ApplyOutcome, with_last_applied};
pub use apply_refusal::ApplyRefusal;
pub use change::Labelled;
pub use delete::Deletion;
pub use discovery::{Resource, Resources};
pub use exec::{Command, Size, Streams};
pub use get::{NamespaceScope, Query, ResourceNames};
pub use logs::LogQuery;
pub use pod::Container;
pub use table::TableOptions;

/// The field manager under which objects are changed.
pub const MANAGER: &str = "weft";

/// A connection to a cluster's API.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// Why the API could not be used as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// Nobody answers.
    #[error("the API server does not answer: {0}; is the mesh or the cluster running?")]
    Unreachable(String),
    /// The server refused, in its own words.
    #[error("{} ({})", refusal.message, refusal.reason)]
    Refused {
        /// What it said.
        refusal: Refusal,
    },
    /// What the server answered is not what was asked for.
    #[error("the API server's answer to {what} cannot be read: {why}")]
    Answer {
        /// What was asked.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody serves a resource of that name.
    #[error("the server doesn't have a resource type {0:?}")]
    UnknownResource(String),
    /// Nobody serves objects of that kind.
    #[error("no matches for kind {kind:?} in version {version:?}")]
    UnknownKind {
        /// The object's kind.
        kind: String,
        /// The object's API version.
        version: String,
    },
    /// The caller's words make no sense together.
    #[error("{0}")]
    Usage(String),
    /// A local stream broke.
    #[error("{what}: {source}")]
    Stream {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// What a server says when it refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// One word, such as `NotFound`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// An answer and the warnings that came with it.
struct Reply {
    code: u16,
    body: Value,
    warnings: Vec<String>,
}

const JSON: &str = "application/json";

impl Cluster {
    /// A connection as a kubeconfig's text describes it.
    pub async fn from_kubeconfig(text: &str) -> Result<Self, ClientError> {
        let unusable = |error: &dyn std::fmt::Display| ClientError::Kubeconfig(error.to_string());
        let kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| unusable(&error))?;
        Client::try_from(config).map(|client| Self { client }).map_err(|error| unusable(&error))
    }

    /// A connection as the pod's own service account.
    pub fn in_cluster() -> Result<Self, ClientError> {
        let unusable = |error: &dyn std::fmt::Display| ClientError::Kubeconfig(error.to_string());
        let config = Config::incluster_dns().map_err(|error| unusable(&error))?;
        Client::try_from(config).map(|client| Self { client }).map_err(|error| unusable(&error))
    }

    /// The namespace of those who name none.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    pub(crate) fn kube(&self) -> &Client {
        &self.client
    }

    /// One object, or none.
    pub async fn find(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ClientError> {
        match self.read(&resource.path(namespace, name), JSON).await {
            Ok(object) => Ok(Some(object)),
            Err(ClientError::Refused { refusal }) if refusal.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates one object; fails when it exists.
    pub async fn create(
        &self,
        resource: &Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, ClientError> {
        let path = format!("{}?fieldManager={MANAGER}", resource.path(namespace, ""));
        Ok(self.call(Method::POST, &path, (JSON, JSON), Some(object)).await?.body)
    }

    async fn read(&self, path: &str, accept: &str) -> Result<Value, ClientError> {
        Ok(self.call(Method::GET, path, (accept, JSON), None).await?.body)
    }

    /// One request; `media` is what is accepted and what is sent.
    async fn call(
        &self,
        method: Method,
        path: &str,
        (accept, content): (&str, &str),
        body: Option<&Value>,
    ) -> Result<Reply, ClientError> {
        let what = format!("{method} {path}");
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, content)
            .body(Body::from(bytes))
            .map_err(|error| ClientError::Usage(format!("{path}: {error}")))?;
        let response = self.send(request).await?;
        let code = response.status().as_u16();
        let warnings = warnings(&response);
        let bytes = bytes_of(response).await?;
        let body = stored::read(&bytes).map_err(|error| match code {
            200..=299 => ClientError::Answer { what, why: error.to_string() },
            _ => refused(code, &bytes),
        })?;
        match code {
            200..=299 => Ok(Reply { code, body, warnings }),
            _ => Err(refused(code, &bytes)),
        }
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, ClientError> {
        self.client.send(request).await.map_err(kube_error)
    }
}

async fn bytes_of(response: Response<Body>) -> Result<Bytes, ClientError> {
    let collected = response.into_body().collect().await.map_err(kube_error)?;
    Ok(collected.to_bytes())
}

/// What the server adds to an answer for people to read (RFC 7234, section 5.5).
fn warnings(response: &Response<Body>) -> Vec<String> {
    let texts = response.headers().get_all(header::WARNING).into_iter();
    texts
        .filter_map(|value| {
            let text = std::str::from_utf8(value.as_bytes()).ok()?;
            let quoted = text.split_once('"')?.1;
            let end = quoted.rfind('"')?;
            Some(quoted[..end].replace("\\\"", "\"").replace("\\\\", "\\"))
        })
        .collect()
}

/// The server's own words, when it said some.
fn refused(code: u16, body: &[u8]) -> ClientError {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| status[field].as_str().map(str::to_owned);
    let raw = || String::from_utf8_lossy(body).trim().to_owned();
    let refusal = Refusal {
        code,
        reason: text("reason").unwrap_or_else(|| format!("HTTP {code}")),
        message: text("message").unwrap_or_else(raw),
    };
    ClientError::Refused { refusal }
}

fn kube_error(error: kube::Error) -> ClientError {
    match error {
        kube::Error::Api(status) => {
            let refusal =
                Refusal { code: status.code, reason: status.reason, message: status.message };
            ClientError::Refused { refusal }
        }
        other => ClientError::Unreachable(causes(&other)),
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// Percent-encodes what is not safe in a query value (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A text inside an object, empty when it is not there.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_taken_out_of_their_quotes() {
        let response = Response::builder()
            .header(header::WARNING, r#"299 - "a \"b\" c""#)
            .header(header::WARNING, "nonsense")
            .body(Body::empty())
            .unwrap();
        assert_eq!(warnings(&response), [r#"a "b" c"#]);
    }

    #[test]
    fn a_refusal_has_the_servers_words() {
        let body = br#"{"kind":"Status","reason":"NotFound","message":"pods \"x\" not found"}"#;
        assert_eq!(refused(404, body).to_string(), "pods \"x\" not found (NotFound)");
        assert_eq!(refused(502, b"no\n").to_string(), "no (HTTP 502)");
    }

    #[test]
    fn values_of_queries_are_encoded() {
        assert_eq!(encode("app in (a,b)/ü"), "app%20in%20%28a%2Cb%29%2F%C3%BC");
    }
}

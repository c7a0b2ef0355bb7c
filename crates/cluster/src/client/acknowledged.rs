//! Whether the proxies concerned have taken over an object's change.
//!
//! The control plane knows; it is asked through the API server, so that it
//! works wherever the API can be reached.

use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;

use super::{ClientError, Cluster, Query, Resource, Scope, Target, bytes_of, encode, text};

/// What the control plane says about an object's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// Every proxy concerned has it.
    Acknowledged,
    /// Some have not; the control plane's words.
    Pending(String),
    /// No control plane is ready to be asked.
    NobodyToAsk,
}

/// The port of the control plane on which it answers such questions.
const PORT: u16 = 15014;

impl Cluster {
    /// Waits, `wait` at most, until the proxies concerned by `object` have
    /// acknowledged the version that it is in.
    pub async fn acknowledged(
        &self,
        object: &Value,
        wait: Duration,
    ) -> Result<Acknowledgement, ClientError> {
        let Some((namespace, pod)) = self.control_plane().await? else {
            return Ok(Acknowledgement::NobodyToAsk);
        };
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        let key = match text(object, "/metadata/namespace") {
            "" => format!("{kind}/{name}"),
            namespace => format!("{kind}/{namespace}/{name}"),
        };
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy/acknowledged\
             ?object={}&version={}&wait={}ms",
            encode(&key),
            encode(text(object, "/metadata/resourceVersion")),
            wait.as_millis(),
        );
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .body(Body::empty())
            .map_err(|error| ClientError::Usage(format!("{key}: {error}")))?;
        let response = self.send(request).await?;
        let status = response.status();
        let body = String::from_utf8_lossy(&bytes_of(response).await?).trim().to_owned();
        match status.is_success() {
            true => Ok(Acknowledgement::Acknowledged),
            false => Ok(Acknowledgement::Pending(body)),
        }
    }

    /// Namespace and name of a ready pod of the control plane.
    async fn control_plane(&self) -> Result<Option<(String, String)>, ClientError> {
        let resource = Resource {
            version: "v1".to_owned(),
            plural: "pods".to_owned(),
            kind: "Pod".to_owned(),
            namespaced: true,
            ..Resource::default()
        };
        let query = Query {
            words: Vec::new(),
            scope: Scope::All,
            labels: Some("app=istiod".to_owned()),
            fields: None,
        };
        let target = Target { resource, names: Vec::new() };
        let pods = self.objects(std::slice::from_ref(&target), &query).await?;
        let ready = pods.iter().map(|(_, pod)| pod).find(|pod| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
            let conditions = conditions.into_iter().flatten();
            let mut ready = conditions.filter(|one| one["type"] == "Ready");
            ready.any(|one| one["status"] == "True")
        });
        Ok(ready.map(|pod| {
            let own = |pointer| text(pod, pointer).to_owned();
            (own("/metadata/namespace"), own("/metadata/name"))
        }))
    }
}

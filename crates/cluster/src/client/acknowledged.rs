//! Whether the proxies concerned have taken over an object's change.
//!
//! The control plane knows; it is asked through the API server, so that it
//! works wherever the API can be reached.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use weft_api::{Key, Kind};

use super::{
    ClientError, Cluster, JSON, NamespaceScope, Query, Resource, ResourceNames, bytes_of, encode,
    refused, text,
};

/// What the control plane says about an object's version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Acknowledgement {
    /// Whether it is known, and every proxy concerned has it.
    pub complete: bool,
    /// Whether the control plane knows the object in that version.
    pub seen: bool,
    /// How many proxies are concerned.
    pub proxies: usize,
    /// Pods whose proxies do not have it yet.
    pub behind: Vec<String>,
}

impl Acknowledgement {
    /// What is missing after `wait`; nothing when the change is complete.
    pub fn missing(&self, wait: Duration) -> Option<String> {
        let after = wait.as_secs();
        match (self.complete, self.seen) {
            (true, _) => None,
            (false, false) => Some(format!("the control plane has not seen it after {after} s")),
            (false, true) => {
                let behind = self.behind.join(", ");
                Some(format!("not taken over by {behind} after {after} s"))
            }
        }
    }
}

/// Reports that all changes are complete. `proxies` is how many were concerned by the change
/// that concerned most.
pub fn all_acknowledged(proxies: usize, took: Duration) -> String {
    let took = took.as_millis();
    match proxies {
        0 => "nothing that proxies use has changed".to_owned(),
        1 => format!("acknowledged by 1 proxy in {took} ms"),
        proxies => format!("acknowledged by {proxies} proxies in {took} ms"),
    }
}

/// A control plane that can be asked.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// Where its monitoring port is, seen from the API server.
    path: String,
    token: HeaderValue,
}

/// The port of the control plane on which it answers such questions.
const PORT: u16 = 15014;
/// Whom tokens for the control plane are meant for.
const AUDIENCE: &str = "istio-ca";
/// Where the control plane looks for the token: API servers keep `authorization`.
const TOKEN: &str = "x-weft-token";
/// The shortest lifetime of a token that API servers grant, in seconds.
const LIFETIME: u32 = 600;

impl Cluster {
    /// A ready control plane, if there is one.
    pub async fn control_plane(&self) -> Result<Option<ControlPlane>, ClientError> {
        let Some((namespace, pod)) = self.control_plane_pod().await? else { return Ok(None) };
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [AUDIENCE], "expirationSeconds": LIFETIME},
        });
        let reply = self.call(Method::POST, &path, (JSON, JSON), Some(&request)).await?;
        let token = HeaderValue::from_str(text(&reply.body, "/status/token"));
        let token = token.map_err(|error| ClientError::Answer {
            what: "a request for a token".to_owned(),
            why: error.to_string(),
        })?;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy");
        Ok(Some(ControlPlane { path, token }))
    }

    /// Waits, `wait` at most, until the proxies concerned by `object` have
    /// acknowledged the version that it is in.
    pub async fn acknowledged(
        &self,
        control_plane: &ControlPlane,
        object: &Value,
        wait: Duration,
    ) -> Result<Acknowledgement, ClientError> {
        let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let kind = Kind::of(version, kind).ok_or_else(|| ClientError::UnknownKind {
            kind: kind.to_owned(),
            version: version.to_owned(),
        })?;
        let (namespace, name) =
            (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        let key = Key::new(kind, namespace, name).to_string();
        let path = format!(
            "{}/acknowledged?object={}&version={}&wait={}ms",
            control_plane.path,
            encode(&key),
            encode(text(object, "/metadata/resourceVersion")),
            wait.as_millis(),
        );
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(TOKEN, &control_plane.token)
            .body(Body::empty())
            .map_err(|error| ClientError::Usage(format!("{key}: {error}")))?;
        let response = self.send(request).await?;
        let status = response.status();
        let body = bytes_of(response).await?;
        if !status.is_success() {
            return Err(refused(status.as_u16(), &body));
        }
        serde_json::from_slice(&body).map_err(|error| ClientError::Answer {
            what: "whether a change has arrived".to_owned(),
            why: error.to_string(),
        })
    }

    /// Waits, `wait` at most for each, until the proxies concerned have acknowledged
    /// `objects`. Without a control plane that can be asked, the wait ends at once.
    pub async fn until_acknowledged(&self, objects: &[Arc<Value>], wait: Duration) {
        let Ok(Some(control_plane)) = self.control_plane().await else { return };
        for object in objects {
            if let Err(error) = self.acknowledged(&control_plane, object, wait).await {
                let name = text(object, "/metadata/name");
                tracing::debug!("asking whether proxies use {name}: {error}");
            }
        }
    }

    /// Namespace and name of a ready pod of the control plane.
    async fn control_plane_pod(&self) -> Result<Option<(String, String)>, ClientError> {
        let resource = Resource {
            version: "v1".to_owned(),
            plural: "pods".to_owned(),
            kind: "Pod".to_owned(),
            namespaced: true,
            ..Resource::default()
        };
        let query = Query {
            words: Vec::new(),
            scope: NamespaceScope::All,
            labels: Some("app=istiod".to_owned()),
            fields: None,
        };
        let target = ResourceNames { resource, names: Vec::new() };
        let pods = self.objects(std::slice::from_ref(&target), &query).await?;
        let ready = pods.iter().map(|(_, pod)| pod).find(|pod| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
            let mut ready = conditions.into_iter().flatten().filter(|one| one["type"] == "Ready");
            ready.any(|one| one["status"] == "True")
        });
        Ok(ready.map(|pod| {
            let own = |pointer| text(pod, pointer).to_owned();
            (own("/metadata/namespace"), own("/metadata/name"))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_concerns_no_proxy_is_not_said_to_reach_one_later() {
        let took = Duration::from_millis(12);
        assert_eq!(all_acknowledged(0, took), "nothing that proxies use has changed");
        assert_eq!(all_acknowledged(1, took), "acknowledged by 1 proxy in 12 ms");
        assert_eq!(all_acknowledged(3, took), "acknowledged by 3 proxies in 12 ms");
    }

    #[test]
    fn what_is_missing_names_the_control_plane_or_the_proxies() {
        let missing = |complete, seen| {
            let behind = vec!["a/x".to_owned(), "a/y".to_owned()];
            let answer = Acknowledgement { complete, seen, proxies: 2, behind };
            answer.missing(Duration::from_secs(5))
        };
        assert_eq!(missing(true, true), None);
        let unseen = "the control plane has not seen it after 5 s";
        assert_eq!(missing(false, false).as_deref(), Some(unseen));
        assert_eq!(missing(false, true).as_deref(), Some("not taken over by a/x, a/y after 5 s"));
    }
}

//! Deleting objects, and waiting until they are gone.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{ClientError, Cluster, JSON, Resource, text};

/// How an object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// How long its processes may take to end; the object's own choice when absent.
    pub grace: Option<Duration>,
    /// Wait until it is gone, so long at most.
    pub wait: Option<Duration>,
}

/// Between two looks at an object that is going.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Cluster {
    /// Deletes one object; false when there was none.
    pub async fn delete(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        deletion: Deletion,
    ) -> Result<bool, ClientError> {
        let mut options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        });
        if let Some(grace) = deletion.grace {
            options["gracePeriodSeconds"] = grace.as_secs().into();
        }
        let path = resource.path(namespace, name);
        let uid = match self.call(Method::DELETE, &path, (JSON, JSON), Some(&options)).await {
            Ok(reply) => uid(&reply.body),
            Err(ClientError::Refused { refusal }) if refusal.code == 404 => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(limit) = deletion.wait else { return Ok(true) };
        match tokio::time::timeout(limit, self.gone(resource, (namespace, name), &uid)).await {
            Ok(result) => result.map(|()| true),
            Err(_) => {
                let what = resource.display();
                let text = format!("timed out waiting for {what}/{name} to be gone");
                Err(ClientError::Usage(text))
            }
        }
    }

    /// Returns when the object is gone or has been replaced by another of its name.
    async fn gone(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        uid: &str,
    ) -> Result<(), ClientError> {
        loop {
            match self.find(resource, namespace, name).await? {
                None => return Ok(()),
                Some(object) if !uid.is_empty() && text(&object, "/metadata/uid") != uid => {
                    return Ok(());
                }
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

/// The deleted object's identity, which the server gives in one of two shapes.
fn uid(answer: &Value) -> String {
    match text(answer, "/metadata/uid") {
        "" => text(answer, "/details/uid").to_owned(),
        uid => uid.to_owned(),
    }
}

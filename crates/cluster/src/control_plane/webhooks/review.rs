//! One review: a pod to inject, or an object to validate.
//!
//! A review is judged on a thread of its own, in its turn; turns are shared among peers.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use weft_api::json;
use weft_inject::Namespace;
use weft_process::peers::{Connection, Gathered, ReadError};

use super::Webhooks;
use crate::control_plane::admission::{self, Injected};

/// The most that a review may hold: two objects, and what is around them.
pub(super) const MOST: json::Most = json::Most {
    maps: 2 * weft_api::MOST.maps + 1_000,
    values: 2 * weft_api::MOST.values + 10_000,
};

/// What a review is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewKind {
    /// Whether a pod gets a sidecar.
    Inject,
    /// Whether an object is valid.
    Validate,
}

/// Why a review is not answered.
pub(super) type Refusal = (StatusCode, String);

/// Why a review that was not read has no answer.
pub(super) fn unread(error: ReadError<hyper::Error>) -> Refusal {
    match error {
        ReadError::TooLarge(longest) => {
            let message = format!("the review has more than {longest} bytes\n");
            (StatusCode::PAYLOAD_TOO_LARGE, message)
        }
        error => (StatusCode::BAD_REQUEST, format!("the review cannot be read: {error}\n")),
    }
}

/// The answer to a review that came by `connection`.
pub(super) async fn answer(
    webhooks: &Arc<Webhooks>,
    connection: &Connection,
    (question, Gathered { bytes, held }): (ReviewKind, Gathered),
) -> Result<Bytes, Refusal> {
    let turn = connection.turn().await;
    // What has been begun cannot be stopped, so the turn goes with it and ends with it.
    let (turn, review) = blocking(move || (turn, json::parse(&bytes, MOST))).await?;
    drop(held);
    let review = review.map_err(|error| match error {
        json::JsonError::TooLarge { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("the review has {error}\n"))
        }
        error => (StatusCode::BAD_REQUEST, format!("not an admission review: {error}\n")),
    })?;
    if question == ReviewKind::Validate {
        let judge = move || (turn, admission::validate(review).to_string());
        let (_turn, answer) = blocking(judge).await?;
        return Ok(answer.into());
    }
    drop(turn);
    inject(webhooks, connection, Arc::new(review)).await
}

/// Decides about a pod by what the watches have seen, and asks the API server before a
/// pod is left out: its namespace may have got its label just now.
async fn inject(
    webhooks: &Arc<Webhooks>,
    connection: &Connection,
    review: Arc<Value>,
) -> Result<Bytes, Refusal> {
    let name = review["request"]["namespace"].as_str().unwrap_or_default().to_owned();
    if !weft_api::is_dns_label(&name) {
        let message = "request.namespace is not the name of a namespace\n";
        return Err((StatusCode::BAD_REQUEST, message.to_owned()));
    }
    webhooks.inputs.complete().await;
    let mut known = webhooks.inputs.namespace(&name);
    let mut fresh = false;
    loop {
        let namespace = match known.take() {
            Some(namespace) => namespace,
            None => {
                fresh = true;
                Arc::new(webhooks.namespace(&name).await?)
            }
        };
        let turn = connection.turn().await;
        let (settings, review) = (webhooks.inputs.settings(), Arc::clone(&review));
        let judge = move || (turn, admission::inject(&review, &namespace, &settings));
        match blocking(judge).await?.1 {
            Injected::Skipped(_) if !fresh => {}
            Injected::Skipped(answer) | Injected::Answer(answer) => {
                return Ok(answer.to_string().into());
            }
        }
    }
}

impl Webhooks {
    /// The labels of the namespace as they are now.
    async fn namespace(&self, name: &str) -> Result<Namespace, Refusal> {
        let found = self.cluster.find(&self.namespaces, "", name).await;
        let object = found.map_err(|error| {
            tracing::warn!("reading namespace {name} for a review: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("namespace {name} cannot be read\n"))
        })?;
        let labels = object.unwrap_or_default()["metadata"]["labels"].clone();
        Ok(Namespace {
            name: name.to_owned(),
            labels: serde_json::from_value(labels).unwrap_or_default(),
        })
    }
}

/// Does what takes a processor for longer than a moment.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a review was not judged: {error}");
        (StatusCode::INTERNAL_SERVER_ERROR, "the review could not be judged\n".to_owned())
    })
}

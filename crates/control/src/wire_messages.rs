//! Between the messages on the wire and what the machine understands.

use weft_delta::{Refusal, Request, Response};
use weft_wire::{
    DeltaRequest, DeltaResponse, TYPE_URL,
    message::{self, Resource},
};

/// A request that is about something else than Weft's resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resources of type `{0}` are not served here, only {TYPE_URL}")]
pub(crate) struct OtherType(pub(crate) String);

/// What a message asks.
pub(crate) fn request(message: DeltaRequest) -> Result<Request, OtherType> {
    if message.type_url != TYPE_URL {
        return Err(OtherType(message.type_url));
    }
    // A version that is not one of ours is no version that we could have sent.
    let held = message
        .held
        .into_iter()
        .filter_map(|(name, version)| Some((name.into(), message::version(&version)?)));
    let refused = message.error.map(|error| match error.refusals() {
        refusals if refusals.is_empty() => vec![("".into(), error.message)],
        refusals => refusals.into_iter().map(|one| (one.name.into(), one.why)).collect(),
    });
    let refused = refused.unwrap_or_default().into_iter();
    Ok(Request {
        subscribe: message.subscribe.into_iter().map(Into::into).collect(),
        unsubscribe: message.unsubscribe.into_iter().map(Into::into).collect(),
        held: held.collect(),
        more: message.more,
        nonce: message.nonce,
        refused: refused.map(|(name, why)| Refusal { name, why }).collect(),
    })
}

/// The message that says `response`; bodies are shared, not copied.
pub(crate) fn response(response: Response) -> DeltaResponse {
    let resources = response.resources.into_iter();
    let resources =
        resources.map(|resource| Resource::new(&resource.name, resource.version, resource.body));
    DeltaResponse {
        system_version: String::new(),
        resources: resources.collect(),
        type_url: TYPE_URL.to_owned(),
        nonce: response.nonce,
        removed: response.removed.iter().map(ToString::to_string).collect(),
    }
}

//! Between the messages on the wire and what the machine understands.

use weft_delta::{Refusal, Request, Response};
use weft_wire::{
    DeltaRequest, DeltaResponse, TYPE_URL,
    message::{self, Resource, RpcStatus},
};

/// A request that is about something else than Weft's resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resources of type `{0}` are not served here, only {TYPE_URL}")]
pub(crate) struct OtherType(pub(crate) String);

/// The version of what a client holds at a version that is not one of ours: no resource
/// has it, so the client gets the resource again, or has to forget it.
const UNKNOWN_VERSION: u64 = 0;

/// What a message asks.
pub(crate) fn request(message: DeltaRequest) -> Result<Request, OtherType> {
    if message.type_url != TYPE_URL {
        return Err(OtherType(message.type_url));
    }
    let held = message.held.into_iter().map(|(name, version)| {
        (name.into(), message::version(&version).unwrap_or(UNKNOWN_VERSION))
    });
    Ok(Request {
        subscribe: message.subscribe.into_iter().map(Into::into).collect(),
        unsubscribe: message.unsubscribe.into_iter().map(Into::into).collect(),
        held: held.collect(),
        more: message.more,
        nonce: message.nonce,
        refused: message.error.map(refusals).unwrap_or_default(),
    })
}

/// What a client says it cannot use. A detail that cannot be read may be about any resource,
/// as an error without details may: then one refusal is without a name.
fn refusals(error: RpcStatus) -> Vec<Refusal> {
    let named = error.refusals().into_iter();
    let mut refusals: Vec<Refusal> =
        named.map(|one| Refusal { name: one.name.into(), why: one.why }).collect();
    if refusals.is_empty() || refusals.len() < error.details.len() {
        refusals.push(Refusal { name: "".into(), why: error.message });
    }
    refusals
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

#[cfg(test)]
mod tests {
    use weft_wire::message::{Any, REFUSAL_URL};

    use super::*;

    fn refused(error: RpcStatus) -> Vec<(String, String)> {
        let message = DeltaRequest {
            type_url: TYPE_URL.to_owned(),
            nonce: "1".to_owned(),
            error: Some(error),
            ..DeltaRequest::default()
        };
        let refused = request(message).unwrap().refused.into_iter();
        refused.map(|one| (one.name.to_string(), one.why)).collect()
    }

    fn named() -> RpcStatus {
        let (name, why) = ("route/a".to_owned(), "bad".to_owned());
        RpcStatus::refusing(&[message::Refusal { name, why }])
    }

    #[test]
    fn an_error_that_names_nothing_or_cannot_be_read_has_a_refusal_without_a_name() {
        let bare = RpcStatus { code: 3, message: "no".to_owned(), details: Vec::new() };
        assert_eq!(refused(bare), [(String::new(), "no".to_owned())]);
        assert_eq!(refused(RpcStatus::default()), [(String::new(), String::new())]);
        let one = ("route/a".to_owned(), "bad".to_owned());
        assert_eq!(refused(named()), std::slice::from_ref(&one));
        let mut broken = named();
        let value = bytes::Bytes::from_static(b"\xff\xff");
        broken.details.push(Any { type_url: REFUSAL_URL.to_owned(), value });
        assert_eq!(refused(broken.clone()), [one, (String::new(), broken.message)]);
    }

    /// It runs on something old, so it is not new to the mesh.
    #[test]
    fn what_is_held_at_a_version_that_cannot_be_read_is_held() {
        let message = DeltaRequest {
            type_url: TYPE_URL.to_owned(),
            held: [("route/a".to_owned(), "v17".to_owned())].into(),
            ..DeltaRequest::default()
        };
        assert_eq!(request(message).unwrap().held, [("route/a".into(), UNKNOWN_VERSION)]);
    }
}

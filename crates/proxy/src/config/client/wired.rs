//! Between the machine's messages and those on the wire.

use weft_delta::{Request, Resource, Response};
use weft_wire::message::{DeltaRequest, DeltaResponse, Node, Refusal, RpcStatus, TYPE_URL};
use weft_wire::message::{version, version_text};

/// A stream's first request, which says who asks.
pub fn first(request: Request, node: &str) -> DeltaRequest {
    let node = Node {
        id: node.to_owned(),
        user_agent_name: "weft".to_owned(),
        user_agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Node::default()
    };
    DeltaRequest { node: Some(node), ..self::request(request) }
}

/// A request as it is sent.
pub fn request(request: Request) -> DeltaRequest {
    let text = |names: Vec<weft_delta::Name>| names.iter().map(ToString::to_string).collect();
    let refused: Vec<Refusal> = request
        .refused
        .into_iter()
        .map(|refusal| Refusal { name: refusal.name.to_string(), why: refusal.why })
        .collect();
    DeltaRequest {
        node: None,
        type_url: TYPE_URL.to_owned(),
        subscribe: text(request.subscribe),
        unsubscribe: text(request.unsubscribe),
        held: request
            .held
            .into_iter()
            .map(|(name, version)| (name.to_string(), version_text(version)))
            .collect(),
        nonce: request.nonce,
        error: (!refused.is_empty()).then(|| RpcStatus::refusing(&refused)),
    }
}

/// A response as the machine takes it. A version that cannot be read is no version
/// of this side's, so its resource counts as changed.
pub fn response(response: DeltaResponse) -> Response {
    Response {
        nonce: response.nonce,
        resources: response
            .resources
            .into_iter()
            .map(|resource| Resource {
                version: version(&resource.version).unwrap_or_default(),
                body: resource.body(),
                name: resource.name.into(),
            })
            .collect(),
        removed: response.removed.into_iter().map(Into::into).collect(),
    }
}

//! Between the machine's messages and those on the wire.

use weft_config::Features;
use weft_delta::{Request, Resource, Response};
use weft_wire::message::{DeltaRequest, DeltaResponse, Node, Refusal, RpcStatus, TYPE_URL};
use weft_wire::message::{version, version_text};

/// A request as it is sent; a stream's first one says who asks, which is `node`.
pub fn request(request: Request, node: Option<String>) -> DeltaRequest {
    let node = node.map(|id| Node {
        id,
        user_agent_name: "weft".to_owned(),
        user_agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        client_features: Features::all().iter().map(|one| one.name().to_owned()).collect(),
        ..Node::default()
    });
    let text = |names: Vec<weft_delta::Name>| names.iter().map(ToString::to_string).collect();
    let refused: Vec<Refusal> = request
        .refused
        .into_iter()
        .map(|refusal| Refusal { name: refusal.name.to_string(), why: refusal.why })
        .collect();
    DeltaRequest {
        node,
        type_url: TYPE_URL.to_owned(),
        subscribe: text(request.subscribe),
        unsubscribe: text(request.unsubscribe),
        held: request
            .held
            .into_iter()
            .map(|(name, version)| (name.to_string(), version_text(version)))
            .collect(),
        more: request.more,
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

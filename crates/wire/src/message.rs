//! The messages of `envoy.service.discovery.v3`, as far as they are used.

use std::collections::HashMap;

use bytes::Bytes;

/// What every resource on the stream is: JSON.
pub const TYPE_URL: &str = "type.weft.dev/config.v1";

/// The type of the details of an error that name one resource.
pub const REFUSAL_URL: &str = "type.weft.dev/config.v1.Refusal";

/// The service, as in URLs.
pub const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// The method, as in URLs.
pub const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// `envoy.config.core.v3.Node`: what a client says about itself.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// Its name; for logs only, never believed.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What it is part of.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// The program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// The program's version.
    #[prost(string, tag = "7")]
    pub user_agent_version: String,
    /// What it can do, by name.
    #[prost(string, repeated, tag = "10")]
    pub client_features: Vec<String>,
}

/// `DeltaDiscoveryRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaRequest {
    /// Who asks; in the first request.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// [`TYPE_URL`]
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// New interests.
    #[prost(string, repeated, tag = "3")]
    pub subscribe: Vec<String>,
    /// Interests that are over.
    #[prost(string, repeated, tag = "4")]
    pub unsubscribe: Vec<String>,
    /// In the first request: versions held, by name.
    #[prost(map = "string, string", tag = "5")]
    pub held: HashMap<String, String>,
    /// The response that this is about.
    #[prost(string, tag = "6")]
    pub nonce: String,
    /// Present when something in that response cannot be used.
    #[prost(message, optional, tag = "7")]
    pub error: Option<RpcStatus>,
    /// More of what the client holds follows in the next request; Weft's own field.
    #[prost(bool, tag = "100")]
    pub more: bool,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// One [`Refusal`] for each resource.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// What `value` is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The value, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// One resource that a client cannot use.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refusal {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What is wrong with it.
    #[prost(string, tag = "2")]
    pub why: String,
}

/// `Resource`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// A hash of the body, in hexadecimal digits.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The body.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// The name.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `DeltaDiscoveryResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaResponse {
    /// For people.
    #[prost(string, tag = "1")]
    pub system_version: String,
    /// New and changed resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// [`TYPE_URL`]
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names this response.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Resources that are gone.
    #[prost(string, repeated, tag = "6")]
    pub removed: Vec<String>,
}

impl Resource {
    /// A resource of [`TYPE_URL`].
    pub fn new(name: &str, version: u64, body: Bytes) -> Self {
        let resource = Some(Any { type_url: TYPE_URL.to_owned(), value: body });
        Self { version: version_text(version), resource, name: name.to_owned() }
    }

    /// The body, perhaps empty.
    pub fn body(&self) -> Bytes {
        self.resource.as_ref().map(|any| any.value.clone()).unwrap_or_default()
    }
}

impl RpcStatus {
    /// Says what cannot be used.
    pub fn refusing(refusals: &[Refusal]) -> Self {
        const INVALID_ARGUMENT: i32 = 3;
        let message: Vec<String> =
            refusals.iter().map(|refusal| format!("{}: {}", refusal.name, refusal.why)).collect();
        let details = refusals
            .iter()
            .map(|refusal| Any {
                type_url: REFUSAL_URL.to_owned(),
                value: prost::Message::encode_to_vec(refusal).into(),
            })
            .collect();
        Self { code: INVALID_ARGUMENT, message: message.join("; "), details }
    }

    /// What cannot be used; details that are something else are passed over.
    pub fn refusals(&self) -> Vec<Refusal> {
        let details = self.details.iter().filter(|any| any.type_url == REFUSAL_URL);
        details.filter_map(|any| prost::Message::decode(any.value.clone()).ok()).collect()
    }
}

/// A version as it is written.
pub fn version_text(version: u64) -> String {
    format!("{version:016x}")
}

/// The version that `text` writes, if it does.
pub fn version(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let refusals = vec![Refusal { name: "route/80/a".into(), why: "bad regex `(`".into() }];
        let status = RpcStatus::refusing(&refusals);
        assert_eq!(status.message, "route/80/a: bad regex `(`");
        let bytes = prost::Message::encode_to_vec(&status);
        let back: RpcStatus = prost::Message::decode(bytes.as_slice()).unwrap();
        assert_eq!(back.refusals(), refusals);
    }

    #[test]
    fn versions_read_back() {
        for number in [0, 1, u64::MAX] {
            assert_eq!(version(&version_text(number)), Some(number));
        }
        assert_eq!(version("v1"), None);
    }
}

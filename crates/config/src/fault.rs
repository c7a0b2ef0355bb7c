//! Faults that a rule makes on purpose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a share of 1 is: shares are counted in millionths.
pub const WHOLE: u32 = 1_000_000;

/// Faults of a share of a rule's requests; a delay comes before an abort, and whether a request
/// gets one does not depend on whether it gets the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Fault {
    /// Requests that are held up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Requests that are answered by the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
}

/// Holds requests up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// Of how many requests, in millionths.
    pub share: u32,
    /// For how long; it does not count for the rule's timeout.
    #[serde(with = "crate::seconds")]
    pub time: Duration,
}

/// Answers requests in place of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abort {
    /// Of how many requests, in millionths.
    pub share: u32,
    /// With which status.
    pub with: AbortStatus,
}

/// The status of an injected answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AbortStatus {
    /// Of HTTP.
    Http(u16),
    /// Of gRPC; clients that do not speak it get 200.
    Grpc(u8),
}

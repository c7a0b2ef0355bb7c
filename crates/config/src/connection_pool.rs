//! How many connections and requests a backend may have, and how its connections are made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What holds for the connections to a backend, and for the requests on them. What is absent is
/// not limited, or as the listener's limits say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ConnectionPool {
    /// Connections at once. HTTP requests wait for one, relayed connections are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending: Option<u32>,
    /// Requests under way at once, of either version of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Further tries of requests under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// The same as a share of the requests; takes the place of the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Requests that one connection serves before it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<u32>,
    /// Streams at once on one connection of HTTP/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_streams: Option<u32>,
    /// How long a connection without a request is kept; zero is for as long as its server does.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub idle: Option<Duration>,
    /// How long no byte may pass on a relayed connection; zero is without end.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub relay_idle: Option<Duration>,
    /// How long a connection is used; one with a request is closed after that.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub max_duration: Option<Duration>,
    /// How the kernel finds out that a silent server is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_keep_alive: Option<TcpKeepAlive>,
    /// How connections of HTTP/2 find out the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<Ping>,
}

/// How many further tries may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryBudget {
    /// As a share of the requests that are under way or wait for a connection.
    pub percent: f64,
    /// Always so many.
    pub least: u32,
}

/// Probes of the kernel; what is absent is as for every connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TcpKeepAlive {
    /// How many get no answer before the connection ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// After how much silence the first one is sent.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub time: Option<Duration>,
    /// The pause between two.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub interval: Option<Duration>,
}

/// PING frames of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ping {
    /// After how much silence one is sent.
    #[serde(with = "crate::seconds")]
    pub interval: Duration,
    /// How long its answer may take.
    #[serde(with = "crate::seconds")]
    pub answer: Duration,
}

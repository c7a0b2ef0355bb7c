//! What holds for a whole proxy.

use serde::{Deserialize, Serialize};

use crate::{ProcessLimits, Workload};

/// What holds for a whole proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Who the proxy works for, for metrics.
    pub workload: Workload,
    /// Where it runs: region, zone and subzone, separated by `/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// What happens to traffic that the directory does not know.
    pub outside: Outside,
    /// The access log; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// What the proxy as a whole may use up.
    pub limits: ProcessLimits,
}

/// What happens to traffic that the directory does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outside {
    /// It goes where the client meant it to go.
    #[default]
    Allow,
    /// HTTP gets 502, connections are closed.
    Refuse,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// `/dev/stdout`, `/dev/stderr` or a file.
    pub path: String,
    /// What a line looks like.
    pub format: LogFormat,
}

/// What a line of the access log looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// A text with `%OPERATORS%`; Istio's default when empty.
    Text(String),
    /// A JSON object of such texts, in this order; Istio's default when empty.
    Json(Vec<(String, String)>),
}

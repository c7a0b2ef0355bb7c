//! What holds for a whole proxy.

use serde::{Deserialize, Serialize};

use crate::{ProcessLimits, Workload};

/// What holds for a whole proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Who the proxy works for, for metrics.
    pub workload: Workload,
    /// Labels of that workload's pod, sorted by name: rules may ask for any of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// Where it runs: region, zone and subzone, separated by `/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// What happens to traffic that the directory does not know.
    pub outside: Outside,
    /// The access log; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// The protocols to which a request may switch its connection.
    #[serde(skip_serializing_if = "Upgrades::is_default")]
    pub upgrades: Upgrades,
    /// What the proxy as a whole may use up.
    pub limits: ProcessLimits,
}

/// Protocols to which a request may switch its connection, by their names in the
/// field `Upgrade` and in lower case; only `websocket` when nothing else is said. What
/// is spoken after the switch is relayed unseen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrades(pub Vec<String>);

impl Default for Upgrades {
    fn default() -> Self {
        Self(vec!["websocket".to_owned()])
    }
}

impl Upgrades {
    fn is_default(&self) -> bool {
        matches!(self.0.as_slice(), [only] if only == "websocket")
    }
}

/// What happens to traffic that the directory does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outside {
    /// It goes where the client meant it to go.
    #[default]
    Allow,
    /// HTTP gets 502, connections are closed.
    Refuse,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLog {
    /// `/dev/stdout`, `/dev/stderr` or a file.
    pub path: String,
    /// What a line looks like.
    pub format: LogFormat,
}

/// What a line of the access log looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LogFormat {
    /// A text with `%OPERATORS%`; Istio's default when empty.
    Text(String),
    /// A JSON object of such texts, in this order; Istio's default when empty.
    Json(Vec<(String, String)>),
}

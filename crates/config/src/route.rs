//! Where requests go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Changes, Cors, Fault, Host, Origin, Redirect, TextMatch};

/// The rules for requests of some hosts; the first that matches is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Unique among routes.
    pub name: String,
    /// Hosts it is for, in every spelling; the most specific host of a server wins.
    pub hosts: Vec<Host>,
    /// Names of the lists whose rules come first, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<String>,
    /// Its own rules, after those of the lists, in order; a request that no rule matches gets
    /// 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Rules that several routes have, in order: what one object says for all its hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleList {
    /// Unique among lists of rules.
    pub name: String,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// Conditions and what to do when they hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Its name in access logs; `default` for a service's own rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All of them must hold.
    #[serde(default)]
    pub conditions: Conditions,
    /// What to do.
    pub action: Action,
    /// How long the whole exchange may take; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub timeout: Option<Duration>,
    /// When to try again; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// What is changed of its requests and their answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Box<Changes>>,
    /// What browsers are told about requests of pages of other origins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Box<Cors>>,
    /// Faults that are made on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
    /// Where copies of its requests go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Rule {
    /// A rule that does `action` with every request, and nothing besides.
    pub fn always(action: Action, origin: Origin) -> Self {
        Self {
            name: None,
            conditions: Conditions::default(),
            action,
            timeout: None,
            retries: None,
            changes: None,
            cors: None,
            fault: None,
            mirrors: Vec::new(),
            origin,
        }
    }
}

/// What must hold of a request; an empty set always holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Conditions {
    /// The path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<TextMatch>,
    /// Whether `path` ignores case (exact and prefix only).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_path_case: bool,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<TextMatch>,
    /// The scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<TextMatch>,
    /// The host as sent, with its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<TextMatch>,
    /// Headers, by name in lower case, of which some value must match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, TextMatch)>,
    /// Headers of which no value may match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_headers: Vec<(String, TextMatch)>,
    /// Query parameters, of which the first value must match, undecoded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, TextMatch)>,
    /// The workload that the proxy works for.
    #[serde(skip_serializing_if = "SourceMatch::is_any")]
    pub source: SourceMatch,
}

/// What must hold of the workload that a proxy works for, which is the client of the
/// requests that leave it; an empty set always holds.
///
/// The proxy decides it by its [`Settings`](crate::Settings), so that workloads that
/// differ in nothing else can share their rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SourceMatch {
    /// Labels that it has, sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// The namespace that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl SourceMatch {
    /// Whether it always holds.
    pub fn is_any(&self) -> bool {
        self.labels.is_empty() && self.namespace.is_none()
    }
}

/// What a rule does with a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// Sends it to one of these, by weight.
    Forward(Vec<Target>),
    /// Answers it.
    Respond {
        /// The status.
        status: u16,
        /// The body.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        body: String,
        /// Response code details that name the cause, as in `direct_response`.
        details: String,
    },
    /// Sends the client elsewhere.
    Redirect(Box<Redirect>),
    /// Sends it to the address that the client dialled.
    Passthrough,
}

impl Action {
    /// Answers with `status` and without a body; `details` name the cause.
    pub fn respond(status: u16, details: &str) -> Self {
        Self::Respond { status, body: String::new(), details: details.to_owned() }
    }
}

/// One of the destinations of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Name of the backend; one that does not exist answers 503 with flag `NC`.
    pub backend: String,
    /// Its share, relative to the others'.
    pub weight: u32,
    /// What is changed of its requests and their answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Box<Changes>>,
}

impl Target {
    /// The backend called `backend`, with this share.
    pub fn new(backend: impl Into<String>, weight: u32) -> Self {
        Self { backend: backend.into(), weight, changes: None }
    }
}

/// Where copies of a rule's requests go, whose answers nobody gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// Name of the backend; no copies go to one that does not exist.
    pub backend: String,
    /// Of how many requests, in millionths; those of one mirror do not depend on those of another.
    pub share: u32,
}

/// When a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// How many further tries.
    pub attempts: u32,
    /// How long one try may take.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub per_try_timeout: Option<Duration>,
    /// In which cases.
    pub on: Vec<RetryOn>,
    /// Which statuses count for [`RetryOn::Statuses`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// First pause before a further try.
    #[serde(with = "crate::seconds")]
    pub backoff: Duration,
    /// Whether endpoints already tried are avoided while there are others.
    pub avoid_tried: bool,
    /// Whether only requests of idempotent methods are tried again, but for tries
    /// that were provably not sent (RFC 9110, section 9.2.2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent_only: bool,
}

/// A case in which a request is tried again (Envoy's `retry_on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// The connection could not be made.
    ConnectFailure,
    /// The server refused the stream before it looked at it.
    RefusedStream,
    /// The connection ended before an answer.
    Reset,
    /// It ended before the request was sent.
    ResetBeforeRequest,
    /// An answer of 502, 503 or 504, or none.
    GatewayError,
    /// Any answer of 500 or more, or none.
    #[serde(rename = "5xx")]
    ServerError,
    /// An answer of 409.
    Retriable4xx,
    /// A status of the list.
    #[serde(rename = "retriable-status-codes")]
    Statuses,
    /// gRPC status 1.
    Cancelled,
    /// gRPC status 4.
    DeadlineExceeded,
    /// gRPC status 13.
    Internal,
    /// gRPC status 8.
    ResourceExhausted,
    /// gRPC status 14.
    Unavailable,
    /// A try that took longer than `per_try_timeout`.
    PerTryTimeout,
}

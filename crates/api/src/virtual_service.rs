//! `networking.istio.io VirtualService`: where requests go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Metadata;

/// A virtual service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualService {
    /// Name, age.
    pub metadata: Metadata,
    /// What it says.
    pub spec: VirtualServiceSpec,
}

/// `VirtualService` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualServiceSpec {
    /// Host names; a short name is a service of the object's own namespace.
    pub hosts: Vec<String>,
    /// `NAME`, `NAMESPACE/NAME`, or `mesh` for the sidecars; `mesh` when empty.
    pub gateways: Vec<String>,
    /// Rules for HTTP; the first that matches is used.
    pub http: Vec<HttpRoute>,
    /// Rules for TLS by server name.
    pub tls: Vec<Value>,
    /// Rules for TCP.
    pub tcp: Vec<TcpRoute>,
    /// Who sees the object: `.`, `*`, or namespaces; all when empty.
    pub export_to: Vec<String>,
    /// Fields that cannot be read, and without which it is not known where the rules are
    /// for, so that all of them are closed. Users cannot write this field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<String>,
}

impl VirtualServiceSpec {
    /// Whether it is not known who sees the object, so that it is closed for everybody.
    pub fn is_closed_for_everybody(&self) -> bool {
        self.closed.iter().any(|field| field == "exportTo")
    }
}

/// `VirtualService` `spec.http[]`; what Weft does not honour yet stays JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRoute {
    /// The rule's name.
    pub name: Option<String>,
    /// Alternatives, of which one must hold; none means always.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Weighted destinations.
    pub route: Vec<HttpDestination>,
    /// Answer with a redirect.
    pub redirect: Option<Value>,
    /// Answer at once.
    pub direct_response: Option<Value>,
    /// Rules of another VirtualService.
    pub delegate: Option<Value>,
    /// Change path and host.
    pub rewrite: Option<Value>,
    /// How long the whole exchange may take, as in `1.5s`; no limit when absent.
    pub timeout: Option<String>,
    /// When to try again.
    pub retries: Option<Retries>,
    /// Injected faults.
    pub fault: Option<Value>,
    /// Copies of requests.
    pub mirror: Option<Value>,
    /// Copies of requests.
    pub mirrors: Vec<Value>,
    /// Share of copies.
    pub mirror_percentage: Option<Value>,
    /// Share of copies, deprecated.
    pub mirror_percent: Option<Value>,
    /// Cross-origin rules.
    pub cors_policy: Option<Value>,
    /// Header changes.
    pub headers: Option<Value>,
}

/// `spec.http[].match[]`: all that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    /// The match's name.
    pub name: Option<String>,
    /// The path, without the query.
    pub uri: Option<StringMatch>,
    /// The scheme.
    pub scheme: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
    /// The host.
    pub authority: Option<StringMatch>,
    /// Headers that must match; an empty matcher means presence.
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that must not match.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Query parameters that must match.
    pub query_params: BTreeMap<String, StringMatch>,
    /// The port that the client dialled.
    pub port: Option<u16>,
    /// Labels of the client's workload.
    pub source_labels: BTreeMap<String, String>,
    /// Namespace of the client's workload.
    pub source_namespace: Option<String>,
    /// Gateways for which the match is; the object's own when empty.
    pub gateways: Vec<String>,
    /// Whether `uri` ignores case.
    pub ignore_uri_case: bool,
    /// Prefix of per-route statistics.
    pub stat_prefix: Option<String>,
}

/// How a text is compared; none of them set means that it must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StringMatch {
    /// Equal.
    pub exact: Option<String>,
    /// Begins with.
    pub prefix: Option<String>,
    /// Matches as a whole (RE2).
    pub regex: Option<String>,
}

/// `spec.http[].route[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpDestination {
    /// Where to.
    pub destination: Destination,
    /// Share among the destinations; relative.
    pub weight: Option<i64>,
    /// Header changes.
    pub headers: Option<Value>,
}

/// A service, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// The service's name; a short one is in the object's own namespace.
    pub host: String,
    /// A subset of a DestinationRule.
    pub subset: Option<String>,
    /// The service's port.
    pub port: Option<PortSelector>,
}

/// A port by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortSelector {
    /// The number.
    pub number: u16,
}

/// `spec.http[].retries`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retries {
    /// How many further tries; 0 for none.
    pub attempts: i64,
    /// How long one try may take, as in `2s`; the rule's timeout when absent.
    pub per_try_timeout: Option<String>,
    /// Conditions, separated by commas.
    pub retry_on: Option<String>,
    /// Whether another zone may be tried.
    pub retry_remote_localities: Option<bool>,
    /// Whether hosts already tried are avoided.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// First pause between tries, as in `25ms`.
    pub backoff: Option<String>,
}

/// `spec.tcp[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRoute {
    /// Alternatives, of which one must hold; none means always.
    #[serde(rename = "match")]
    pub matches: Vec<Value>,
    /// Weighted destinations.
    pub route: Vec<RouteDestination>,
}

/// `spec.tcp[].route[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteDestination {
    /// Where to.
    pub destination: Destination,
    /// Share among the destinations; relative.
    pub weight: Option<i64>,
}

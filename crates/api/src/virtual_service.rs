//! `networking.istio.io VirtualService`: where requests go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Key, Metadata};

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
    /// Rules for TLS by server name; for ports that are declared to speak TLS.
    pub tls: Vec<ConnectionRoute>,
    /// Rules for TCP.
    pub tcp: Vec<ConnectionRoute>,
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
    pub redirect: Option<HttpRedirect>,
    /// Answer at once.
    pub direct_response: Option<DirectResponse>,
    /// Rules of another VirtualService.
    pub delegate: Option<Delegate>,
    /// Change path and host.
    pub rewrite: Option<HttpRewrite>,
    /// How long the whole exchange may take, as in `1.5s`; no limit when absent.
    pub timeout: Option<String>,
    /// When to try again.
    pub retries: Option<Retries>,
    /// Injected faults.
    pub fault: Option<HttpFault>,
    /// Copies of requests.
    pub mirror: Option<Destination>,
    /// Copies of requests, to several destinations.
    pub mirrors: Vec<HttpMirror>,
    /// Of how many requests `mirror` gets copies; of all when absent.
    pub mirror_percentage: Option<Percent>,
    /// The same, deprecated.
    pub mirror_percent: Option<i64>,
    /// Cross-origin rules.
    pub cors_policy: Option<CorsPolicy>,
    /// Header changes.
    pub headers: Option<Headers>,
    /// Where it is written, if that is not in the object that it is in.
    #[serde(skip)]
    pub written: Option<Written>,
}

/// A place in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The object.
    pub object: Key,
    /// The field below `spec`.
    pub field: String,
}

/// `spec.http[].delegate`: a virtual service without hosts, whose rules stand in the place of this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; the object's own when absent.
    pub namespace: Option<String>,
}

/// `spec.http[].redirect`: where the client is sent instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRedirect {
    /// The path.
    pub uri: Option<String>,
    /// What stands instead of the prefix that the rule matches.
    pub prefix_rewrite: Option<String>,
    /// The host.
    pub authority: Option<String>,
    /// The port.
    pub port: Option<u32>,
    /// `FROM_PROTOCOL_DEFAULT` or `FROM_REQUEST_PORT`.
    pub derive_port: Option<String>,
    /// The scheme.
    pub scheme: Option<String>,
    /// The status; 301 when absent.
    pub redirect_code: Option<u32>,
    /// The path, by its matches.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// The longest body of a direct response, in bytes.
pub const LONGEST_BODY: usize = 1 << 20;

/// `spec.http[].directResponse`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectResponse {
    /// The status.
    pub status: u32,
    /// The body.
    pub body: Option<HttpBody>,
}

/// `spec.http[].directResponse.body`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpBody {
    /// As text.
    pub string: Option<String>,
    /// As bytes, in base64.
    pub bytes: Option<String>,
}

/// `spec.http[].rewrite`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRewrite {
    /// What stands instead of the prefix or path that the rule matches.
    pub uri: Option<String>,
    /// The host.
    pub authority: Option<String>,
    /// The path, by its matches.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// What stands instead of every match in a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegexRewrite {
    /// The pattern (RE2).
    #[serde(rename = "match")]
    pub pattern: String,
    /// What stands instead, with `\\1` for a group.
    pub rewrite: String,
}

/// `spec.http[].fault`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpFault {
    /// Holds requests up.
    pub delay: Option<FaultDelay>,
    /// Answers requests.
    pub abort: Option<FaultAbort>,
}

/// `spec.http[].fault.delay`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FaultDelay {
    /// Of how many requests, deprecated.
    pub percent: Option<i64>,
    /// For how long, as in `5s`.
    pub fixed_delay: Option<String>,
    /// Of how many requests; none when absent.
    pub percentage: Option<Percent>,
}

/// `spec.http[].fault.abort`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FaultAbort {
    /// The status.
    pub http_status: Option<i64>,
    /// The status of gRPC, as a name or number.
    pub grpc_status: Option<String>,
    /// An error of HTTP/2.
    pub http2_error: Option<String>,
    /// Of how many requests; none when absent.
    pub percentage: Option<Percent>,
}

/// A share in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Percent {
    /// From 0 to 100.
    pub value: f64,
}

/// `spec.http[].mirrors[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMirror {
    /// Where copies go.
    pub destination: Destination,
    /// Of how many requests; of all when absent.
    pub percentage: Option<Percent>,
}

/// `spec.http[].corsPolicy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsPolicy {
    /// Origins that may use answers, deprecated.
    pub allow_origin: Vec<String>,
    /// Origins that may use answers.
    pub allow_origins: Vec<StringMatch>,
    /// Methods that may be used.
    pub allow_methods: Vec<String>,
    /// Fields that may be sent.
    pub allow_headers: Vec<String>,
    /// Fields that pages may read.
    pub expose_headers: Vec<String>,
    /// How long the answer to a preflight request may be kept, as in `24h`.
    pub max_age: Option<String>,
    /// Whether credentials may be sent.
    pub allow_credentials: Option<bool>,
    /// `FORWARD` or `IGNORE`: what becomes of preflight requests from other origins.
    pub unmatched_preflights: Option<String>,
}

/// `headers` of a rule or of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Headers {
    /// Of requests.
    pub request: HeaderOperations,
    /// Of answers.
    pub response: HeaderOperations,
}

/// `headers.request`, `headers.response`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderOperations {
    /// Fields that have this value only.
    pub set: BTreeMap<String, String>,
    /// Fields that get one more value.
    pub add: BTreeMap<String, String>,
    /// Fields that are taken out.
    pub remove: Vec<String>,
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
    pub headers: Option<Headers>,
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
    /// The name of a port of the service, in place of the number; users cannot write it.
    #[serde(skip)]
    pub name: Option<String>,
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

/// `spec.tcp[]`, `spec.tls[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionRoute {
    /// Alternatives, of which one must hold; none means always.
    #[serde(rename = "match")]
    pub matches: Vec<ConnectionMatch>,
    /// Weighted destinations.
    pub route: Vec<RouteDestination>,
}

/// `spec.tcp[].match[]`, `spec.tls[].match[]`: all that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionMatch {
    /// Names of which the client wants one (SNI); rules for TLS only.
    pub sni_hosts: Vec<String>,
    /// Addresses or ranges of addresses, of which the client dialled one.
    pub destination_subnets: Vec<String>,
    /// The port that the client dialled.
    pub port: Option<u16>,
    /// Labels of the client's workload.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways for which the match is; the object's own when empty.
    pub gateways: Vec<String>,
    /// Namespace of the client's workload.
    pub source_namespace: Option<String>,
    /// Addresses of clients; not honoured, so that the rule is closed.
    pub source_subnet: Option<String>,
}

/// `spec.tcp[].route[]`, `spec.tls[].route[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteDestination {
    /// Where to.
    pub destination: Destination,
    /// Share among the destinations; relative.
    pub weight: Option<i64>,
}

//! What an explanation says; its JSON is documented in `docs/explain.md`, and stable.

use std::collections::BTreeMap;

use serde::Serialize;
use weft_config::Retries;

/// What becomes of a request, proxy by proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Why the client knows no address of the mesh for the host; absent when it
    /// does. What the hops do is then for an address that the mesh does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unresolved: Option<Unresolved>,
    /// One for every proxy on the way, in order.
    pub hops: Vec<Hop>,
    /// Objects of the files that decide nothing here, and would in a mesh of Istio.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<Ignored>,
}

/// An object of a kind that is not honoured yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ignored {
    /// The object, as in `AuthorizationPolicy/default/nobody`.
    pub object: String,
    /// Where it is written, as in `file.yaml:12:7`.
    pub source: String,
}

impl Ignored {
    /// What is to be said of it.
    pub(crate) const MESSAGE: &str = "not honoured yet: objects of this kind change nothing about \
                                      traffic here, and may in Istio";
}

/// A host for which the mesh's DNS has no address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unresolved {
    /// The host, as in the URL.
    pub host: String,
    /// What DNS says.
    pub answer: DnsAnswer,
    /// Why, in a few words.
    pub why: String,
}

/// What the mesh's DNS says of a name without an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsAnswer {
    /// There is no such name, and the application fails before a proxy sees anything.
    NoSuchName,
    /// The name exists and has no address now, and the application fails as well.
    NoAddress,
    /// DNS outside the mesh may have it.
    Outside,
}

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "HTTP/1.1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP/2")]
    Http2,
}

impl Protocol {
    /// As in access logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// What one proxy does with the request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// The proxy's pod, as `NAME.NAMESPACE`.
    pub at: String,
    /// What becomes of the request here.
    pub outcome: Outcome,
    /// The status that the proxy answers with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Flags of the access log, as in `NR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<String>,
    /// Response code details of the access log, which name the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// The object and rule because of which the proxy answers, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<DecidedBy>,
    /// Who is to look into the proxy's answer: `client`, `configuration`, `controlPlane` or
    /// `server`; absent where a rule says to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blame: Option<&'static str>,
    /// The body that the proxy answers with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The header fields that the proxy answers with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Where the request may go, by weight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<Destination>,
    /// Where copies of the request go, whose answers nobody gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// The request as it is sent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// How long the whole exchange may take, as in `1.5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// What was looked at, in order.
    pub because: Vec<Because>,
}

/// What a proxy's own answer is because of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecidedBy {
    /// The object, as in `VirtualService/default/hello`.
    pub object: String,
    /// The rule in it, as in `http[0].match[1]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
}

/// What becomes of a request at a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It goes to a destination of the mesh, or to the application beside the proxy.
    Forward,
    /// The proxy answers it.
    Respond,
    /// The connection is closed without an answer.
    Refuse,
    /// It goes on to the address that the client dialled, as it is.
    Passthrough,
}

/// One place where a request may go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The service's full name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The service's port; at a server's proxy the application's.
    pub port: u16,
    /// The subset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The share, relative to the others'; absent when there is one destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Addresses with ports.
    pub endpoints: Vec<String>,
}

/// One place where copies go.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Of how many requests.
    pub percent: f64,
    /// Where they go.
    #[serde(flatten)]
    pub destination: Destination,
}

/// A request as it is sent on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The method; programs know it, since they asked.
    #[serde(skip)]
    pub method: String,
    /// Path and query, in normal form.
    pub path: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// What is spoken to the server.
    pub protocol: Protocol,
    /// The header fields that the client sent, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Because {
    /// The object, as in `VirtualService/default/hello`.
    pub object: String,
    /// The rule in it, as in `http[0].match[1]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Where it is written, as in `file.yaml:12:7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `matched`, `not matched`, `overridden`, `not reached`, `refused`, `left out`.
    pub verdict: String,
    /// Why, in a few words.
    pub why: String,
}

impl Hop {
    /// A hop at `at` about which nothing else is known yet.
    pub(crate) fn new(at: String, outcome: Outcome) -> Self {
        Self {
            at,
            outcome,
            status: None,
            flags: None,
            details: None,
            decided_by: None,
            blame: None,
            body: None,
            headers: BTreeMap::new(),
            destinations: Vec::new(),
            mirrors: Vec::new(),
            request: None,
            timeout: None,
            retries: None,
            because: Vec::new(),
        }
    }
}

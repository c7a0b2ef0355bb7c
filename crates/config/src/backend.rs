//! Where requests can be sent.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ConnectionPool, LocalityPolicy, Origin, Warmup};

/// A service or a part of it, on one port, as one class of clients calls it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Unique among backends, in Istio's form: `outbound|8080|v1|hello.default.svc.cluster.local`.
    pub name: String,
    /// The service's full name; empty without a service (`inbound|8080||`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The service's name and namespace in metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<(String, String)>,
    /// The service's port.
    pub port: u16,
    /// The part of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How HTTP is spoken to it.
    pub upstream: Upstream,
    /// How an endpoint is chosen.
    pub load_balancer: LoadBalancer,
    /// When endpoints that fail are left out; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outliers: Option<OutlierDetection>,
    /// How endpoints that are new get their share; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmup>,
    /// How the place of an endpoint decides its share; not at all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<Box<LocalityPolicy>>,
    /// What holds for its connections and requests; nothing more than for all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_pool: Option<Box<ConnectionPool>>,
    /// How long a connection may take to be made.
    #[serde(with = "crate::seconds")]
    pub connect_timeout: Duration,
    /// When set, the backend is closed: requests get 503 with these details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A named part of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// Labels that its endpoints have, sorted by name.
    pub labels: Vec<(String, String)>,
}

/// Where a backend's endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Discovery {
    /// The chunks that the list of this name names. All backends of a service's port share
    /// it, so that subsets and chunks cost their sum.
    Endpoints(String),
    /// The backend has no endpoint.
    Nowhere,
    /// The address that the client dialled.
    Original,
    /// One fixed address.
    Fixed(SocketAddr),
    /// The addresses of a name, from DNS.
    Dns {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// The addresses of several names together, or all addresses of one, from DNS.
    Names {
        /// The names; at least one.
        names: Vec<NamedEndpoint>,
        /// Only the first address of a name that can be connected to is used.
        #[serde(default, rename = "firstOnly", skip_serializing_if = "std::ops::Not::not")]
        first_only: bool,
    },
    /// The addresses of the host that a request names, from DNS.
    Requested {
        /// The port.
        port: u16,
    },
}

/// An endpoint that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedEndpoint {
    /// The name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Its share, relative to the others'; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// How HTTP is spoken to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Upstream {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// What the client speaks.
    SameAsClient,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LoadBalancer {
    /// The less busy of two.
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The same for all that have the same key, while it is there; any for what has no key.
    Hash(HashKey),
}

/// When endpoints that fail are left out, and for how long. A count of zero means never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutlierDetection {
    /// After so many answers of 500 and more in a row, or failures to get one.
    pub errors: u32,
    /// After so many of 502, 503 and 504 in a row, or failures to get an answer.
    pub gateway_errors: u32,
    /// When set, failures to get an answer are not counted above: after so many in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_failures: Option<u32>,
    /// Each time that an endpoint is well for so long takes back one time that it was not.
    #[serde(with = "crate::seconds")]
    pub interval: Duration,
    /// For how long an endpoint is left out the first time; twice as long the second, three times
    /// the third, up to five minutes.
    #[serde(with = "crate::seconds")]
    pub base_ejection_time: Duration,
    /// How many percent may be left out at once; one endpoint always may be.
    pub max_ejection_percent: u8,
    /// When fewer percent than this are left, all are used.
    pub min_health_percent: u8,
}

/// What keeps requests and connections together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HashKey {
    /// The values of a field of the request, by its name in lower case; `:authority`, `:path`
    /// and `:method` are parts of its first line.
    Header(String),
    /// A cookie of the request.
    Cookie(HashCookie),
    /// The client's address, without its port.
    SourceIp,
    /// The first parameter of this name in the query.
    Query(String),
}

/// A cookie that keeps requests together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// Under which path clients send it again; empty where nothing is said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// How long clients keep the one that they are given when they send none, in whole seconds;
    /// zero is until they end. Without it they are given none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::seconds::option")]
    pub ttl: Option<Duration>,
    /// Further attributes, by name; one without a value is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(cookie) => write!(f, "cookie {}", cookie.name),
            Self::SourceIp => f.write_str("the client's address"),
            Self::Query(name) => write!(f, "query parameter {name}"),
        }
    }
}

//! Where requests can be sent.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Origin;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LoadBalancer {
    /// The less busy of two.
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
}

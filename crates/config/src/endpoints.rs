//! What is behind a backend.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A chunk of the endpoints of a service's port, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoints {
    /// Unique among chunks: `hello.default.svc.cluster.local:8080/0`.
    pub name: String,
    /// Sorted by address.
    pub endpoints: Vec<Endpoint>,
}

/// The chunks that make up the endpoints of a service's port, for every backend of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChunkList {
    /// Unique among lists: `hello.default.svc.cluster.local:8080`.
    pub name: String,
    /// The names of the chunks, sorted.
    pub chunks: Vec<String>,
}

/// One place to send requests to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    /// The labels that some subset or failover rule of its host names, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// Who it is, for metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Where it runs: region, zone and subzone, separated by `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// Its share, relative to the others'; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Who runs somewhere, in the words of Istio's metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Workload {
    /// Name of the workload, such as its Deployment.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Label `app`, or the canonical name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Label `version`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Canonical service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub canonical_name: String,
    /// Canonical revision.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub canonical_revision: String,
    /// Cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Service account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
}

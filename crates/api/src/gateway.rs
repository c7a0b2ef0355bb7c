//! `networking.istio.io Gateway`: what a gateway's pods listen for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Metadata;

/// A gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// Name, age.
    pub metadata: Metadata,
    /// What it says.
    pub spec: GatewaySpec,
}

/// `Gateway` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// Labels of the gateway's pods, in any namespace.
    pub selector: BTreeMap<String, String>,
    /// What they listen for.
    pub servers: Vec<Server>,
}

/// `Gateway` `spec.servers[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// Where.
    pub port: Port,
    /// Which address; all when absent.
    pub bind: Option<String>,
    /// `DNS`, `NAMESPACE/DNS`, `./DNS` or `*/DNS`; the leftmost label may be `*`.
    pub hosts: Vec<String>,
    /// TLS settings.
    pub tls: Option<serde_json::Value>,
    /// The server's name.
    pub name: Option<String>,
}

/// `Gateway` `spec.servers[].port`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// The port of the gateway's service.
    pub number: u16,
    /// `HTTP`, `HTTPS`, `GRPC`, `GRPC-WEB`, `HTTP2`, `MONGO`, `TCP` or `TLS`.
    pub protocol: String,
    /// A name, unique in the gateway.
    pub name: String,
    /// Deprecated and ignored.
    pub target_port: Option<u32>,
}

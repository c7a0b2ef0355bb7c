//! `networking.istio.io Gateway`: what a gateway's pods listen for.

use std::{
    collections::BTreeMap,
    net::{AddrParseError, IpAddr},
};

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
    /// Which address; all when absent. [`Server::address`] reads it.
    pub bind: Option<String>,
    /// `DNS`, `NAMESPACE/DNS`, `./DNS` or `*/DNS`; the leftmost label may be `*`.
    pub hosts: Vec<String>,
    /// TLS settings.
    pub tls: Option<serde_json::Value>,
    /// The server's name.
    pub name: Option<String>,
}

impl Server {
    /// The one address that it is bound to; none where it is for every address, as `0.0.0.0` and
    /// `::` say, too.
    pub fn address(&self) -> Result<Option<IpAddr>, AddrParseError> {
        match self.bind.as_deref().filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => {
                let ip = text.parse::<IpAddr>()?.to_canonical();
                Ok((!ip.is_unspecified()).then_some(ip))
            }
        }
    }
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

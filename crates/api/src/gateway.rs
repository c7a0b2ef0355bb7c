//! `networking.istio.io Gateway`: what a gateway's pods listen for.

use std::{
    collections::BTreeMap,
    net::{AddrParseError, IpAddr},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    pub tls: Option<Value>,
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

/// How the connections of a server are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As HTTP.
    Http,
    /// Not at all: they are passed on.
    Tcp,
    /// The server name of TLS is read, and they are passed on.
    ServerName,
    /// The server name of TLS says which Service, port and subset is meant.
    ServiceName,
    /// TLS ends here.
    Ended,
}

impl Server {
    /// How its connections are read; none where it has no protocol that is known.
    pub fn reading(&self) -> Option<Reading> {
        let protocol = self.port.protocol.to_ascii_uppercase();
        let mode = self.tls.as_ref().map(|tls| tls.get("mode").and_then(Value::as_str));
        match (protocol.as_str(), mode) {
            ("HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB", _) => Some(Reading::Http),
            ("TCP" | "MONGO", None) => Some(Reading::Tcp),
            // The mode that is meant where none is written.
            ("HTTPS" | "TLS", Some(None | Some("PASSTHROUGH"))) => Some(Reading::ServerName),
            ("HTTPS" | "TLS", Some(Some("AUTO_PASSTHROUGH"))) => Some(Reading::ServiceName),
            ("HTTPS" | "TLS" | "TCP" | "MONGO", _) => Some(Reading::Ended),
            _ => None,
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

//! Places where connections arrive.
//!
//! The engine has one accept loop, and no idea what kind of proxy it runs in.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Host, Limits, Origin, SourceMatch};

/// A place where connections arrive, and what is done to them first.
///
/// Where listeners that [share their port](Listener::shares_port) are at one port, a connection
/// belongs to the one at its address and to the one at every address: the hosts of both are in
/// play, as if one listener had them, and the first one's come before equal ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Unique among listeners.
    pub name: String,
    /// Where to listen.
    pub bind: SocketAddr,
    /// How the real destination is learnt.
    pub destination: Destination,
    /// What is taken off the connections before anything is decided, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
    /// What its clients may use up.
    #[serde(default)]
    pub limits: Limits,
    /// What serves the connections.
    pub scope: Scope,
}

impl Listener {
    /// Whether others may have its port at other addresses. What is around the bytes, and where
    /// they were meant to go, must be read from the socket alone then.
    pub fn shares_port(&self) -> bool {
        self.destination == Destination::Socket
            && self.layers.is_empty()
            && matches!(self.scope, Scope::Servers(_))
    }
}

/// How the address that the client dialled is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Destination {
    /// It is the address of the socket.
    Socket,
    /// The kernel redirected the connection and remembers (`SO_ORIGINAL_DST`).
    Kernel,
}

/// What is around the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Layer {
    /// A PROXY protocol header (version 1 or 2), which gives source and destination.
    ProxyProtocol,
}

/// What serves the connections of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Scope {
    /// The directory decides, by address or by Host; entries are asked for on demand.
    Directory,
    /// The server with the destination's port; without one, the connection goes on
    /// to its destination unchanged.
    Servers(Vec<Server>),
}

/// What serves connections to an address or port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Its name, as in `inbound|8080||` or `http.80`.
    pub name: String,
    /// The destination port it is for; every port when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The TLS clients that it is for, whose bytes are relayed as they are. A client that no such
    /// server of its port is for goes to one without this, and is closed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<HelloMatch>,
    /// How its connections are read.
    pub protocol: Protocol,
    /// Names of the routes whose hosts it serves; a Host that none of them covers gets 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Where connections go that are not HTTP, or not looked at: where the target says that is
    /// for the proxy's workload and the client; closed without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpTarget>,
    /// Whether clients come from beyond the mesh, so that what they say of
    /// themselves (`x-forwarded-*`, `x-request-id` of others' traces) is not believed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edge: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// A condition on the first message of TLS clients, which is looked at and passed on. Where
/// several hold, the one with the most specific name counts, then one with protocols.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelloMatch {
    /// Names of which the client wants one (SNI); when empty, any, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Host>,
    /// Protocols of which the client offers one (ALPN); when empty, whatever it offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
}

/// How the bytes of a connection are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Protocol {
    /// HTTP/1 or HTTP/2, seen from the first bytes; anything else takes the TCP way.
    Http,
    /// Not looked at.
    Tcp,
    /// Undeclared: HTTP if the client begins so; the application may speak first.
    Detect,
}

/// Where some connections go that are relayed as they are.
///
/// Of several the one with the longest prefix among `destinations` counts, then the one with the
/// most specific name in `hello`, then the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpTarget {
    /// The workload that the proxy works for.
    #[serde(default, skip_serializing_if = "SourceMatch::is_any")]
    pub source: SourceMatch,
    /// The TLS clients that it is for; every client, of TLS or not, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<HelloMatch>,
    /// Ranges of addresses, in which the one is that the client dialled; every one when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<IpNet>,
    /// Weighted backends, by name.
    pub backends: Vec<(String, u32)>,
    /// Whether connections go where those go that the mesh knows nothing of, in the place of
    /// `backends`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outside: bool,
    /// Where it comes from.
    pub origin: Origin,
}

//! The access log: what a line says, how it is made, and how it gets out.
//!
//! A format is compiled once; a line is written into its worker's buffer; one
//! thread writes to the file. A file that blocks costs lines, never time.

mod format;
mod line;
pub mod buffer;
#[cfg(test)]
pub(super) mod tests;
mod writer;

use std::{
    borrow::Cow,
    fmt::Display,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, Method, Uri, Version};
use smallvec::SmallVec;

pub use format::Format;
pub use line::Clock;
pub use writer::{Destination, Sink, start};

/// Header values that the format names, in its order.
pub type Captured = SmallVec<[Option<HeaderValue>; 4]>;

/// Everything a line can say about one exchange or connection.
pub struct Facts<'a> {
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// What was asked; none for what is not HTTP, or could not be read.
    pub request: Option<&'a Head>,
    /// The version of HTTP; none for what is not HTTP.
    pub version: Option<Version>,
    /// Request header values, as [`Format::request_headers`] asks for them.
    pub request_headers: &'a Captured,
    /// Response header values, as [`Format::response_headers`] asks for them.
    pub response_headers: &'a Captured,
    /// The status; 0 when there was none.
    pub status: u16,
    /// Flags such as `UF,URX`; empty when there are none.
    pub flags: &'a dyn Display,
    /// Why the answer is what it is.
    pub details: Option<&'a str>,
    /// Why the connection ended.
    pub connection_details: Option<&'a str>,
    /// Why the server could not be reached.
    pub transport_failure: Option<&'a str>,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// How long the server took until its head.
    pub service_time: Option<Duration>,
    /// Where it went.
    pub upstream: Upstream<'a>,
    /// The address that the client dialled.
    pub destination: SocketAddr,
    /// The address that the client says it has, or has.
    pub client: SocketAddr,
    /// The address at the other end of the connection.
    pub peer: SocketAddr,
    /// The rule's name.
    pub route: Option<&'a str>,
    /// The server that a TLS client asked for, where that was read.
    pub server_name: Option<&'a str>,
    /// gRPC status, when there was one.
    pub grpc_status: Option<u16>,
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target.
    pub target: Uri,
    /// The version the client speaks.
    pub version: Version,
    /// The host as sent.
    pub authority: Option<HeaderValue>,
}

/// Where an exchange went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upstream<'a> {
    /// The endpoint.
    pub host: Option<SocketAddr>,
    /// The name of the backend.
    pub backend: Option<&'a str>,
    /// The proxy's end of the connection.
    pub local: Option<SocketAddr>,
}

/// Collects the values of `names` out of `headers`; several values of one name are
/// joined by commas, which means the same (RFC 9110, section 5.3).
pub fn capture(names: &[HeaderName], headers: &http::HeaderMap) -> Captured {
    let joined = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?;
        let mut rest = values.peekable();
        if rest.peek().is_none() {
            return Some(first.clone());
        }
        let mut joined = first.as_bytes().to_vec();
        for value in rest {
            joined.push(b',');
            joined.extend_from_slice(value.as_bytes());
        }
        HeaderValue::from_bytes(&joined).ok()
    };
    names.iter().map(joined).collect()
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Cow<'static, str>),
    Field(Field, Option<usize>),
}

/// What can stand in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    StartTime(Option<String>),
    /// Indexes into the captured values, or a pseudo header; the first there is.
    Request(SmallVec<[Name; 2]>),
    Response(SmallVec<[Name; 2]>),
    Protocol,
    Status,
    Flags,
    Details,
    ConnectionDetails,
    TransportFailure,
    Received,
    Sent,
    Duration,
    ServiceTime,
    UpstreamHost,
    UpstreamCluster,
    UpstreamLocal,
    Destination(Part),
    Client(Part),
    Peer(Part),
    Route,
    ServerName,
    GrpcStatus,
    /// Known, and never there.
    Absent,
}

/// A header, or one of HTTP/2's pseudo headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Captured(usize),
    Method,
    Path,
    Authority,
    Scheme,
    OriginalPath,
}

/// How much of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Host,
    Port,
}

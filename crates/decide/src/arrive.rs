//! The first stage: a request is read, once, for policies, rules and servers alike.
//!
//! What is sent on is what the rules saw, or the request is refused: a target, a host,
//! a length or an encoding that two readers could read in two ways gets an answer here.
//! Bodies and sockets are unknown; what is known of the connection is an argument.

pub mod fields;
mod host;
mod target;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts, uri::PathAndQuery,
};

use crate::{failure::Failure, protocol, reply::Reply};

pub use host::of_authority;
pub(crate) use host::split as split_authority;

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The client's address; none while it is not known.
    pub client: Option<SocketAddr>,
    /// The address that the client dialled.
    pub destination: SocketAddr,
    /// Which way the request goes.
    pub direction: Direction,
    /// What it goes on to.
    pub next: NextHop,
    /// The scheme of the connection.
    pub scheme: Scheme,
}

/// Which way a request goes, as far as it changes what is done to its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the application beside the proxy to another place.
    Outbound,
    /// To the application beside the proxy.
    Inbound,
    /// From outside the mesh into it.
    Edge,
}

/// What a request goes on to, as far as that counts proxies on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The application beside the proxy, which sees nothing of the count.
    Application,
    /// Another place, which may lead back here.
    Elsewhere,
}

/// A scheme of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A request that has been read.
///
/// Invariant: unless it is refused, the target is a path and query in normal form, and
/// there is one host, which is also the field `Host` of HTTP/1.
#[derive(Debug)]
pub struct Arrived {
    head: Parts,
    authority: Option<HeaderValue>,
    named: Option<Scheme>,
    arrival: Arrival,
    upgrade: Upgrade,
    /// Proxies of a mesh that the request came through, as far as it says so.
    hops: u32,
    refused: Option<Box<Reply>>,
}

/// Whether a request asks for another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    Asked,
    NotAsked,
}

/// What a head that is not refused says.
struct Read {
    authority: HeaderValue,
    named: Option<Scheme>,
}

impl Arrived {
    /// Reads a request's head: sorts out what belongs to one connection only and what
    /// clients may not say, and brings the rest into the one form that is sent on.
    pub fn read(mut head: Parts, arrival: Arrival) -> Self {
        let found = fields::inspect(&head.headers, arrival.direction);
        // A server may ignore the wish (RFC 9110, section 7.8). With a body it would have to wait
        // for the body's end, which may never come.
        let upgrade = match found.upgrade
            && !found.body
            && head.version == Version::HTTP_11
            && protocol::upgrades(&head.headers)
        {
            true => Upgrade::Asked,
            false => Upgrade::NotAsked,
        };
        let read = read(&mut head, &found, &arrival);
        if found.unwanted {
            fields::strip(&mut head.headers, arrival.direction, upgrade == Upgrade::Asked);
        }
        if found.cookies > 1 {
            fields::join_cookies(&mut head.headers);
        }
        if found.zeros {
            fields::plain_length(&mut head.headers);
        }
        let hops = found.hops;
        let (authority, named, refused) = match read {
            Ok(Read { authority, named }) => (Some(authority), named, None),
            Err(reply) => (head.headers.get(header::HOST).cloned(), None, Some(Box::new(reply))),
        };
        Self { head, authority, named, arrival, upgrade, hops, refused }
    }

    /// Puts in what the mesh says about every request. `client` is the client's address,
    /// `id` makes a request id; neither is called without need.
    pub fn announce(
        &mut self,
        client: impl FnOnce() -> HeaderValue,
        id: impl FnOnce() -> [u8; 36],
    ) {
        fields::announce(&mut self.head.headers, (&self.arrival, self.hops), client, id);
    }

    /// Sets a field that the next proxy reads.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.head.headers.insert(name, value);
    }

    /// The head as it is sent on.
    pub fn head(&self) -> &Parts {
        &self.head
    }

    /// The host as it is sent on, with its port. Of a refused request, what it said.
    pub fn authority(&self) -> Option<&HeaderValue> {
        self.authority.as_ref()
    }

    /// Whether the request asks for another protocol than HTTP.
    pub fn asks_for_upgrade(&self) -> bool {
        self.upgrade == Upgrade::Asked
    }

    /// Whether rules may have copies of it sent.
    pub fn may_be_copied(&self) -> bool {
        !self.asks_for_upgrade() && fields::may_be_copied(self.hops)
    }

    /// Gives the head away, to be sent on.
    pub fn into_head(self) -> Parts {
        self.head
    }

    /// How it came in.
    pub(crate) fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    pub(crate) fn refused(&self) -> Option<&Reply> {
        self.refused.as_deref()
    }

    /// What is known of the request when rules look at it.
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            method: &self.head.method,
            named: self.named,
            scheme: self.arrival.scheme,
            // The host was checked: it is made of visible characters.
            authority: self.authority.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(""),
            path_and_query: self.head.uri.path_and_query().map_or("/", PathAndQuery::as_str),
            headers: &self.head.headers,
        }
    }
}

/// What is known of a request when rules look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    /// The scheme in the target, if there is one.
    named: Option<Scheme>,
    /// The scheme of the connection.
    scheme: Scheme,
    pub(crate) authority: &'a str,
    pub(crate) path_and_query: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> Request<'a> {
    /// The path without query.
    pub(crate) fn path(&self) -> &'a str {
        crate::path::without_query(self.path_and_query)
    }

    /// The scheme: as the target says, else as the first proxy saw it, else the
    /// connection's.
    pub(crate) fn scheme(&self) -> &'a [u8] {
        match (self.named, self.headers.get(fields::FORWARDED_PROTO)) {
            (Some(named), _) => named.as_str().as_bytes(),
            (None, Some(sent)) => sent.as_bytes(),
            (None, None) => self.scheme.as_str().as_bytes(),
        }
    }

    /// The first value of query parameter `name`, as sent.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        parameter(self.path_and_query, name)
    }
}

/// The first parameter called `name` in the query of `target`.
pub(crate) fn parameter<'t>(target: &'t str, name: &str) -> Option<&'t str> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

fn read(head: &mut Parts, found: &fields::Findings, arrival: &Arrival) -> Result<Read, Reply> {
    if head.method == Method::CONNECT {
        return Err(Failure::NoRoute.reply());
    }
    if found.count > fields::MOST_FIELDS {
        return Err(Failure::TooManyFields(match head.version {
            Version::HTTP_2 => "http2.too_many_headers",
            _ => "http1.too_many_headers",
        })
        .reply());
    }
    if fields::is_in_a_circle(found) {
        return Err(Failure::Circle.reply());
    }
    framing(found)?;
    let named = target::scheme(head, arrival)?;
    let authority = host::authority(head, found.hosts, arrival)?;
    target::normalise(head)?;
    host::write(head, &authority);
    Ok(Read { authority, named })
}

/// The message ends where one reading of its fields says (RFC 9112, section 6.3).
fn framing(found: &fields::Findings) -> Result<(), Reply> {
    use fields::Encoding;
    let unclear = || Failure::BadRequest("http1.codec_error").reply();
    match (found.encoding, found.lengths) {
        (Encoding::Other, _) => Err(Failure::UnknownEncoding.reply()),
        (Encoding::Chunked, 1..) | (_, 2..) => Err(unclear()),
        // One reader takes it for zero, another for no length at all.
        _ if found.odd_length => Err(unclear()),
        (Encoding::None | Encoding::Chunked, _) => Ok(()),
    }
}

//! What keeps requests at one endpoint: the hash of their key, and the cookie that clients get
//! who have none.
//!
//! Hashes are the same in every process, so that all proxies choose alike.

use std::{fmt::Write, hash::Hasher, net::SocketAddr};

use http::{HeaderMap, HeaderValue, header, request::Parts};
use twox_hash::XxHash64;
use weft_config::{HashCookie, HashKey};

use crate::arrive::{Arrival, parameter};

/// What keeps a request at one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The hash of its key; none when it has no key, or its backend asks for none.
    pub hash: Option<u64>,
    /// The cookie that its client is given with the server's answer.
    pub set_cookie: Option<Box<HeaderValue>>,
}

impl Affinity {
    /// That of the request with this `head`, as it is sent on.
    pub(crate) fn of_request(
        key: &HashKey,
        (head, authority): (&Parts, Option<&HeaderValue>),
        arrival: &Arrival,
    ) -> Self {
        let hash = match key {
            HashKey::Header(name) => of_header(name, head, authority),
            HashKey::Cookie(wanted) => {
                return match cookie(&head.headers, &wanted.name) {
                    Some(value) => Self { hash: Some(of_bytes(value)), set_cookie: None },
                    None => Self::with_new(wanted, arrival),
                };
            }
            HashKey::SourceIp => arrival.client.map(of_client),
            HashKey::Query(name) => {
                let target = head.uri.path_and_query().map_or("", |target| target.as_str());
                parameter(target, name).map(|value| of_bytes(value.as_bytes()))
            }
        };
        Self { hash, set_cookie: None }
    }

    /// That of a client without the cookie, which it gets if the cookie has a lifetime. All
    /// requests of its connection get the same, as in Envoy, so that they stay together.
    fn with_new(cookie: &HashCookie, arrival: &Arrival) -> Self {
        let Some(ttl) = cookie.ttl else { return Self::default() };
        let ends = format!("{:?}{}", arrival.client, arrival.destination);
        let value = format!("{:016x}", of_bytes(ends.as_bytes()));
        let mut text = format!("{}=\"{value}\"", cookie.name);
        if ttl.as_secs() > 0 {
            let _ = write!(text, "; Max-Age={}", ttl.as_secs());
        }
        if !cookie.path.is_empty() {
            let _ = write!(text, "; Path={}", cookie.path);
        }
        for (name, value) in &cookie.attributes {
            let equals = if value.is_empty() { "" } else { "=" };
            let _ = write!(text, "; {name}{equals}{value}");
        }
        text.push_str("; HttpOnly");
        // A name that no field can have means that there is no key.
        let Ok(set) = HeaderValue::try_from(text) else { return Self::default() };
        Self { hash: Some(of_bytes(value.as_bytes())), set_cookie: Some(Box::new(set)) }
    }
}

/// The hash of a client's address, without its port.
pub(crate) fn of_client(client: SocketAddr) -> u64 {
    match client.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => of_bytes(&ip.octets()),
        std::net::IpAddr::V6(ip) => of_bytes(&ip.octets()),
    }
}

fn of_bytes(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

fn of_header(name: &str, head: &Parts, authority: Option<&HeaderValue>) -> Option<u64> {
    match name {
        ":method" => return Some(of_bytes(head.method.as_str().as_bytes())),
        ":path" => {
            let target = head.uri.path_and_query().map_or("", |target| target.as_str());
            return Some(of_bytes(target.as_bytes()));
        }
        // Heads of HTTP/2 have no field for it.
        ":authority" | "host" => return authority.map(|host| of_bytes(host.as_bytes())),
        _ => {}
    }
    let mut values = head.headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(of_bytes(first.as_bytes())) };
    // The order of several does not count, as in Envoy.
    let mut all: Vec<&[u8]> =
        [first, second].into_iter().chain(values).map(HeaderValue::as_bytes).collect();
    all.sort_unstable();
    let mut hasher = XxHash64::with_seed(0);
    for value in all {
        hasher.write(value);
        hasher.write(&[0]);
    }
    Some(hasher.finish())
}

/// The value of the first cookie called `name`, without quotes around it; an empty one is absent.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let fields = headers.get_all(header::COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(bare.unwrap_or(value)).filter(|value| !value.is_empty())
    })
}

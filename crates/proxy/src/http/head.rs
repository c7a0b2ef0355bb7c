//! The heads of requests and responses, as they are passed on.
//!
//! What belongs to one connection only is taken out, what the mesh adds is put
//! in. Fields are never removed one by one, since that moves the last field into
//! the gap: the map is rebuilt in order.

mod request_id;
#[cfg(test)]
mod tests;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};

use weft_decide::protocol;

pub use request_id::request_id;

use crate::connection::direction::Direction;

/// How many times a request was sent.
pub const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// What the caller calls the operation; for the next proxy, never for applications.
pub const DECORATOR: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");
/// The address from which a request reached the mesh.
pub const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
/// The addresses that a request came through.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The request's own id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long the server took.
pub const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// What a look at the fields found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many `Host` fields there are.
    pub hosts: usize,
    /// Whether some fields must not be passed on.
    pub unwanted: bool,
    /// Whether another protocol is asked for that may be spoken through a proxy.
    pub upgrade: bool,
}

/// Looks at the fields of a request once.
pub fn inspect(headers: &HeaderMap, direction: Direction) -> Findings {
    let mut findings = Findings::default();
    for name in headers.keys() {
        let text = name.as_str();
        match text.as_bytes().first() {
            Some(b'h') if *name == header::HOST => {
                findings.hosts = headers.get_all(header::HOST).iter().count();
            }
            Some(b'u') if *name == header::UPGRADE => {
                findings.upgrade = protocol::upgrades(headers)
            }
            _ => {}
        }
        findings.unwanted |= hop_by_hop(name) || sanitized(text, direction);
    }
    findings
}

/// Takes out what must not be passed on; `upgrade` keeps what asks for another protocol.
pub fn strip_request(headers: &mut HeaderMap, direction: Direction, upgrade: bool) {
    let protocol = upgrade.then(|| headers.get(header::UPGRADE).cloned()).flatten();
    let named = named_by_connection(headers);
    rebuild(headers, |name| {
        !hop_by_hop(name) && !sanitized(name.as_str(), direction) && !named.contains(name)
    });
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Puts in what the mesh says about every request; `client` is its address.
pub fn announce(
    headers: &mut HeaderMap,
    direction: Direction,
    client: impl FnOnce() -> HeaderValue,
    id: impl FnOnce() -> [u8; 36],
) {
    let mut address = None;
    if direction == Direction::Edge {
        let text = client();
        append_forwarded_for(headers, &text);
        address = Some(text);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    } else if let Entry::Vacant(vacant) = headers.entry(FORWARDED_PROTO) {
        vacant.insert(HeaderValue::from_static("http"));
    }
    if let Some(address) = address {
        headers.insert(EXTERNAL_ADDRESS, address);
    }
    let new_id = || HeaderValue::from_bytes(&id()).expect("hexadecimal digits are a header value");
    match headers.entry(REQUEST_ID) {
        Entry::Occupied(mut kept) if direction == Direction::Edge => {
            kept.insert(new_id());
        }
        Entry::Occupied(_) => {}
        Entry::Vacant(vacant) => {
            vacant.insert(new_id());
        }
    }
}

/// Makes a response's head what the client gets.
pub fn finish_response(headers: &mut HeaderMap, direction: Direction, upgraded: bool) {
    let unwanted = headers.keys().any(|name| hop_by_hop(name) || *name == DECORATOR);
    if unwanted {
        let protocol = upgraded.then(|| headers.get(header::UPGRADE).cloned()).flatten();
        let named = named_by_connection(headers);
        rebuild(headers, |name| !hop_by_hop(name) && *name != DECORATOR && !named.contains(name));
        if let Some(protocol) = protocol {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
    }
    headers.insert(header::SERVER, HeaderValue::from_static(direction.server()));
}

/// Puts `host` first, as clients of HTTP/1 expect it (RFC 9110, section 7.2).
pub fn host_first(headers: &mut HeaderMap, host: HeaderValue) {
    let old = std::mem::take(headers);
    headers.reserve(old.keys_len() + 1);
    headers.insert(header::HOST, host);
    append_all(headers, old, |name| *name != header::HOST);
}

/// Takes out the fields of HTTP/1 that HTTP/2 forbids; of `te`, only `trailers` may stay
/// (RFC 9113, section 8.2.2).
pub fn without_http1(headers: &mut HeaderMap) {
    let forbidden = |name: &HeaderName| {
        [header::HOST, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE]
            .contains(name)
            || ["keep-alive", "proxy-connection"].contains(&name.as_str())
    };
    let te = headers.contains_key(header::TE);
    let trailers = te && protocol::has_token(headers, &header::TE, "trailers");
    if te || headers.keys().any(forbidden) {
        rebuild(headers, |name| !forbidden(name) && (trailers || *name != header::TE));
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes out the fields called `name`.
pub fn without(headers: &mut HeaderMap, name: &HeaderName) {
    rebuild(headers, |other| other != name);
}

/// A number; the few that almost all requests have are not made each time.
pub fn number(number: u64) -> HeaderValue {
    match number {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        2 => HeaderValue::from_static("2"),
        other => HeaderValue::from(other),
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, address: &HeaderValue) {
    if !headers.contains_key(FORWARDED_FOR) {
        headers.insert(FORWARDED_FOR, address.clone());
        return;
    }
    let before: Vec<&[u8]> =
        headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let mut all = before.join(&b',');
    if !all.is_empty() {
        all.push(b',');
    }
    all.extend_from_slice(address.as_bytes());
    if let Ok(all) = HeaderValue::from_bytes(&all) {
        headers.insert(FORWARDED_FOR, all);
    }
}

/// Fields that belong to one connection (RFC 9110, section 7.6.1). Framing is
/// left to the codec, and `te: trailers` is passed on as Envoy does.
fn hop_by_hop(name: &HeaderName) -> bool {
    let text = name.as_str();
    match text.as_bytes().first() {
        Some(b'c') => *name == header::CONNECTION,
        Some(b'k') => text == "keep-alive",
        Some(b'p') => text == "proxy-connection",
        Some(b'u') => *name == header::UPGRADE,
        Some(b'h') => text == "http2-settings",
        _ => false,
    }
}

/// Fields by which a client would steer a proxy, or speak in its name.
fn sanitized(name: &str, direction: Direction) -> bool {
    if !name.starts_with("x-") {
        return false;
    }
    if name == "x-forwarded-client-cert" {
        return true;
    }
    let Some(envoy) = name.strip_prefix("x-envoy-") else { return false };
    match envoy {
        "decorator-operation"
        | "downstream-service-cluster"
        | "downstream-service-node"
        | "expected-rq-timeout-ms"
        | "force-trace"
        | "hedge-on-per-try-timeout"
        | "internal"
        | "ip-tags"
        | "max-retries"
        | "retriable-header-names"
        | "retriable-status-codes"
        | "retry-grpc-on"
        | "retry-on"
        | "upstream-alt-stat-name"
        | "upstream-rq-per-try-timeout-ms"
        | "upstream-rq-timeout-alt-response"
        | "upstream-rq-timeout-ms"
        | "upstream-stream-duration-ms" => true,
        "attempt-count" => direction != Direction::Inbound,
        "external-address" | "original-path" | "original-host" | "peer-metadata"
        | "peer-metadata-id" => direction == Direction::Edge,
        _ => false,
    }
}

/// The fields that `Connection` names, but for those that frame the message or
/// say whom it is for: nobody may have these taken out.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .filter(|name| {
            let kept = [
                header::HOST,
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                header::AUTHORIZATION,
                header::COOKIE,
                header::TE,
            ];
            !kept.contains(name) && !name.as_str().starts_with("x-forwarded-")
        })
        .collect()
}

fn rebuild(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let old = std::mem::take(headers);
    headers.reserve(old.keys_len() + 4);
    append_all(headers, old, keep);
}

fn append_all(headers: &mut HeaderMap, old: HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let mut current = None;
    for (name, value) in old {
        // A repeated field comes without its name.
        if let Some(name) = name {
            current = keep(&name).then_some(name);
        }
        if let Some(name) = &current {
            headers.append(name, value);
        }
    }
}

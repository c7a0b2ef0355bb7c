//! The fields of a request's head: what is taken out, what is put in.
//!
//! Fields are never removed one by one, since that moves the last field into the gap:
//! the map is rebuilt in order.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};

use super::{Arrival, Direction, NextHop};

/// The address from which a request reached the mesh.
pub const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
/// The addresses that a request came through.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// How many proxies of a mesh, one after the other, a request came through.
pub const HOPS: HeaderName = HeaderName::from_static("x-weft-hops");
/// The request's own id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most proxies that a request comes through on its way, before it is taken for one that
/// goes in a circle.
const MOST_HOPS: u32 = 16;
/// A request that has come through so many is not copied.
const UNCOPIED: u32 = 2;
/// The most fields that a head or its trailers may have, cookies counted as one: what the
/// codec of HTTP/1 allows, and Envoy for both versions.
pub const MOST_FIELDS: usize = 100;
/// Digits that every codec reads without overflow.
const MOST_DIGITS: usize = 19;

/// What a look at the fields found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// How many `Host` fields there are.
    pub(super) hosts: usize,
    /// How many `Cookie` fields there are.
    pub(super) cookies: usize,
    /// How many `Content-Length` fields there are.
    pub(super) lengths: usize,
    /// Whether one of them is no number, or one that some codec cannot read.
    pub(super) odd_length: bool,
    /// Whether one of them has a zero in front.
    pub(super) zeros: bool,
    /// Whether a body is announced.
    pub(super) body: bool,
    /// All fields, cookies counted as one.
    pub(super) count: usize,
    /// Proxies of a mesh that the request came through, as far as it says so.
    pub(super) hops: u32,
    /// What `Transfer-Encoding` says.
    pub(super) encoding: Encoding,
    /// Whether there is an `Upgrade` field.
    pub(super) upgrade: bool,
    /// Whether some fields must not be passed on.
    pub(super) unwanted: bool,
}

/// How a body is encoded for its transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all.
    #[default]
    None,
    /// In chunks, said once.
    Chunked,
    /// In a way that a server may know and this proxy does not.
    Other,
}

/// Looks at the fields of a request once.
pub(super) fn inspect(headers: &HeaderMap, direction: Direction) -> Findings {
    let mut found = Findings { count: headers.len(), ..Findings::default() };
    for (name, value) in headers {
        let text = name.as_str();
        match text.as_bytes().first() {
            Some(b'h') if *name == header::HOST => found.hosts += 1,
            Some(b'c') if *name == header::COOKIE => found.cookies += 1,
            Some(b'c') if *name == header::CONTENT_LENGTH => {
                let digits = value.as_bytes();
                found.lengths += 1;
                found.odd_length |= !(1..=MOST_DIGITS).contains(&digits.len())
                    || !digits.iter().all(u8::is_ascii_digit);
                found.zeros |= digits.len() > 1 && digits[0] == b'0';
                found.body |= digits.iter().any(|digit| *digit != b'0');
            }
            Some(b't') if *name == header::TRANSFER_ENCODING => {
                found.body = true;
                let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                found.encoding = match found.encoding {
                    Encoding::None if chunked => Encoding::Chunked,
                    _ => Encoding::Other,
                };
            }
            Some(b'u') if *name == header::UPGRADE => found.upgrade = true,
            Some(b'x') if *name == HOPS => found.hops = found.hops.max(hops(value)),
            // The sender is a proxy, or passes on what one has said.
            Some(b'x') if text == "x-envoy-attempt-count" => found.hops = found.hops.max(1),
            _ => {}
        }
        found.unwanted |= is_hop_by_hop(name) || is_sanitized(text, direction);
    }
    found.count -= found.cookies.saturating_sub(1);
    found
}

/// Whether a request that has come through so many proxies may be copied.
pub(super) fn may_be_copied(hops: u32) -> bool {
    hops < UNCOPIED
}

/// Makes the head of a request that of a copy of it, which is not copied again: rules that send
/// copies to each other would multiply them without end.
pub fn mark_copy(headers: &mut HeaderMap) {
    let known = headers.get_all(HOPS).iter().map(hops).max().unwrap_or_default();
    headers.insert(HOPS, HeaderValue::from(known.max(UNCOPIED)));
}

/// Whether a request has come through more proxies than are on any way that is no circle.
pub(super) fn is_in_a_circle(found: &Findings) -> bool {
    found.hops > MOST_HOPS
}

/// What a field says about proxies on the way; more than any way has where it says nothing
/// that can be read.
fn hops(value: &HeaderValue) -> u32 {
    value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
}

/// Writes the length without zeros in front, which readers take for different numbers.
pub(super) fn plain_length(headers: &mut HeaderMap) {
    let Some(length) = headers.get_mut(header::CONTENT_LENGTH) else { return };
    if let Some(number) = length.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
        *length = HeaderValue::from(number);
    }
}

/// What frames a message, addresses it or says whom it is from: neither does `Connection` take
/// it out, nor may it come after the body.
static OF_A_HEAD: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::AUTHORIZATION,
    header::COOKIE,
    header::TE,
];

/// Whether a field frames or addresses a message, says whom it is from, or belongs to one
/// connection: none of these may come after the body (RFC 9110, section 6.5.1).
pub fn is_for_heads_only(name: &HeaderName) -> bool {
    is_hop_by_hop(name) || OF_A_HEAD.contains(name) || *name == header::TRAILER
}

/// Takes out of trailers what no sender may say there: what would be taken out of a head, or
/// written anew there, and what is for heads only.
pub fn strip_trailers(trailers: &mut HeaderMap, direction: Direction) {
    let written_anew = [header::FORWARDED, REQUEST_ID, EXTERNAL_ADDRESS];
    let is_unwanted = |name: &HeaderName| {
        let text = name.as_str();
        is_for_heads_only(name)
            || is_sanitized(text, direction)
            || written_anew.contains(name)
            || text.starts_with("x-forwarded-")
    };
    if trailers.keys().any(is_unwanted) {
        rebuild(trailers, |name| !is_unwanted(name));
    }
}

/// Takes out what must not be passed on; `upgrade` keeps what asks for another protocol.
pub(super) fn strip(headers: &mut HeaderMap, direction: Direction, upgrade: bool) {
    let protocol = upgrade.then(|| headers.get(header::UPGRADE).cloned()).flatten();
    let named = named_by_connection(headers);
    rebuild(headers, |name| {
        !is_hop_by_hop(name) && !is_sanitized(name.as_str(), direction) && !named.contains(name)
    });
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Makes one `Cookie` field of several: HTTP/2 splits it, HTTP/1 servers read the first
/// only, and a rule must see what they see (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Puts in what the mesh says about every request.
pub(super) fn announce(
    headers: &mut HeaderMap,
    (arrival, hops): (&Arrival, u32),
    client: impl FnOnce() -> HeaderValue,
    id: impl FnOnce() -> [u8; 36],
) {
    let is_edge = arrival.direction == Direction::Edge;
    let scheme = HeaderValue::from_static(arrival.scheme.as_str());
    if is_edge {
        let address = client();
        append_forwarded_for(headers, &address);
        headers.insert(FORWARDED_PROTO, scheme);
        headers.insert(EXTERNAL_ADDRESS, address);
    } else if let Entry::Vacant(vacant) = headers.entry(FORWARDED_PROTO) {
        vacant.insert(scheme);
    }
    // Proxies before an inbound one need not have said that they are there.
    let counts = hops > 0 || arrival.direction == Direction::Inbound;
    if counts && arrival.next == NextHop::Elsewhere {
        headers.insert(HOPS, HeaderValue::from(hops.saturating_add(1)));
    }
    let new_id = || HeaderValue::from_bytes(&id()).expect("hexadecimal digits are a header value");
    match headers.entry(REQUEST_ID) {
        Entry::Occupied(mut kept) if is_edge => {
            kept.insert(new_id());
        }
        Entry::Occupied(_) => {}
        Entry::Vacant(vacant) => {
            vacant.insert(new_id());
        }
    }
}

/// Puts `host` first, as servers of HTTP/1 expect it (RFC 9110, section 7.2).
pub fn host_first(headers: &mut HeaderMap, host: HeaderValue) {
    let old = std::mem::take(headers);
    headers.reserve(old.keys_len() + 1);
    headers.insert(header::HOST, host);
    append_all(headers, old, |name| *name != header::HOST);
}

/// Keeps the fields for which `keep` holds, in order.
pub fn rebuild(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let old = std::mem::take(headers);
    headers.reserve(old.keys_len() + 4);
    append_all(headers, old, keep);
}

/// Whether a field belongs to one connection (RFC 9110, section 7.6.1). Framing is
/// left to the codec, and `te: trailers` is passed on as Envoy does.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
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

/// The fields that `Connection` names, but for those that frame the message or say whom
/// it is for: no client may have these taken out.
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .filter(|name| !OF_A_HEAD.contains(name) && !name.as_str().starts_with("x-forwarded-"))
        .collect()
}

/// Fields by which a client would steer a proxy, or speak in its name.
fn is_sanitized(name: &str, direction: Direction) -> bool {
    if !name.starts_with("x-") {
        return false;
    }
    if name == "x-forwarded-client-cert" || name == HOPS {
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

//! The heads of requests and responses, as they are passed on.
//!
//! What a request says is read and sorted out by `decide`; here is what one server or
//! client needs of it, and what becomes of the head of an answer.

mod request_id;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use weft_decide::{
    arrive::fields::{is_for_heads_only, is_hop_by_hop, named_by_connection, rebuild},
    protocol,
};

pub use request_id::request_id;
pub use weft_decide::arrive::fields::{FORWARDED_FOR, host_first};

/// How many times a request was sent.
pub const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// What the caller calls the operation; for the next proxy, never for applications.
pub const DECORATOR: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");
/// How long an answer is waited for.
pub const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// How long the server took.
pub const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Makes a response's head what the client gets, but for what its rule and its proxy say.
pub fn finish_response(headers: &mut HeaderMap, upgraded: bool) {
    frame_once(headers);
    if upgraded {
        without_length(headers);
    }
    let unwanted = headers.keys().any(|name| is_hop_by_hop(name) || *name == DECORATOR);
    if unwanted {
        let protocol = upgraded.then(|| headers.get(header::UPGRADE).cloned()).flatten();
        let named = named_by_connection(headers);
        rebuild(headers, |name| {
            !is_hop_by_hop(name) && *name != DECORATOR && !named.contains(name)
        });
        if let Some(protocol) = protocol {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
    }
}

/// Takes out of an answer's trailers what would be taken out of its head, or written anew there,
/// and what is for heads only.
pub fn finish_trailers(trailers: &mut HeaderMap) {
    let is_unwanted = |name: &HeaderName| {
        is_for_heads_only(name) || [header::SERVER, DECORATOR, SERVICE_TIME].contains(name)
    };
    if trailers.keys().any(is_unwanted) {
        rebuild(trailers, |name| !is_unwanted(name));
    }
}

/// Whether an answer's head announces a body in a way that some reader takes for another, which
/// the codec lets pass where no body comes: a length that is no number or not the same each
/// time, or chunks twice (RFC 9112, section 6.1).
pub fn is_framed_oddly(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lengths.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_odd = lengths.next().is_some_and(|first| {
        let first = first.trim_ascii();
        let is_number = (1..=19).contains(&first.len()) && first.iter().all(u8::is_ascii_digit);
        !is_number || lengths.any(|other| other.trim_ascii() != first)
    });
    let codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let chunked = |one: &&[u8]| one.trim_ascii().eq_ignore_ascii_case(b"chunked");
    is_odd || codings.filter(chunked).nth(1).is_some()
}

/// Takes out a length, which an answer without content does not have (RFC 9110, section 8.6).
pub fn without_length(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONTENT_LENGTH) {
        rebuild(headers, |name| *name != header::CONTENT_LENGTH);
    }
}

/// Leaves one way to find the end of the body: chunks come before a length (RFC 9112,
/// section 6.3), and a length that is said again is said once (RFC 9110, section 8.6).
/// The codec has refused lengths that differ.
fn frame_once(headers: &mut HeaderMap) {
    let Some(first) = headers.get(header::CONTENT_LENGTH) else { return };
    if headers.contains_key(header::TRANSFER_ENCODING) {
        rebuild(headers, |name| *name != header::CONTENT_LENGTH);
        return;
    }
    let is_list = first.as_bytes().contains(&b',');
    if is_list || headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        let length = first.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default();
        if let Ok(length) = HeaderValue::from_bytes(length.trim_ascii()) {
            headers.insert(header::CONTENT_LENGTH, length);
        }
    }
}

/// The length of the body, as the head announces it.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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

/// A number; the few that almost all requests have are not made each time.
pub fn number(number: u64) -> HeaderValue {
    match number {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        2 => HeaderValue::from_static("2"),
        other => HeaderValue::from(other),
    }
}

//! Which HTTP is spoken to a server, and whether a request asks for another protocol.

use http::{
    HeaderMap, HeaderValue, Version,
    header::{self, HeaderName},
};
use weft_config::{Upgrades, Upstream};

/// Whether another protocol than HTTP/2 is asked for. An upgrade to HTTP/2 is never
/// granted, since policies must see every request.
pub fn upgrades(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && has_token(headers, &header::CONNECTION, "upgrade")
        && !has_token(headers, &header::UPGRADE, "h2c")
}

/// Whether each protocol that is asked for is one of `allowed`.
pub(crate) fn is_allowed(headers: &HeaderMap, allowed: &Upgrades) -> bool {
    headers.get_all(header::UPGRADE).iter().all(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .all(|one| allowed.0.iter().any(|name| name.eq_ignore_ascii_case(one.trim())))
        })
    })
}

/// Whether an answer of 101 with the fields `answer` switches to protocols that were `asked`
/// for, and to no others (RFC 9110, section 15.2.2). What follows its head is that protocol,
/// so the answer has no body (RFC 9110, section 8.6).
pub fn grants(answer: &HeaderMap, asked: &[HeaderValue]) -> bool {
    let is_empty = |length: &HeaderValue| length.as_bytes() == b"0";
    if answer.contains_key(header::TRANSFER_ENCODING)
        || !answer.get_all(header::CONTENT_LENGTH).iter().all(is_empty)
    {
        return false;
    }
    let mut granted = tokens(answer.get_all(header::UPGRADE)).peekable();
    granted.peek().is_some()
        && granted.all(|one| tokens(asked).any(|asked| one.eq_ignore_ascii_case(asked)))
}

/// The version of HTTP in which a server behind `upstream` is sent what comes as
/// `client`; `upgrade` when the request asks for another protocol.
pub fn onwards(upstream: Upstream, client: Version, upgrade: bool) -> Version {
    match upstream {
        // Only HTTP/1.1 can be left for another protocol (RFC 9113, section 8.6).
        _ if upgrade => Version::HTTP_11,
        Upstream::Http1 => Version::HTTP_11,
        Upstream::Http2 => Version::HTTP_2,
        Upstream::SameAsClient if client == Version::HTTP_2 => Version::HTTP_2,
        Upstream::SameAsClient => Version::HTTP_11,
    }
}

/// Whether one of the fields called `name` has the token `wanted` in its list.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers.get_all(name)).any(|one| one.eq_ignore_ascii_case(wanted))
}

/// The elements of a list that stands in fields with these `values`.
fn tokens<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a str> {
    let values = values.into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[(&'static str, &'static str)], expected: bool) {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        assert_eq!(upgrades(&lines.iter().map(field).collect()), expected, "{lines:?}");
    }

    #[test]
    fn an_upgrade_is_asked_for_by_two_fields_and_never_to_http_2() {
        check(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], true);
        check(&[("connection", "upgrade")], false);
        check(&[("upgrade", "websocket")], false);
        check(&[("connection", "upgrade"), ("upgrade", "h2c")], false);
        check(&[("connection", "upgrade"), ("upgrade", "websocket, H2C")], false);
    }

    #[test]
    fn a_switch_is_to_what_was_asked_for_and_has_no_body() {
        let grants = |lines: &[(&'static str, &'static str)]| {
            let field = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let asked = [HeaderValue::from_static("websocket, a"), HeaderValue::from_static("b")];
            grants(&lines.iter().map(field).collect(), &asked)
        };
        assert!(grants(&[("upgrade", "WebSocket")]));
        assert!(grants(&[("upgrade", "a, b"), ("content-length", "0")]));
        assert!(!grants(&[("upgrade", "c")]));
        assert!(!grants(&[("upgrade", "websocket, c")]));
        assert!(!grants(&[("upgrade", "")]));
        assert!(!grants(&[("connection", "upgrade")]));
        assert!(!grants(&[("upgrade", "a"), ("content-length", "3")]));
        assert!(!grants(&[("upgrade", "a"), ("transfer-encoding", "chunked")]));
    }

    #[test]
    fn every_protocol_that_is_asked_for_must_be_allowed() {
        let allows = |value: &'static str, allowed: &[&str]| {
            let headers = [(header::UPGRADE, value.parse().unwrap())].into_iter().collect();
            let allowed = Upgrades(allowed.iter().map(ToString::to_string).collect());
            is_allowed(&headers, &allowed)
        };
        assert!(allows("WebSocket", &["websocket"]));
        assert!(allows("a, b", &["b", "a"]));
        assert!(!allows("websocket, other", &["websocket"]));
        assert!(!allows("websocket/13", &["websocket"]));
        assert!(!allows("websocket", &[]));
    }

    #[test]
    fn what_is_declared_is_spoken_unless_http_is_left() {
        for (upstream, client, expected) in [
            (Upstream::Http1, Version::HTTP_2, Version::HTTP_11),
            (Upstream::Http2, Version::HTTP_11, Version::HTTP_2),
            (Upstream::SameAsClient, Version::HTTP_2, Version::HTTP_2),
            (Upstream::SameAsClient, Version::HTTP_10, Version::HTTP_11),
        ] {
            assert_eq!(onwards(upstream, client, false), expected, "{upstream:?}");
            assert_eq!(onwards(upstream, client, true), Version::HTTP_11, "{upstream:?}");
        }
    }
}

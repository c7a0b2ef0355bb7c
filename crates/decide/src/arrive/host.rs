//! The host of a request: where it is said, whether it is one, and how it is looked up.

use std::{borrow::Cow, net::Ipv6Addr};

use http::{HeaderValue, Version, header, request::Parts};
use weft_config::name::LONGEST;

use super::{Arrival, fields};
use crate::{failure::Failure, reply::Reply};

/// The one host that a request is for, with its port: the target's, else the field's,
/// else, in HTTP/1.0, the address that the client dialled.
pub(super) fn authority(
    head: &Parts,
    hosts: usize,
    arrival: &Arrival,
) -> Result<HeaderValue, Reply> {
    if hosts > 1 {
        return Err(Failure::BadRequest("several_host_fields").reply());
    }
    let invalid = || Failure::BadRequest("http.invalid_authority").reply();
    let said = match head.uri.authority() {
        Some(authority) => Some(HeaderValue::try_from(authority.as_str()).map_err(|_| invalid())?),
        None => head.headers.get(header::HOST).cloned(),
    };
    match said {
        Some(said) if is_valid(said.as_bytes()) => Ok(said),
        Some(_) => Err(invalid()),
        None if head.version == Version::HTTP_10 || head.version == Version::HTTP_09 => {
            let dialled = HeaderValue::try_from(arrival.destination.to_string());
            dialled.map_err(|_| invalid())
        }
        None => Err(Failure::MissingHost.reply()),
    }
}

/// Writes the host into the field, for servers of HTTP/1. In HTTP/2 a field that says
/// something else than the target would mean something to a server behind it.
pub(super) fn write(head: &mut Parts, authority: &HeaderValue) {
    match head.headers.get(header::HOST) {
        Some(said) if said == authority => {}
        Some(_) => {
            head.headers.insert(header::HOST, authority.clone());
        }
        None if head.version == Version::HTTP_2 => {}
        None => fields::host_first(&mut head.headers, authority.clone()),
    }
}

/// Whether a request may be for this host: a name of letters, digits, `.`, `-` and `_`,
/// or an IPv6 address in brackets, perhaps with a port. An empty one is refused, as RFC
/// 9110, section 4.2.1, requires of a URI without a host; HTTP/2 has no form for it.
///
/// User information (`user@host`) is refused, since servers may take what follows it
/// for the host (RFC 9110, section 4.2.4).
fn is_valid(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else { return false };
    let (host, port) = split(authority);
    let fits = (1..=LONGEST).contains(&host.len());
    if !fits || !port.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return matches!(address, Some(Ok(_)));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    host.bytes().all(fits) && !host.contains("..") && host != "."
}

/// The host in `authority`, in lower case and without its port.
///
/// A trailing dot stays: whether it is a spelling of a host is for the configuration to
/// say.
pub fn of_authority(authority: &str) -> Cow<'_, str> {
    let (host, _) = split(authority);
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

/// Host and port. What follows the last colon is the port, whether or not it is a
/// number, as in Envoy; a colon between brackets belongs to an IPv6 address.
pub(crate) fn split(authority: &str) -> (&str, &str) {
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[bracket..].rfind(':') {
        Some(colon) => (&authority[..bracket + colon], &authority[bracket + colon + 1..]),
        None => (authority, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(authority: &str, host: &str) {
        assert_eq!(of_authority(authority), host);
    }

    #[test]
    fn the_port_is_ignored_even_if_it_is_not_a_number() {
        check("dock:80", "dock");
        check("dock:abc", "dock");
        check("dock:", "dock");
        check("10.0.0.1:80", "10.0.0.1");
    }

    #[test]
    fn case_is_ignored_and_a_trailing_dot_is_not() {
        check("DOCK.Harbor.", "dock.harbor.");
    }

    #[test]
    fn colons_between_brackets_are_an_address() {
        check("[::1]:80", "[::1]");
        check("[::1]", "[::1]");
        check("", "");
    }

    #[test]
    fn only_names_and_addresses_are_hosts() {
        let longest = "a".repeat(LONGEST);
        for good in
            ["dock", "dock:", "Dock.:80", "a_b-c.d", ".sea.com", "[::1]:80", "1.2.3.4", &longest]
        {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        let long = format!("{longest}a");
        for bad in [
            "",
            ":80",
            "dock/path",
            "a b",
            "user@dock",
            "a:80@b",
            "a%20b",
            "a,b.example.com",
            "a..example.com",
            "*.example.com",
            ".",
            "a:b:80",
            "[::1",
            "[dock]",
            "[::1]x",
            "::1",
            "a\\b",
            "é",
            "a?b",
            "a#b",
            &long,
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        assert!(!is_valid(b"a\xff"));
    }
}

//! The host of a request, as it is looked up.

use std::borrow::Cow;

/// The host in `authority`, in lower case and without its port.
///
/// What follows the last colon is the port, whether or not it is a number, as in
/// Envoy; a colon between brackets belongs to an IPv6 address. A trailing dot
/// stays: whether it is a spelling of a host is for the configuration to say.
pub fn of_authority(authority: &str) -> Cow<'_, str> {
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let host = match authority[bracket..].rfind(':') {
        Some(colon) => &authority[..bracket + colon],
        None => authority,
    };
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
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
    fn the_port_is_ignored_even_if_it_is_none() {
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
}

//! What a connection speaks, seen from its first bytes.
//!
//! Never needs more than a line's worth; what is not clear by then is not HTTP.

/// The preface of HTTP/2 with prior knowledge.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A request line longer than this is not waited for.
pub const ENOUGH: usize = 8 * 1024;
/// The longest method anybody uses, with room to spare.
const LONGEST_METHOD: usize = 32;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A TLS client.
    Tls,
    /// None of these.
    Other,
    /// Too early to say.
    Unclear,
}

/// What `bytes`, the beginning of a connection, say.
pub fn speaks(bytes: &[u8]) -> Speaks {
    let begun = &bytes[..bytes.len().min(PREFACE.len())];
    if !begun.is_empty() && PREFACE.starts_with(begun) {
        // Sixteen bytes tell the preface from any request.
        return if begun.len() >= 16 { Speaks::Http2 } else { Speaks::Unclear };
    }
    match bytes {
        [] => Speaks::Unclear,
        [0x16, 0x03, ..] => Speaks::Tls,
        [0x16] => Speaks::Unclear,
        _ => request_line(bytes),
    }
}

/// HTTP/1 needs a method, a space, a target, a space and the version. An empty
/// line before it is allowed (RFC 9112, section 2.2).
fn request_line(bytes: &[u8]) -> Speaks {
    let mut line = bytes;
    while let [b'\r' | b'\n', rest @ ..] = line {
        line = rest;
    }
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = line.iter().take_while(|byte| is_token(byte)).count();
    match line.get(method) {
        _ if method > LONGEST_METHOD => return Speaks::Other,
        None if bytes.len() < ENOUGH => return Speaks::Unclear,
        Some(b' ') if method > 0 => {}
        _ => return Speaks::Other,
    }
    let end = line.iter().position(|byte| *byte == b'\n');
    let line = &line[..end.unwrap_or(line.len())];
    match end {
        // A control character never stands in a target.
        _ if line.iter().any(|byte| *byte < 0x20 && *byte != b'\r') => Speaks::Other,
        Some(_) if version(line) => Speaks::Http1,
        Some(_) => Speaks::Other,
        None if bytes.len() < ENOUGH => Speaks::Unclear,
        // A very long request line: let the codec answer it.
        None => Speaks::Http1,
    }
}

fn version(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Speaks) {
        assert_eq!(speaks(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn http_of_every_version_is_recognized() {
        check(b"GET / HTTP/1.1\r\n", Speaks::Http1);
        check(b"GET / HTTP/1.0\n", Speaks::Http1);
        check(b"PURGE http://a/ HTTP/1.1\r\nHost: x", Speaks::Http1);
        check(b"\r\nGET / HTTP/1.1\r\n", Speaks::Http1);
        check(b"M-SEARCH * HTTP/1.1\r\n", Speaks::Http1);
        check(PREFACE, Speaks::Http2);
    }

    #[test]
    fn every_beginning_of_http_is_unclear_until_it_is_clear() {
        for whole in [&b"GET /index HTTP/1.1\r\n"[..], &PREFACE[..16]] {
            for length in 0..whole.len() {
                check(&whole[..length], Speaks::Unclear);
            }
        }
    }

    #[test]
    fn other_protocols_are_not_taken_for_http() {
        check(&[0x16, 0x03, 0x01, 0x02], Speaks::Tls);
        check(b"SSH-2.0-OpenSSH\r\n", Speaks::Other);
        check(b"*1\r\n$4\r\nPING\r\n", Speaks::Other);
        check(b"EHLO example\r\n", Speaks::Other);
        check(b"GET / HTTP/2.0\r\n", Speaks::Other);
        check(b"GET /\r\n", Speaks::Other);
        check(b"GET /\0 HTTP/1.1\r\n", Speaks::Other);
        check(&[0, 0, 0, 1], Speaks::Other);
        check(&[b'a'; 100], Speaks::Other);
    }

    #[test]
    fn a_request_line_without_end_goes_to_the_codec() {
        let mut long = b"GET /".to_vec();
        long.resize(ENOUGH, b'a');
        check(&long, Speaks::Http1);
    }
}

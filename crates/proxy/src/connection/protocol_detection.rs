//! The protocol of a connection, detected from its first bytes.
//!
//! At most [`ENOUGH`] bytes are looked at; what is not clear by then is not HTTP.

/// The preface of HTTP/2 with prior knowledge.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A request line longer than this is not waited for.
pub const ENOUGH: usize = 8 * 1024;
/// The longest method in use, with room to spare.
const LONGEST_METHOD: usize = 32;

/// A protocol as the first bytes of a connection show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectedProtocol {
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

/// Whether `bytes`, too few to tell, are more likely the beginning of HTTP/1 than of
/// HTTP/2 or TLS.
pub fn begins_http1(bytes: &[u8]) -> bool {
    // Most methods do not begin with `PR`; `PROPFIND` and `PRI` part after it.
    let preface = bytes.len() > 2 && PREFACE.starts_with(bytes);
    !matches!(bytes, [] | [0x16, ..]) && !preface
}

/// Looks at the beginning of a connection while it grows, at each byte of a line once.
#[derive(Debug, Default)]
pub struct Detector {
    /// Bytes of empty lines before the request line.
    empty: usize,
    /// Bytes among which no line end was found.
    scanned: usize,
}

impl Detector {
    /// The protocol as far as `bytes` show it: what was looked at before, and more.
    pub fn look(&mut self, bytes: &[u8]) -> DetectedProtocol {
        let begun = &bytes[..bytes.len().min(PREFACE.len())];
        if !begun.is_empty() && PREFACE.starts_with(begun) {
            // Sixteen bytes tell the preface from any request.
            return match begun.len() >= 16 {
                true => DetectedProtocol::Http2,
                false => DetectedProtocol::Unclear,
            };
        }
        match bytes {
            [] => DetectedProtocol::Unclear,
            [0x16, 0x03, ..] => DetectedProtocol::Tls,
            [0x16] => DetectedProtocol::Unclear,
            _ => self.request_line(bytes),
        }
    }

    /// HTTP/1 needs a method, a space, a target, a space and the version. An empty
    /// line before it is allowed (RFC 9112, section 2.2).
    fn request_line(&mut self, bytes: &[u8]) -> DetectedProtocol {
        let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        self.empty += bytes[self.empty..].iter().take_while(is_line_end).count();
        let line = &bytes[self.empty..];
        let is_token =
            |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let method = line.iter().take(LONGEST_METHOD + 1).take_while(is_token).count();
        match line.get(method) {
            _ if method > LONGEST_METHOD => return DetectedProtocol::Other,
            None if bytes.len() < ENOUGH => return DetectedProtocol::Unclear,
            Some(b' ') if method > 0 => {}
            _ => return DetectedProtocol::Other,
        }
        let from = self.scanned.max(self.empty);
        let end = bytes[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at);
        let until = end.unwrap_or(bytes.len());
        self.scanned = until;
        match end {
            // A control character never stands in a target.
            _ if bytes[from..until].iter().any(|byte| *byte < 0x20 && *byte != b'\r') => {
                DetectedProtocol::Other
            }
            Some(end) if version(&bytes[self.empty..end]) => DetectedProtocol::Http1,
            Some(_) => DetectedProtocol::Other,
            None if bytes.len() < ENOUGH => DetectedProtocol::Unclear,
            // A very long request line: let the codec answer it.
            None => DetectedProtocol::Http1,
        }
    }
}

fn version(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(bytes: &[u8]) -> DetectedProtocol {
        Detector::default().look(bytes)
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: DetectedProtocol) {
        assert_eq!(detect(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        let mut detector = Detector::default();
        let mut pieces = (0..=bytes.len()).map(|length| detector.look(&bytes[..length]));
        let early = pieces.find(|detected| *detected != DetectedProtocol::Unclear);
        assert_eq!(early.unwrap_or(DetectedProtocol::Unclear), expected, "byte by byte");
    }

    #[test]
    fn http_of_every_version_is_recognized() {
        check(b"GET / HTTP/1.1\r\n", DetectedProtocol::Http1);
        check(b"GET / HTTP/1.0\n", DetectedProtocol::Http1);
        check(b"PURGE http://a/ HTTP/1.1\r\nHost: x", DetectedProtocol::Http1);
        check(b"\r\nGET / HTTP/1.1\r\n", DetectedProtocol::Http1);
        check(b"M-SEARCH * HTTP/1.1\r\n", DetectedProtocol::Http1);
        check(PREFACE, DetectedProtocol::Http2);
    }

    #[test]
    fn every_beginning_of_http_is_unclear_until_it_is_clear() {
        for whole in [&b"GET /index HTTP/1.1\r\n"[..], &PREFACE[..16]] {
            for length in 0..whole.len() {
                check(&whole[..length], DetectedProtocol::Unclear);
            }
        }
    }

    #[test]
    fn an_unfinished_beginning_is_taken_for_http_1_unless_it_is_another() {
        for bytes in [&b"G"[..], b"P", b"PR", b"PROPFI", b"GET / HT", b"\r\n"] {
            assert!(begins_http1(bytes), "{bytes:?}");
        }
        for bytes in [&b""[..], b"PRI", &PREFACE[..15], &[0x16], &[0x16, 0x03]] {
            assert!(!begins_http1(bytes), "{bytes:?}");
        }
    }

    #[test]
    fn other_protocols_are_not_taken_for_http() {
        check(&[0x16, 0x03, 0x01, 0x02], DetectedProtocol::Tls);
        check(b"SSH-2.0-OpenSSH\r\n", DetectedProtocol::Other);
        check(b"*1\r\n$4\r\nPING\r\n", DetectedProtocol::Other);
        check(b"EHLO example\r\n", DetectedProtocol::Other);
        check(b"GET / HTTP/2.0\r\n", DetectedProtocol::Other);
        check(b"GET /\r\n", DetectedProtocol::Other);
        check(b"GET /\0 HTTP/1.1\r\n", DetectedProtocol::Other);
        check(&[0, 0, 0, 1], DetectedProtocol::Other);
        check(&[b'a'; 100], DetectedProtocol::Other);
    }

    #[test]
    fn empty_lines_before_a_request_are_looked_at_once() {
        let mut detector = Detector::default();
        let mut bytes = b"\r\n".repeat(1000);
        assert_eq!(detector.look(&bytes), DetectedProtocol::Unclear);
        assert_eq!(detector.empty, 2000);
        bytes.extend_from_slice(b"GET / HT");
        assert_eq!(detector.look(&bytes), DetectedProtocol::Unclear);
        assert_eq!(detector.scanned, bytes.len());
        bytes.extend_from_slice(b"TP/1.1\r\n");
        assert_eq!(detector.look(&bytes), DetectedProtocol::Http1);
    }

    #[test]
    fn a_request_line_without_end_goes_to_the_codec() {
        let mut long = b"GET /".to_vec();
        long.resize(ENOUGH, b'a');
        check(&long, DetectedProtocol::Http1);
    }
}

//! What gRPC adds to HTTP, as far as a proxy cares: the form of its content type,
//! its status, its deadline and its messages. What a message says is not known here.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

/// Whether the message speaks gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    match value.and_then(|value| value.strip_prefix(b"application/grpc")) {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

/// The status in headers or trailers.
pub fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// How long the client waits, by `grpc-timeout`: at most eight digits and a unit
/// (gRPC over HTTP/2, "Requests"). A `grpc-timeout` has at least one digit.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
    Some(match text.as_bytes().last()? {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Counts the messages in a body, which comes in pieces of any size. Each begins with
/// a byte of flags and four of length (gRPC over HTTP/2, "Length-Prefixed-Message").
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages {
    count: u64,
    /// Bytes of the beginning that have been seen, and the length as far as it is known.
    begun: u8,
    length: u32,
    /// Bytes of the message that have not come yet.
    missing: u32,
}

impl Messages {
    /// Messages that have begun so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next piece of the body.
    pub fn see(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = bytes.len().min(self.missing as usize);
            self.missing -= u32::try_from(skipped).unwrap_or(self.missing);
            bytes = &bytes[skipped..];
            let [byte, rest @ ..] = bytes else { return };
            if self.begun == 0 {
                self.count += 1;
            } else {
                self.length = self.length << 8 | u32::from(*byte);
            }
            self.begun += 1;
            if self.begun == 5 {
                (self.missing, self.begun, self.length) = (self.length, 0, 0);
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&headers("content-type", value)), expected, "{value}");
        }
    }

    #[test]
    fn a_deadline_has_digits_and_a_unit() {
        for (value, expected) in [
            ("250m", Some(Duration::from_millis(250))),
            ("2S", Some(Duration::from_secs(2))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("5u", Some(Duration::from_micros(5))),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("+5S", None),
            ("5s", None),
            ("0S", None),
            ("00000000n", None),
        ] {
            assert_eq!(timeout(&headers("grpc-timeout", value)), expected, "{value}");
        }
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let body = [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]];
        let body = body.concat();
        for size in 1..=body.len() {
            let mut messages = Messages::default();
            body.chunks(size).for_each(|piece| messages.see(piece));
            assert_eq!((messages.count(), messages.begun, messages.missing), (3, 0, 0), "{size}");
        }
    }
}

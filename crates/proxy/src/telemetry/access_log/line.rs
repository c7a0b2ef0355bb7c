//! Writes one line into a buffer, without allocating.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use http::Version;

use super::{Facts, Field, Name, Part, Piece, format::Shape};
use crate::telemetry::access_log::{Captured, Format};

/// Writes times; remembers the last second it wrote.
#[derive(Debug, Default)]
pub struct Clock {
    second: u64,
    text: String,
}

/// What a field turned out to be.
enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    /// Already in the buffer.
    Written,
    Absent,
}

impl Format {
    /// Appends the line of `facts`, with its end.
    pub fn write(&self, facts: &Facts<'_>, clock: &mut Clock, line: &mut Vec<u8>) {
        match &self.shape {
            Shape::Text(pieces) => pieces.iter().for_each(|piece| match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Field(field, limit) => text_field(field, *limit, (facts, clock), line),
            }),
            Shape::Json(fields) => {
                line.push(b'{');
                for (at, (key, pieces)) in fields.iter().enumerate() {
                    if at > 0 {
                        line.push(b',');
                    }
                    json_text(key.as_bytes(), line);
                    line.push(b':');
                    json_value(pieces, (facts, clock), line);
                }
                line.extend_from_slice(b"}\n");
            }
        }
    }
}

impl Clock {
    /// Appends `2026-11-22T07:30:00.123Z`.
    fn write(&mut self, time: SystemTime, line: &mut Vec<u8>) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() || self.text.is_empty() {
            self.second = since.as_secs();
            self.text.clear();
            let second = i64::try_from(self.second).unwrap_or_default();
            let time = jiff::Timestamp::from_second(second).unwrap_or_default();
            let _ = write!(self.text, "{}", time.strftime("%Y-%m-%dT%H:%M:%S"));
        }
        line.extend_from_slice(self.text.as_bytes());
        let _ = write!(line, ".{:03}Z", since.subsec_millis());
    }
}

type Source<'a, 'b> = (&'a Facts<'b>, &'a mut Clock);

fn text_field(field: &Field, limit: Option<usize>, source: Source<'_, '_>, line: &mut Vec<u8>) {
    let from = line.len();
    match value(field, source, line) {
        Value::Bytes(bytes) => text_bytes(bytes, line),
        Value::Number(number) => {
            line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        Value::Written => {}
        Value::Absent => line.push(b'-'),
    }
    if let Some(limit) = limit {
        let mut end = line.len().min(from.saturating_add(limit));
        // Never within a character.
        while end > from && end < line.len() && line[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        line.truncate(end);
    }
}

fn json_value(pieces: &[Piece], (facts, clock): Source<'_, '_>, line: &mut Vec<u8>) {
    if let [Piece::Field(field, None)] = pieces {
        let from = line.len();
        match value(field, (facts, clock), line) {
            Value::Bytes(bytes) => json_text(bytes, line),
            Value::Number(number) => {
                line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
            Value::Written => {
                let written = line.split_off(from);
                json_text(&written, line);
            }
            Value::Absent => line.extend_from_slice(b"null"),
        }
        return;
    }
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(constant) => text.extend_from_slice(constant.as_bytes()),
            Piece::Field(field, limit) => text_field(field, *limit, (facts, clock), &mut text),
        }
    }
    json_text(&text, line);
}

fn value<'a>(field: &Field, source: Source<'a, '_>, line: &mut Vec<u8>) -> Value<'a> {
    let (facts, clock) = source;
    match field {
        Field::StartTime(format) => {
            match format {
                None => clock.write(facts.start, line),
                Some(format) => custom_time(facts.start, format, line),
            }
            Value::Written
        }
        Field::Request(names) => {
            names.iter().find_map(|name| request_value(*name, facts)).unwrap_or(Value::Absent)
        }
        Field::Response(names) => names
            .iter()
            .find_map(|name| captured(*name, facts.response_headers))
            .unwrap_or(Value::Absent),
        Field::Protocol => match facts.version {
            Some(version) => Value::Bytes(protocol(version).as_bytes()),
            None => Value::Absent,
        },
        Field::Status => Value::Number(facts.status.into()),
        Field::Flags => {
            let from = line.len();
            let _ = write!(line, "{}", facts.flags);
            if line.len() == from {
                line.push(b'-');
            }
            Value::Written
        }
        Field::Details => text(facts.details),
        Field::ConnectionDetails => text(facts.connection_details),
        Field::TransportFailure => text(facts.transport_failure),
        Field::Received => Value::Number(facts.received),
        Field::Sent => Value::Number(facts.sent),
        Field::Duration => milliseconds(Some(facts.duration)),
        Field::ServiceTime => milliseconds(facts.service_time),
        Field::UpstreamHost => optional_address(facts.upstream.host, line),
        Field::UpstreamCluster => text(facts.upstream.backend),
        Field::UpstreamLocal => optional_address(facts.upstream.local, line),
        Field::Destination(part) => address(facts.destination, *part, line),
        Field::Client(part) => address(facts.client, *part, line),
        Field::Peer(part) => address(facts.peer, *part, line),
        Field::Route => text(facts.route),
        Field::ServerName => text(facts.server_name),
        Field::GrpcStatus => match facts.grpc_status {
            Some(status) => Value::Number(status.into()),
            None => Value::Absent,
        },
        Field::Absent => Value::Absent,
    }
}

fn request_value<'a>(name: Name, facts: &'a Facts<'_>) -> Option<Value<'a>> {
    let head = facts.request?;
    Some(match name {
        Name::Method => Value::Bytes(head.method.as_str().as_bytes()),
        Name::Path => {
            let path = head.target.path_and_query()?.as_str();
            Value::Bytes(path.as_bytes())
        }
        Name::Authority => Value::Bytes(head.authority.as_ref()?.as_bytes()),
        Name::Scheme => Value::Bytes(b"http"),
        // Set by a proxy that changes the path, which none does so far; a client that
        // sends it only says what it would like to be logged.
        Name::OriginalPath => return None,
        Name::Captured(_) => return captured(name, facts.request_headers),
    })
}

fn captured(name: Name, values: &Captured) -> Option<Value<'_>> {
    match name {
        Name::Captured(at) => Some(Value::Bytes(values.get(at)?.as_ref()?.as_bytes())),
        _ => None,
    }
}

fn text(text: Option<&str>) -> Value<'_> {
    match text {
        Some(text) if !text.is_empty() => Value::Bytes(text.as_bytes()),
        _ => Value::Absent,
    }
}

fn milliseconds<'a>(duration: Option<Duration>) -> Value<'a> {
    match duration {
        Some(duration) => Value::Number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        None => Value::Absent,
    }
}

fn optional_address<'a>(address_: Option<SocketAddr>, line: &mut Vec<u8>) -> Value<'a> {
    match address_ {
        Some(one) => address(one, Part::Whole, line),
        None => Value::Absent,
    }
}

fn address<'a>(address: SocketAddr, part: Part, line: &mut Vec<u8>) -> Value<'a> {
    if let (SocketAddr::V4(address), Part::Whole) = (address, part) {
        // By far the most common case, and several times faster than formatting.
        let mut digits = itoa::Buffer::new();
        for (number, octet) in address.ip().octets().into_iter().enumerate() {
            if number > 0 {
                line.push(b'.');
            }
            line.extend_from_slice(digits.format(octet).as_bytes());
        }
        line.push(b':');
        line.extend_from_slice(digits.format(address.port()).as_bytes());
        return Value::Written;
    }
    let _ = match part {
        Part::Whole => write!(line, "{address}"),
        Part::Host => write!(line, "{}", address.ip()),
        Part::Port => return Value::Number(address.port().into()),
    };
    Value::Written
}

fn custom_time(time: SystemTime, format: &str, line: &mut Vec<u8>) {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    let mut text = String::new();
    let parsed = jiff::fmt::strtime::BrokenDownTime::from(&time.to_zoned(jiff::tz::TimeZone::UTC));
    match parsed.format(format, &mut text) {
        Ok(()) => line.extend_from_slice(text.as_bytes()),
        Err(_) => line.push(b'-'),
    }
}

/// The name of an HTTP version as logs spell it.
pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Bytes as they are, but for those that could pass for the end of a quoted field, for
/// another line, or for a terminal's command.
fn text_bytes(bytes: &[u8], line: &mut Vec<u8>) {
    if bytes.iter().all(is_plain) {
        return line.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let _ = match character {
                '"' | '\\' => write!(line, "\\x{:02x}", u32::from(character)),
                other if other.is_control() || is_invisible(other) => {
                    write!(line, "\\x{:02x}", u32::from(other))
                }
                other => write!(line, "{other}"),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

fn is_plain(byte: &u8) -> bool {
    (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\')
}

/// Separators of lines, and what changes the direction of the text that follows.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn json_text(bytes: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    if bytes.iter().all(is_plain) {
        line.extend_from_slice(bytes);
    } else {
        for character in String::from_utf8_lossy(bytes).chars() {
            let _ = match character {
                '"' => write!(line, "\\\""),
                '\\' => write!(line, "\\\\"),
                '\n' => write!(line, "\\n"),
                '\r' => write!(line, "\\r"),
                '\t' => write!(line, "\\t"),
                other if other.is_control() || is_invisible(other) => {
                    write!(line, "\\u{:04x}", u32::from(other))
                }
                other => write!(line, "{other}"),
            };
        }
    }
    line.push(b'"');
}

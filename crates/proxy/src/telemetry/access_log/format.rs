//! Turns a format with `%OPERATORS%` into pieces.
//!
//! An operator that is not known stands for `-` and is reported; it never
//! costs the rest of the line.

use http::HeaderName;

use super::{Field, Name, Part, Piece};
use weft_config::LogFormat;

const DEFAULT_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% \
%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

const DEFAULT_JSON: &[(&str, &str)] = &[
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// A compiled format.
#[derive(Clone, Debug, Default)]
pub struct Format {
    /// Request headers whose values a line needs.
    pub request_headers: Vec<HeaderName>,
    /// Response headers whose values a line needs.
    pub response_headers: Vec<HeaderName>,
    /// Operators that are not known.
    pub unknown: Vec<String>,
    pub(super) shape: Shape,
}

/// Text or an object.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text(Vec<Piece>),
    Json(Vec<(String, Vec<Piece>)>),
}

impl Default for Shape {
    fn default() -> Self {
        Self::Text(Vec::new())
    }
}

impl Format {
    /// Compiles `format`; an empty one is Istio's default.
    pub fn compile(format: &LogFormat) -> Self {
        let mut compiled = Self::default();
        compiled.shape = match format {
            LogFormat::Text(text) if text.is_empty() => Shape::Text(compiled.pieces(DEFAULT_TEXT)),
            LogFormat::Text(text) => {
                let mut pieces = compiled.pieces(text);
                if !text.ends_with('\n') {
                    push_text(&mut pieces, "\n");
                }
                Shape::Text(pieces)
            }
            LogFormat::Json(fields) if fields.is_empty() => Shape::Json(
                DEFAULT_JSON
                    .iter()
                    .map(|(key, text)| ((*key).to_owned(), compiled.pieces(text)))
                    .collect(),
            ),
            LogFormat::Json(fields) => Shape::Json(
                fields.iter().map(|(key, text)| (key.clone(), compiled.pieces(text))).collect(),
            ),
        };
        compiled
    }

    fn pieces(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            push_text(&mut pieces, &rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                push_text(&mut pieces, "%");
                rest = after;
                continue;
            }
            let Some(end) = operator_end(rest) else {
                push_text(&mut pieces, "%");
                continue;
            };
            pieces.push(self.operator(&rest[..end]));
            rest = rest[end..].strip_prefix('%').unwrap_or(&rest[end..]);
        }
        push_text(&mut pieces, rest);
        pieces
    }

    fn operator(&mut self, text: &str) -> Piece {
        let (text, limit) = match text.rsplit_once(':') {
            Some((operator, limit)) if !limit.contains(')') => match limit.parse() {
                Ok(limit) => (operator, Some(limit)),
                Err(_) => (text, None),
            },
            _ => (text, None),
        };
        let (name, argument) = match text.split_once('(') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or(rest))),
            None => (text, None),
        };
        let field = match name {
            "REQ" => Field::Request(names(argument.unwrap_or_default(), &mut self.request_headers)),
            "RESP" => {
                Field::Response(names(argument.unwrap_or_default(), &mut self.response_headers))
            }
            "START_TIME" => Field::StartTime(argument.map(str::to_owned)),
            _ => plain(name).unwrap_or_else(|| {
                self.unknown.push(text.to_owned());
                Field::Absent
            }),
        };
        Piece::Field(field, limit)
    }
}

/// Where the operator that begins `text` ends: at a `%` outside of brackets.
fn operator_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    text.bytes().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b'%' && depth == 0
    })
}

fn plain(name: &str) -> Option<Field> {
    Some(match name {
        "PROTOCOL" => Field::Protocol,
        "RESPONSE_CODE" => Field::Status,
        "RESPONSE_FLAGS" => Field::Flags,
        "RESPONSE_CODE_DETAILS" => Field::Details,
        "CONNECTION_TERMINATION_DETAILS" => Field::ConnectionDetails,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Field::TransportFailure,
        "BYTES_RECEIVED" => Field::Received,
        "BYTES_SENT" => Field::Sent,
        "DURATION" => Field::Duration,
        "RESPONSE_DURATION" => Field::ServiceTime,
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Field::UpstreamHost,
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Field::UpstreamCluster,
        "UPSTREAM_LOCAL_ADDRESS" => Field::UpstreamLocal,
        "DOWNSTREAM_LOCAL_ADDRESS" => Field::Destination(Part::Whole),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Field::Destination(Part::Host),
        "DOWNSTREAM_LOCAL_PORT" => Field::Destination(Part::Port),
        "DOWNSTREAM_REMOTE_ADDRESS" => Field::Client(Part::Whole),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Field::Client(Part::Host),
        "DOWNSTREAM_REMOTE_PORT" => Field::Client(Part::Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Field::Peer(Part::Whole),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Field::Peer(Part::Host),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Field::Peer(Part::Port),
        "ROUTE_NAME" => Field::Route,
        "GRPC_STATUS" | "GRPC_STATUS_NUMBER" => Field::GrpcStatus,
        "REQUESTED_SERVER_NAME" => Field::ServerName,
        "DOWNSTREAM_PEER_URI_SAN"
        | "DOWNSTREAM_LOCAL_URI_SAN"
        | "DOWNSTREAM_TLS_VERSION"
        | "DYNAMIC_METADATA"
        | "FILTER_STATE"
        | "UPSTREAM_METADATA" => Field::Absent,
        _ => return None,
    })
}

/// The names of `X?Y`, of which the first that is there counts.
fn names(argument: &str, captured: &mut Vec<HeaderName>) -> smallvec::SmallVec<[Name; 2]> {
    argument
        .split('?')
        .filter_map(|name| match name.to_ascii_lowercase().as_str() {
            ":method" => Some(Name::Method),
            ":path" => Some(Name::Path),
            ":authority" | "host" => Some(Name::Authority),
            ":scheme" => Some(Name::Scheme),
            "x-envoy-original-path" => Some(Name::OriginalPath),
            other => {
                let name = HeaderName::try_from(other).ok()?;
                let at = captured.iter().position(|one| *one == name).unwrap_or_else(|| {
                    captured.push(name);
                    captured.len() - 1
                });
                Some(Name::Captured(at))
            }
        })
        .collect()
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.to_mut().push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned().into())),
    }
}

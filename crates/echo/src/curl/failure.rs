//! Why a transfer failed, with curl's numbers and texts.

use std::time::Duration;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Failure {
    #[error("Protocol \"{0}\" not supported")]
    Protocol(String),
    #[error(
        "{0}\ncurl: this is the built-in curl; it knows -s -S -i -I -o -w -H -X -d -m -k -v -f -A --connect-timeout --cacert --data-binary --resolve --http2-prior-knowledge"
    )]
    Usage(String),
    #[error("URL rejected: {0}")]
    Url(String),
    #[error("Could not resolve host: {0}")]
    Resolve(String),
    #[error("Failed to connect to {host} port {port} after {} ms: {why}", waited.as_millis())]
    Connect { host: String, port: u16, waited: Duration, why: String },
    #[error("Weird server reply: {0}")]
    Reply(String),
    #[error("end of response with {missing} bytes missing")]
    Partial { missing: u64 },
    #[error("The requested URL returned error: {0}")]
    Status(u16),
    #[error("Failure writing output to destination")]
    Write,
    #[error("Failed to open {0}")]
    Read(String),
    #[error("Operation timed out after {} milliseconds with {received} bytes received", waited.as_millis())]
    Timeout { waited: Duration, received: u64 },
    #[error("Connection timed out after {} milliseconds", waited.as_millis())]
    ConnectTimeout { waited: Duration },
    #[error("TLS connect error: {0}")]
    Tls(String),
    #[error("Empty reply from server")]
    Empty,
    #[error("Send failure: {0}")]
    Send(String),
    #[error("Recv failure: {0}")]
    Receive(String),
    #[error("SSL certificate problem: {0}")]
    Certificate(String),
    #[error("HTTP/2 stream was not closed cleanly: {0}")]
    Stream(String),
}

impl Failure {
    /// curl's exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Protocol(_) => 1,
            Self::Usage(_) => 2,
            Self::Url(_) => 3,
            Self::Resolve(_) => 6,
            Self::Connect { .. } => 7,
            Self::Reply(_) => 8,
            Self::Partial { .. } => 18,
            Self::Status(_) => 22,
            Self::Write => 23,
            Self::Read(_) => 26,
            Self::Timeout { .. } | Self::ConnectTimeout { .. } => 28,
            Self::Tls(_) => 35,
            Self::Empty => 52,
            Self::Send(_) => 55,
            Self::Receive(_) => 56,
            Self::Certificate(_) => 60,
            Self::Stream(_) => 92,
        }
    }
}

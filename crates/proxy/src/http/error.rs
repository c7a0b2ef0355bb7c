//! Why a message of HTTP ended early, whichever version carried it.

use std::{
    error::Error as _,
    io::{self, ErrorKind},
};

use http::Version;
use weft_decide::{Broke, Failure};

/// Why a message ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// On a connection of HTTP/1.
    #[error("an HTTP/1 message ended early")]
    Http1(#[from] hyper::Error),
    /// On a stream of HTTP/2.
    #[error("an HTTP/2 stream ended early")]
    Http2(#[from] h2::Error),
    /// A head or trailers have more fields than may be.
    #[error("too many fields")]
    TooManyFields,
    /// The peer owed bytes, or did not take them, for too long.
    #[error("no progress within the limit")]
    Stalled,
    /// A body is longer than is kept for a reader that is slow.
    #[error("the body is longer than is kept for a slow reader")]
    Overflow,
    /// The exchange that a body belongs to was over before all of it was there.
    #[error("the exchange was over before the body was")]
    Abandoned,
}

/// What a message's early end says about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer did not process the message: it is safe to send it again.
    Refused,
    /// The peer reset the stream.
    Reset,
    /// The connection ended.
    Ended,
    /// The peer broke the protocol.
    Protocol,
    /// The peer stalled.
    Stalled,
}

impl Cause {
    /// What it means of an answer that had begun.
    pub fn of_answer(self) -> Failure {
        Failure::AnswerBroke(match self {
            Self::Refused | Self::Reset => Broke::Remote,
            Self::Ended => Broke::Ended,
            Self::Protocol => Broke::Malformed,
            Self::Stalled => Broke::Stalled,
        })
    }

    /// What it means of a request of HTTP/`version`.
    pub fn of_request(self, version: Version) -> Failure {
        match self {
            Self::Stalled => Failure::RequestStalled,
            Self::Protocol if version == Version::HTTP_2 => {
                Failure::BadRequest("http2.violation.of.messaging.rule")
            }
            Self::Protocol => Failure::BadRequest("http1.codec_error"),
            Self::Refused | Self::Reset | Self::Ended => Failure::ClientLeft,
        }
    }
}

impl Error {
    /// What the early end says about the peer.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Http1(error) => of_http1(error),
            Self::Http2(error) => of_http2(error),
            Self::TooManyFields => Cause::Protocol,
            Self::Stalled | Self::Overflow => Cause::Stalled,
            Self::Abandoned => Cause::Ended,
        }
    }

    /// Whether the peer closed the connection without processing this message
    /// (RFC 9113, section 6.8).
    pub fn is_going_away(&self) -> bool {
        // A stream gets this error only when it is above the GOAWAY's last stream: the
        // others go on until they end or the connection breaks.
        matches!(self, Self::Http2(error) if error.is_go_away() && error.is_remote())
    }
}

fn of_http1(error: &hyper::Error) -> Cause {
    let io = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        // In these words the codec says that a body breaks the rules.
        Some(ErrorKind::InvalidData | ErrorKind::InvalidInput) => Cause::Protocol,
        Some(_) => Cause::Ended,
        None if error.is_parse() || error.is_parse_status() => Cause::Protocol,
        None => Cause::Ended,
    }
}

fn of_http2(error: &h2::Error) -> Cause {
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    match error {
        _ if error.is_io() => Cause::Ended,
        _ if error.is_remote() && (refused || error.is_go_away()) => Cause::Refused,
        _ if error.is_remote() && error.is_reset() => Cause::Reset,
        _ if error.is_library() => Cause::Protocol,
        _ => Cause::Ended,
    }
}

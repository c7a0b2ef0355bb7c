//! One try: a connection, the request on it, the head of the answer.

use std::{error::Error, io, net::SocketAddr, rc::Rc};

use http::{HeaderValue, Request, Response, Uri, Version, request::Parts, uri::PathAndQuery};
use hyper::body::Incoming;
use weft_decide::{Reply, retry};

use super::Onward;
use crate::{
    http::{head, request_body::RequestBody},
    upstream::{
        dial::{self, DialError},
        pool::{Lease, Line, LineError},
    },
};

/// How many new connections may be closed by the server before a request is sent on them.
const MOST_FRESH: usize = 2;

/// Which protocol the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A try without an answer.
#[derive(Debug)]
pub struct Failed {
    /// How it ended, for retries.
    pub outcome: retry::Outcome,
    /// Why no connection could be made, in the words of access logs.
    pub reason: Option<String>,
    /// The proxy's end of the connection, if there was one.
    pub local: Option<SocketAddr>,
}

impl Failed {
    /// It took too long.
    pub fn slow() -> Self {
        Self::at(retry::Outcome::PerTryTimeout, None)
    }

    fn at(outcome: retry::Outcome, local: Option<SocketAddr>) -> Self {
        Self { outcome, reason: None, local }
    }

    /// What the client is told about it.
    pub fn reply(&self, verdict: retry::Verdict) -> Reply {
        let mut reply =
            retry::reply(self.outcome, verdict).unwrap_or_else(|| Reply::new(503, "no_answer"));
        if let (retry::Outcome::Refused, Some(reason)) = (self.outcome, &self.reason) {
            let details = format!(
                "upstream_reset_before_response_started{{remote_connection_failure|{reason}}}"
            );
            reply.details = details.into();
        }
        reply
    }
}

/// Tries once, on a connection of `line`; `copy` keeps the head for another try.
pub async fn run(
    onward: &mut Onward,
    line: &Rc<Line>,
    speak: &Speak,
    copy: bool,
) -> Result<(Response<Incoming>, Lease), Failed> {
    let mut lease = open(onward, line, *speak).await?;
    let body = RequestBody::of(onward.source.as_ref());
    let head = request_head(onward, *speak, copy);
    let mut request = Request::from_parts(head, body);
    let mut fresh = 0;
    loop {
        fresh += usize::from(!lease.reused);
        let mut error = match lease.send(request).await {
            Ok(response) => return Ok((response, lease)),
            Err(error) => error,
        };
        match error.take_message() {
            // The connection was closed before anything was sent: nobody's failure.
            Some(unsent) if fresh < MOST_FRESH => {
                lease = match open(onward, line, *speak).await {
                    Ok(lease) => lease,
                    Err(failed) => {
                        restore(onward, unsent);
                        return Err(failed);
                    }
                };
                request = unsent;
            }
            Some(unsent) => {
                restore(onward, unsent);
                return Err(Failed::at(retry::Outcome::ResetBeforeRequest, lease.local));
            }
            None => return Err(Failed::at(classify(&error.into_error()), lease.local)),
        }
    }
}

async fn open(onward: &Onward, line: &Rc<Line>, speak: Speak) -> Result<Lease, Failed> {
    let limit = onward.forward.backend.data.connect_timeout;
    let preconnected = onward.downstream.take_preconnected(line.way());
    match speak {
        Speak::Http1 => line.http1(preconnected, limit).await.map_err(|error| unconnected(&error)),
        Speak::Http2 => line.http2(preconnected, limit).await.map_err(|error| unconnected(&error)),
    }
}

fn unconnected(error: &LineError) -> Failed {
    match error {
        LineError::Dial(DialError::Timeout(_)) => Failed::at(retry::Outcome::ConnectTimeout, None),
        LineError::Dial(DialError::Refused(error)) => {
            let reason = Some(dial::reason(error));
            Failed { reason, ..Failed::at(retry::Outcome::Refused, None) }
        }
        LineError::Handshake(error) => Failed::at(classify(error), None),
        LineError::Closed => Failed::at(retry::Outcome::ResetBeforeRequest, None),
    }
}

/// The head as this server is to see it.
fn request_head(onward: &mut Onward, speak: Speak, copy: bool) -> Parts {
    let mut head = match copy {
        true => onward.parts.clone(),
        false => take(&mut onward.parts),
    };
    let was_http2 = head.version == Version::HTTP_2;
    match speak {
        Speak::Http1 => {
            head.version = Version::HTTP_11;
            if was_http2 && let Some(host) = onward.authority.clone() {
                head::host_first(&mut head.headers, host);
            }
        }
        Speak::Http2 => {
            head.version = Version::HTTP_2;
            head::without_http1(&mut head.headers);
            head.uri = absolute(&head.uri, onward.authority.as_ref());
        }
    }
    head
}

/// The head without what only one try needs; method and version stay for the log.
fn take(parts: &mut Parts) -> Parts {
    let (mut kept, ()) = Request::new(()).into_parts();
    kept.method = parts.method.clone();
    kept.version = parts.version;
    std::mem::replace(parts, kept)
}

/// Takes back the head of a request that was not sent.
fn restore(onward: &mut Onward, unsent: Request<RequestBody>) {
    let version = onward.parts.version;
    let (mut parts, _) = unsent.into_parts();
    if version != Version::HTTP_2
        && parts.version == Version::HTTP_2
        && let Some(host) = onward.authority.clone()
    {
        head::host_first(&mut parts.headers, host);
    }
    if let Some(target) = parts.uri.path_and_query().cloned() {
        parts.uri = Uri::from(target);
    }
    parts.version = version;
    onward.parts = parts;
}

/// HTTP/2 has the host in the target (RFC 9113, section 8.3.1).
fn absolute(uri: &Uri, authority: Option<&HeaderValue>) -> Uri {
    let target = uri.path_and_query().cloned();
    let authority = authority.map_or(&b""[..], HeaderValue::as_bytes);
    Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
        .unwrap_or_else(|_| uri.clone())
}

fn classify(error: &hyper::Error) -> retry::Outcome {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return match h2.reason() {
                Some(h2::Reason::REFUSED_STREAM) => retry::Outcome::RefusedStream,
                Some(h2::Reason::PROTOCOL_ERROR) if h2.is_library() => {
                    retry::Outcome::ProtocolError
                }
                _ => retry::Outcome::Reset,
            };
        }
        if cause.is::<io::Error>() {
            return retry::Outcome::Reset;
        }
        source = cause.source();
    }
    match error.is_parse() || error.is_parse_status() {
        true => retry::Outcome::ProtocolError,
        false => retry::Outcome::Reset,
    }
}

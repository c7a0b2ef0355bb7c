//! One attempt: a connection, the request on it, the head of the answer.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use http::{
    HeaderValue, Request, Response, Uri, Version, header, request::Parts, uri::PathAndQuery,
};
use tokio::time::Instant;
use weft_config::{Discovery, NamedEndpoint};
use weft_decide::{CompiledBackend, Failure, NoAnswer, Reply, Reset, retry};

use super::UpstreamRequest;
use crate::{
    connection::downstream::Downstream,
    http::{
        body::Incoming,
        error::{Cause, Error},
        headers,
        http2::client::Upload,
        request_body::RequestBody,
    },
    upstream::{
        dial::{self, DialError},
        dns::Name,
        pool::{ConnectionPool, PoolError, PooledConnection, Unanswered, UpstreamResponse},
    },
};

/// How many new connections may be closed by the server before a request is sent on them.
const MOST_FRESH: usize = 2;
/// How often a request may be sent again because the server did not process it.
const MOST_REFUSED: usize = 3;
/// A connection that was idle for this long may just have been closed by its server.
const SUSPECT: Duration = Duration::from_millis(500);

/// The version of HTTP that an upstream request is sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A response, and the connection that it comes on.
pub struct AnsweredAttempt {
    /// The response, whose body is still to be read.
    pub response: Response<Incoming>,
    /// The rest of the request's body, which is still being sent (HTTP/2).
    pub upload: Option<Upload>,
    /// The connection, checked out until the response has been read.
    pub connection: PooledConnection,
}

/// An attempt without an answer.
#[derive(Debug)]
pub struct FailedAttempt {
    /// How it ended, for retries.
    pub outcome: retry::Outcome,
    /// Why no connection could be made, in the words of access logs.
    pub reason: Option<String>,
    /// The proxy's end of the connection, if there was one.
    pub local: Option<SocketAddr>,
}

impl FailedAttempt {
    /// The attempt timed out.
    pub fn slow() -> Self {
        Self::at(retry::Outcome::PerTryTimeout, None)
    }

    /// Whether there was no connection to the server.
    fn is_unconnected(&self) -> bool {
        matches!(self.outcome, retry::Outcome::Refused | retry::Outcome::ConnectTimeout)
    }

    fn at(outcome: retry::Outcome, local: Option<SocketAddr>) -> Self {
        Self { outcome, reason: None, local }
    }

    /// The reply that the client gets for it.
    pub fn reply(&self, verdict: retry::Verdict) -> Reply {
        let failure = retry::failure(self.outcome, verdict, self.reason.as_deref());
        let ended = || Failure::NoAnswer(NoAnswer { reset: Reset::Ended, spent: false });
        failure.unwrap_or_else(ended).reply()
    }
}

/// Tries once, on a connection of `pool`; `copy` keeps the head for another try. What the
/// server provably did not process is sent again, on another connection.
pub async fn run(
    request: &mut UpstreamRequest,
    pool: &Rc<ConnectionPool>,
    version: HttpVersion,
    copy: bool,
) -> Result<AnsweredAttempt, FailedAttempt> {
    let (mut fresh, mut refused, mut suspect) = (0, 0, false);
    loop {
        let to = (&*request.downstream, &**request.routed.backend());
        let mut connection = open(to, pool, version, suspect).await?;
        fresh += usize::from(connection.idle.is_none());
        suspect = version == HttpVersion::Http1
            && connection.idle.is_some_and(|idle| idle >= SUSPECT)
            && request.parts.method.is_idempotent();
        // HTTP/2 servers may refuse any request as they leave.
        let copy = copy || suspect || version == HttpVersion::Http2;
        if let Some(source) = &request.source {
            source.may_be_sent_again(copy);
        }
        let body = RequestBody::of(request.source.as_ref());
        let message = Request::from_parts(request_head(request, version, copy), body);
        let Unanswered { error, unsent } = match connection.send(message).await {
            Ok(UpstreamResponse { response, upload }) => {
                return Ok(AnsweredAttempt { response, upload, connection });
            }
            Err(unanswered) => *unanswered,
        };
        if let Some(unsent) = unsent {
            // The connection was closed before anything was sent: nobody's failure.
            if !copy {
                restore(request, unsent);
            }
            if fresh < MOST_FRESH {
                continue;
            }
            return Err(FailedAttempt::at(retry::Outcome::ResetBeforeRequest, connection.local));
        }
        let repeatable = request.source.as_ref().is_none_or(|source| source.is_repeatable());
        let leaving = error.as_ref().is_some_and(Error::is_going_away);
        refused += usize::from(leaving);
        let closed = suspect && error.as_ref().is_some_and(|error| error.cause() == Cause::Ended);
        if repeatable && ((leaving && refused <= MOST_REFUSED) || closed) {
            suspect = closed;
            continue;
        }
        let outcome = error.as_ref().map_or(retry::Outcome::Reset, classify);
        return Err(FailedAttempt::at(outcome, connection.local));
    }
}

/// A connection of `pool`; for a backend that is a name, of the first of its addresses that
/// can be connected to, all of them within the time for connecting. One that is `fresh` was not
/// used before.
pub async fn open(
    (downstream, backend): (&Downstream, &CompiledBackend),
    pool: &Rc<ConnectionPool>,
    version: HttpVersion,
    fresh: bool,
) -> Result<PooledConnection, FailedAttempt> {
    let Some(policy) = backend.connections() else {
        return open_any(downstream, backend, pool, (version, fresh)).await;
    };
    let admit = || {
        let overflow = |_| FailedAttempt::at(retry::Outcome::Overflow, None);
        policy.breaker.request().map_err(overflow)
    };
    // What waits for a connection is no request that a server has. Where nothing has to wait, one
    // too many opens no connection.
    let waits = policy.breaker.connections().is_some();
    let early = if waits { None } else { admit()? };
    let mut connection = open_any(downstream, backend, pool, (version, fresh)).await?;
    match if waits { admit() } else { Ok(early) } {
        Ok(admitted) => {
            connection.admitted = admitted;
            Ok(connection)
        }
        Err(overflow) => {
            connection.release(None);
            Err(overflow)
        }
    }
}

async fn open_any(
    downstream: &Downstream,
    backend: &CompiledBackend,
    pool: &Rc<ConnectionPool>,
    (version, fresh): (HttpVersion, bool),
) -> Result<PooledConnection, FailedAttempt> {
    let limit = backend.data.connect_timeout;
    let all: Vec<Name> = match &backend.data.discovery {
        Discovery::Dns { host, port } => vec![Name { host: host.as_str().into(), port: *port }],
        Discovery::Names { names, .. } => {
            let name =
                |one: &NamedEndpoint| Name { host: one.host.as_str().into(), port: one.port };
            names.iter().map(name).collect()
        }
        _ => return open_in(downstream, pool, version, fresh, limit).await,
    };
    let names = &downstream.worker.names;
    let mut addresses = Vec::new();
    for name in &all {
        let known = names.addresses(name, Instant::now()).await.unwrap_or_default();
        addresses.extend_from_slice(&known);
    }
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut result = open_in(downstream, pool, version, fresh, share).await;
    let mut last = pool.address();
    let reach = downstream.worker.dialer.reach();
    let is_other = |address: &&SocketAddr| {
        ![pool.address(), downstream.local].contains(address) && reach.includes(**address)
    };
    for address in addresses.iter().filter(is_other) {
        if !result.as_ref().is_err_and(FailedAttempt::is_unconnected) {
            break;
        }
        names.failed(last);
        last = *address;
        result =
            open_in(downstream, &downstream.pool_to(last, backend), version, fresh, share).await;
    }
    result
}

async fn open_in(
    downstream: &Downstream,
    pool: &Rc<ConnectionPool>,
    version: HttpVersion,
    fresh: bool,
    limit: Duration,
) -> Result<PooledConnection, FailedAttempt> {
    let within = (limit, &downstream.listener.limits);
    let preconnected = downstream.take_preconnected(pool.key());
    let under_way = downstream.idle_timer.under_way();
    match version {
        HttpVersion::Http1 if fresh => {
            pool.fresh_http1(within, under_way).await.map_err(|error| unconnected(&error))
        }
        HttpVersion::Http1 => {
            pool.http1(preconnected, within, under_way).await.map_err(|error| unconnected(&error))
        }
        HttpVersion::Http2 => {
            pool.http2(preconnected, within).await.map_err(|error| unconnected(&error))
        }
    }
}

fn unconnected(error: &PoolError) -> FailedAttempt {
    match error {
        PoolError::Dial(DialError::Timeout(_)) => {
            FailedAttempt::at(retry::Outcome::ConnectTimeout, None)
        }
        PoolError::Dial(DialError::Refused(error)) => {
            let reason = Some(dial::reason(error));
            FailedAttempt { reason, ..FailedAttempt::at(retry::Outcome::Refused, None) }
        }
        PoolError::Overflow => FailedAttempt::at(retry::Outcome::Overflow, None),
        PoolError::Handshake(error) if error.cause() == Cause::Protocol => {
            FailedAttempt::at(retry::Outcome::ProtocolError, None)
        }
        PoolError::Handshake(_) | PoolError::Closed => {
            FailedAttempt::at(retry::Outcome::ResetBeforeRequest, None)
        }
    }
}

/// The head as this server is to see it.
fn request_head(request: &mut UpstreamRequest, version: HttpVersion, copy: bool) -> Parts {
    let mut head = match (copy, version) {
        (false, _) => take(&mut request.parts),
        (true, HttpVersion::Http1) => request.parts.clone(),
        // What else HTTP/1 knows of a head, such as the case of its names, is not needed.
        (true, HttpVersion::Http2) => {
            let mut head = bare(&request.parts);
            head.headers = request.parts.headers.clone();
            head
        }
    };
    suit(&mut head, version, request.authority.as_ref(), request.source.is_some());
    if version == HttpVersion::Http2 {
        head.uri = request.absolute.clone().unwrap_or_default();
    }
    head
}

/// Makes `head` one of `version`, but for the target. It is for the host `authority`, and comes
/// with a body or without.
pub fn suit(
    head: &mut Parts,
    version: HttpVersion,
    authority: Option<&HeaderValue>,
    has_body: bool,
) {
    match version {
        HttpVersion::Http1 => {
            if head.version == Version::HTTP_2
                && let Some(host) = authority
            {
                headers::host_first(&mut head.headers, host.clone());
            }
            head.version = Version::HTTP_11;
            frame_body(head, has_body);
        }
        HttpVersion::Http2 => {
            head.version = Version::HTTP_2;
            headers::without_http1(&mut head.headers);
        }
    }
}

/// A body of unknown length is sent in chunks whatever the method: the codec would leave
/// the body of a GET away.
fn frame_body(head: &mut Parts, body: bool) {
    let framed = |name| head.headers.contains_key(name);
    if body && !framed(header::CONTENT_LENGTH) && !framed(header::TRANSFER_ENCODING) {
        let chunked = HeaderValue::from_static("chunked");
        head.headers.insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// The head without what only one try needs; method and version stay for the log.
fn take(parts: &mut Parts) -> Parts {
    let kept = bare(parts);
    std::mem::replace(parts, kept)
}

/// Method and version.
fn bare(parts: &Parts) -> Parts {
    let (mut bare, ()) = Request::new(()).into_parts();
    bare.method = parts.method.clone();
    bare.version = parts.version;
    bare
}

/// Takes back the head of a request that was not sent.
fn restore(request: &mut UpstreamRequest, unsent: Request<RequestBody>) {
    let version = request.parts.version;
    let (mut parts, _) = unsent.into_parts();
    if version != Version::HTTP_2
        && parts.version == Version::HTTP_2
        && let Some(host) = request.authority.clone()
    {
        headers::host_first(&mut parts.headers, host);
    }
    if let Some(target) = parts.uri.path_and_query().cloned() {
        parts.uri = Uri::from(target);
    }
    parts.version = version;
    request.parts = parts;
}

/// HTTP/2 has the host in the target (RFC 9113, section 8.3.1).
pub fn absolute(uri: &Uri, authority: Option<&HeaderValue>) -> Result<Uri, http::Error> {
    let target = uri.path_and_query().cloned();
    let authority = authority.map_or(&b""[..], HeaderValue::as_bytes);
    Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
}

fn classify(error: &Error) -> retry::Outcome {
    match error.cause() {
        Cause::Refused => retry::Outcome::RefusedStream,
        Cause::Reset => retry::Outcome::RemoteReset,
        Cause::Protocol => retry::Outcome::ProtocolError,
        Cause::Stalled => retry::Outcome::Stalled,
        Cause::Ended => retry::Outcome::Reset,
    }
}

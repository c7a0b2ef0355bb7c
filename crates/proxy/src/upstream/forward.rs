//! A request on its way to a server, with as many tries as its rule allows.

mod attempt;
mod mirror;

use std::{
    future::poll_fn, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, task::Poll, time::Duration,
};

use http::{HeaderValue, Response, StatusCode, Uri, Version, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use smallvec::SmallVec;
use tokio::time::{Instant, sleep};
use weft_config::{Retries, RetryOn};
use weft_decide::{
    Affinity, Arrival, Failure, Flag, NoAnswer, Permit, Reply, Reset, Routed, SelectedEndpoint,
    protocol, retry,
};

use crate::{
    connection::{direction::Direction, downstream::Downstream},
    http::{
        deadline::Deadline,
        error::Cause,
        grpc, headers, local_reply,
        request_body::Source,
        response_body::{Payload, Relayed},
        upgrade::{self, SWITCHING, UpgradedRequest},
    },
    telemetry::outcome::Outcome,
    upstream::endpoint_selection::{self, Selected, Wanted},
};
use attempt::{AnsweredAttempt, HttpVersion};
pub use mirror::Copies;

/// A request to be sent to an upstream server.
pub struct UpstreamRequest {
    /// The client's end of it.
    pub downstream: Rc<Downstream>,
    /// Its head.
    pub parts: Parts,
    /// Its body, unless that is empty.
    pub source: Option<Rc<Source>>,
    /// The host that it is for.
    pub authority: Option<HeaderValue>,
    /// The client's connection, where another protocol is asked for.
    pub upgrade: Option<OnUpgrade>,
    /// Where it goes.
    pub routed: Routed,
    /// What keeps it at one endpoint.
    pub affinity: Affinity,
    /// How it came in.
    pub arrival: Arrival,
    /// The target with the host, which HTTP/2 needs.
    pub absolute: Option<Uri>,
}

impl UpstreamRequest {
    /// Why the client's body broke off, if it did.
    fn request_failure(&self) -> Option<Cause> {
        self.source.as_ref().and_then(|source| source.failure())
    }
}

/// The last attempt's answer, or the reply that the client gets instead.
type Tried = Result<AnsweredAttempt, Reply>;

/// Sends `request`, with retries, and makes of the answer the response for the client.
pub async fn send(mut request: UpstreamRequest, mut outcome: Box<Outcome>) -> Response<Payload> {
    outcome.backend = Some(Arc::clone(&request.routed.backend().name));
    outcome.route = match request.routed.is_passthrough() {
        true if request.downstream.direction() == Direction::Outbound => {
            Some(Arc::from("allow_any"))
        }
        _ => request.routed.rule().name.clone(),
    };
    if let Some(delay) = request.routed.delay() {
        outcome.flags = outcome.flags.and(Flag::Delayed);
        sleep(delay).await;
    }
    let mut deadline = deadline(&request, &outcome);
    let asked = asked_for(&request);
    let tried = match &mut deadline {
        None => tries(&mut request, &mut outcome).await,
        Some(deadline) => {
            let mut tries = pin!(tries(&mut request, &mut outcome));
            let either = poll_fn(|context| match tries.as_mut().poll(context) {
                Poll::Ready(tried) => Poll::Ready(tried),
                Poll::Pending => deadline.poll(context).map(|by| Err(by.before_answer().reply())),
            });
            either.await
        }
    };
    let tried = tried.and_then(|answer| {
        let response = &answer.response;
        // A protocol that the client did not ask for would end policy on this connection.
        match response.status() == SWITCHING && !protocol::grants(response.headers(), &asked) {
            true => Err(Failure::UnaskedUpgrade.reply()),
            false if headers::is_framed_oddly(response.headers()) => {
                let reset = Reset::Malformed;
                Err(Failure::NoAnswer(NoAnswer { reset, spent: false }).reply())
            }
            false => Ok(answer),
        }
    });
    match tried {
        Ok(answer) => finish(answer, request, deadline, outcome),
        Err(reply) => refuse(reply, &request, outcome),
    }
}

/// The protocols that the request asks for, if any.
fn asked_for(request: &UpstreamRequest) -> Vec<HeaderValue> {
    let fields = request.parts.headers.get_all(header::UPGRADE);
    request.upgrade.iter().flat_map(|_| &fields).cloned().collect()
}

fn refuse(reply: Reply, request: &UpstreamRequest, outcome: Box<Outcome>) -> Response<Payload> {
    let reply = match request.request_failure() {
        // Whatever happened then, the client is to blame.
        Some(cause) => cause.of_request(request.parts.version).reply(),
        None => reply,
    };
    let named = reply.of_rule(outcome.route.clone().as_ref());
    let reply = named.about(&request.routed.backend().name);
    let reply = reply.changed_by(request.routed.answer()).held_up(request.routed.delay());
    local_reply::local(&reply, &request.parts.method, request.downstream.direction(), outcome)
}

/// When the exchange must be over, and who says so: its rule, or a gRPC client that
/// waits less long.
fn deadline(request: &UpstreamRequest, outcome: &Outcome) -> Option<Deadline> {
    let rule = request.routed.rule().data.timeout;
    let client = match outcome.is_grpc() {
        true => grpc::timeout(&request.parts.headers),
        false => None,
    };
    // The time for which a fault held the request up is the client's, not the rule's.
    let (began, client) = match request.routed.delay() {
        Some(_) => {
            (Instant::now().into_std(), client.map(|limit| limit.saturating_sub(outcome.elapsed())))
        }
        None => (outcome.began(), client),
    };
    Deadline::of(rule, client, began, request.source.as_ref())
}

fn finish(
    answer: AnsweredAttempt,
    request: UpstreamRequest,
    deadline: Option<Deadline>,
    mut outcome: Box<Outcome>,
) -> Response<Payload> {
    let AnsweredAttempt { mut response, upload, connection } = answer;
    let direction = request.downstream.direction();
    let switching = response.status() == SWITCHING;
    let is_without_body = response.status() == StatusCode::NO_CONTENT;
    let took = outcome.elapsed();
    let status = response.status().as_u16();
    let headers = response.headers_mut();
    headers::finish_response(headers, switching);
    if is_without_body {
        headers::without_length(headers);
    }
    outcome.service_time = Some(took);
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if let Some(cookie) = request.affinity.set_cookie {
        headers.append(header::SET_COOKIE, *cookie);
    }
    headers.insert(headers::SERVICE_TIME, headers::number(milliseconds));
    if let Some(changes) = request.routed.answer() {
        changes.apply(headers, status);
    }
    headers.insert(header::SERVER, HeaderValue::from_static(direction.server()));
    if request.parts.version == Version::HTTP_2 {
        headers::without_http1(headers);
    }
    // The client's own version is the codec's business.
    *response.version_mut() = match request.parts.version {
        Version::HTTP_2 => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    outcome.answered(response.status().as_u16(), response.headers());
    if request.upgrade.is_some() && !switching {
        outcome.details = "websocket_handshake_unsuccessful".into();
    }
    if let (true, Some(client)) = (switching, request.upgrade) {
        let of = request.downstream.counts.as_ref().map(|counts| &counts.listener.0);
        let guard = request.downstream.worker.connections.enter(of);
        let host = request.authority.as_ref().and_then(|host| host.to_str().ok());
        let interest = request.downstream.scope.as_ref().zip(host);
        let interest = interest.and_then(|(scope, host)| scope.interest(host));
        let used = interest.map(|one| request.downstream.worker.relays.begin(one));
        let upgraded = UpgradedRequest { client, guard, used };
        let parts = upgrade::relay(response, upgraded, connection, outcome, request.downstream);
        return Response::from_parts(parts, Payload::Empty);
    }
    let source = request.source;
    if let Some(source) = &source {
        source.answer_begins();
    }
    if let Some(at) = deadline.as_ref().and_then(Deadline::at) {
        request.downstream.idle_timer.set_deadline(at);
    }
    let (outcome, connection) = (Some(outcome), Some(connection));
    let announced = match response.status() {
        StatusCode::NOT_MODIFIED => headers::announced(response.headers()),
        _ => None,
    };
    response.map(|incoming| {
        let relayed =
            Relayed { incoming, outcome, connection, _upload: upload, source, deadline, announced };
        Payload::Relayed(Box::new(relayed))
    })
}

/// Waits for an attempt for at most `limit`, from when the request is complete.
async fn within<T>(
    limit: Option<Duration>,
    source: Option<&Rc<Source>>,
    attempt: impl Future<Output = Result<T, attempt::FailedAttempt>>,
) -> Result<T, attempt::FailedAttempt> {
    let mut attempt = pin!(attempt);
    let Some(limit) = limit else { return attempt.await };
    let began = Instant::now().into_std();
    let Some(mut deadline) = Deadline::of(Some(limit), None, began, source) else {
        return attempt.await;
    };
    poll_fn(|context| match attempt.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => deadline.poll(context).map(|_| Err(attempt::FailedAttempt::slow())),
    })
    .await
}

async fn tries(request: &mut UpstreamRequest, outcome: &mut Outcome) -> Tried {
    let rule = Arc::clone(request.routed.rule());
    let retries = rule.retries();
    let method = request.parts.method.clone();
    let version = version(request);
    if version == HttpVersion::Http2 {
        let absolute = attempt::absolute(&request.parts.uri, request.authority.as_ref());
        let invalid = |_| Failure::BadRequest("http.invalid_authority").reply();
        request.absolute = Some(absolute.map_err(invalid)?);
    }
    let copy = needs_copy(retries, version, outcome.is_grpc());
    let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
    // Further tries are told what is left of the rule's time.
    let began = (retries.is_some() && rule.data.timeout.is_some()).then(Instant::now);
    let (mut again, mut retrying) = (0, None);
    loop {
        let selected = select(request, &tried).await?;
        prepare(request, outcome, &selected, again);
        // The first attempt has all of the rule's time.
        let elapsed = began.filter(|_| again > 0).map(|began| began.elapsed());
        announce_timeout(request, elapsed.unwrap_or_default());
        if again == 0 {
            mirror::begin(request);
        }
        let Selected { pool, endpoint } = selected;
        let limit = retries.and_then(|retries| retries.per_try_timeout);
        let source = request.source.clone();
        let attempt = attempt::run(request, &pool, version, copy);
        let result = within(limit, source.as_ref(), attempt).await;
        if let (Err(_), Some(cause)) = (&result, request.request_failure()) {
            // That says nothing about the endpoint.
            return Err(cause.of_request(request.parts.version).reply());
        }
        let ended = ended(&result, outcome.is_grpc());
        if let (Some(endpoint), Some(reported)) = (&endpoint, ended.reported()) {
            endpoint.report(reported, Instant::now().into_std());
        }
        let mut verdict = retry::next(retries, &method, ended, again);
        // The further try, if this was one, is over.
        drop(retrying.take());
        let mut overflow = false;
        if verdict == retry::Verdict::Again {
            match may_be_repeated(request) {
                Ok(permit) => retrying = permit,
                Err(NotRepeated { is_overflow }) => {
                    (verdict, overflow) = (retry::Verdict::Keep, is_overflow);
                }
            }
        }
        match (result, verdict, retries) {
            (result, retry::Verdict::Again, Some(retries)) => {
                again += 1;
                if retries.avoid_tried {
                    tried.push(pool.address());
                }
                let worker = &request.downstream.worker;
                let pause = worker.with_rng(|rng| retry::pause(retries, again, rng));
                // Connection and count are for others meanwhile.
                drop((result, endpoint));
                sleep(pause).await;
            }
            (Ok(mut answer), verdict, _) => {
                let connection = &mut answer.connection;
                if verdict == retry::Verdict::Spent {
                    outcome.flags = outcome.flags.and(Flag::TriesSpent);
                }
                if overflow {
                    outcome.flags = outcome.flags.and(Flag::Overflow);
                }
                (outcome.host, outcome.local) = (Some(connection.address()), connection.local);
                connection.in_flight = endpoint;
                return Ok(answer);
            }
            (Err(failed), verdict, _) => {
                outcome.local = failed.local;
                let mut reply = failed.reply(verdict);
                if overflow {
                    reply.flags = reply.flags.and(Flag::Overflow);
                }
                outcome.transport_failure = failed.reason;
                return Err(reply);
            }
        }
    }
}

/// How an attempt ended, for retries; `is_grpc` says whether the client speaks gRPC.
fn ended(
    result: &Result<AnsweredAttempt, attempt::FailedAttempt>,
    is_grpc: bool,
) -> retry::Outcome {
    match result {
        Ok(AnsweredAttempt { response, .. }) => retry::Outcome::Answered {
            status: response.status().as_u16(),
            grpc: is_grpc.then(|| grpc::status(response.headers())).flatten(),
        },
        Err(failed) => failed.outcome,
    }
}

/// Why a request is not sent again although its rule says so.
struct NotRepeated {
    /// Whether the backend has as many further tries as it may.
    is_overflow: bool,
}

/// Counts a further try of `request`, if it can be sent again.
fn may_be_repeated(request: &UpstreamRequest) -> Result<Option<Permit>, NotRepeated> {
    let repeatable = request.source.as_ref().is_none_or(|source| source.is_repeatable());
    if !repeatable || request.upgrade.is_some() {
        return Err(NotRepeated { is_overflow: false });
    }
    let Some(policy) = request.routed.backend().connections() else { return Ok(None) };
    policy.breaker.retry().map_err(|_| NotRepeated { is_overflow: true })
}

/// Writes down where the attempt goes, and tells the server which attempt it is.
fn prepare(request: &mut UpstreamRequest, outcome: &mut Outcome, selected: &Selected, again: u32) {
    let (pool, backend) = (&selected.pool, request.routed.backend());
    outcome.host = Some(pool.address());
    outcome.local = None;
    let endpoint = selected.endpoint.as_ref().map(SelectedEndpoint::endpoint);
    outcome.peer = Some(endpoint_selection::peer(&request.downstream, pool, backend, endpoint));
    let outbound = request.downstream.direction() != Direction::Inbound;
    if outbound {
        let number = headers::number((again + 1).into());
        request.parts.headers.insert(headers::ATTEMPT_COUNT, number);
    }
}

/// Tells the server how long this attempt is waited for, by its own limit and by what is left of the
/// rule's, as Envoy does.
fn announce_timeout(request: &mut UpstreamRequest, elapsed: Duration) {
    let rule = &request.routed.rule().data;
    let attempt = rule.retries.as_ref().and_then(|retries| retries.per_try_timeout);
    let left = rule.timeout.map(|limit| limit.saturating_sub(elapsed));
    let Some(limit) = attempt.into_iter().chain(left).min() else { return };
    let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
    let number = headers::number(milliseconds);
    request.parts.headers.insert(headers::EXPECTED_TIMEOUT, number);
}

/// The version of HTTP that `request` is sent in.
fn version(request: &UpstreamRequest) -> HttpVersion {
    let upstream = request.routed.backend().data.upstream;
    match protocol::onwards(upstream, request.parts.version, request.upgrade.is_some()) {
        Version::HTTP_2 => HttpVersion::Http2,
        _ => HttpVersion::Http1,
    }
}

/// Whether the request can be sent again after its head has been written. A request of which
/// nothing was sent is returned by the connection and needs no copy.
fn needs_copy(retries: Option<&Retries>, version: HttpVersion, grpc: bool) -> bool {
    let Some(retries) = retries.filter(|retries| retries.attempts > 0) else { return false };
    retries.on.iter().any(|on| match on {
        RetryOn::ConnectFailure => false,
        RetryOn::Statuses => !retries.statuses.is_empty(),
        RetryOn::RefusedStream => version == HttpVersion::Http2,
        RetryOn::Cancelled
        | RetryOn::DeadlineExceeded
        | RetryOn::Internal
        | RetryOn::ResourceExhausted
        | RetryOn::Unavailable => grpc,
        _ => true,
    })
}

/// Selects where the next attempt goes.
async fn select(request: &UpstreamRequest, tried: &[SocketAddr]) -> Result<Selected, Reply> {
    let backend = request.routed.backend();
    let (downstream, hash) = (&request.downstream, request.affinity.hash);
    // What was connected to before the request was read is where its client's address leads.
    let by_request = hash.is_some() && hash != backend.hash_of_connection(downstream.client);
    match downstream.preconnected_to(backend).filter(|_| !by_request) {
        Some(selected) => Ok(selected),
        None => {
            let authority = request.authority.as_ref();
            endpoint_selection::select(downstream, backend, Wanted { hash, tried, authority }).await
        }
    }
}

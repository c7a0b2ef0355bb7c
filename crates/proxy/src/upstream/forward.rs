//! A request on its way to a server, with as many tries as its rule allows.

mod attempt;

use std::{
    future::poll_fn, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, task::Poll, time::Duration,
};

use http::{HeaderValue, Response, Uri, Version, header, request::Parts};
use smallvec::SmallVec;
use tokio::time::Instant;
use weft_config::{Retries, RetryOn};
use weft_decide::{
    Ask, CompiledBackend, Endpoint, Failure, Pick, Picked, Reply, Routed, protocol, retry,
};

use crate::{
    connection::{direction::Direction, downstream::Downstream, tcp::Selected},
    http::{
        deadline::Deadline,
        error::Cause,
        exchange::{SWITCHING, Upgrade},
        grpc, head, local_reply,
        request_body::Source,
        response_body::{Payload, Relayed},
        upgrade,
    },
    record::{metrics::Peer, outcome::Outcome},
    upstream::{
        pool::{Answer, Lease, Line},
        resolve::Name,
    },
};
use attempt::Speak;

/// A request that is to be sent on.
pub struct Onward {
    /// Whose it is.
    pub downstream: Rc<Downstream>,
    /// Its head.
    pub parts: Parts,
    /// Its body, unless that is empty.
    pub source: Option<Rc<Source>>,
    /// The host that it is for.
    pub authority: Option<HeaderValue>,
    /// The client's connection, where another protocol is asked for.
    pub upgrade: Option<Upgrade>,
    /// Where it goes.
    pub routed: Routed,
    /// The target with the host, which HTTP/2 needs.
    pub absolute: Option<Uri>,
}

impl Onward {
    /// Why the client's body broke off, if it did.
    fn request_failure(&self) -> Option<Cause> {
        self.source.as_ref().and_then(|source| source.failure())
    }
}

/// The last attempt's answer, or the reply that the client gets instead.
type Tried = Result<(Answer, Lease), Reply>;

/// Sends it, and makes the answer what the client gets.
pub async fn send(mut onward: Onward, mut outcome: Box<Outcome>) -> Response<Payload> {
    outcome.backend = Some(Arc::clone(&onward.routed.backend().name));
    outcome.route = match onward.routed.is_passthrough() {
        true if onward.downstream.direction() == Direction::Outbound => {
            Some(Arc::from("allow_any"))
        }
        _ => onward.routed.rule().name.clone(),
    };
    let mut deadline = deadline(&onward, &outcome);
    let asked = asked_for(&onward);
    let tried = match &mut deadline {
        None => tries(&mut onward, &mut outcome).await,
        Some(deadline) => {
            let mut tries = pin!(tries(&mut onward, &mut outcome));
            let either = poll_fn(|context| match tries.as_mut().poll(context) {
                Poll::Ready(tried) => Poll::Ready(tried),
                Poll::Pending => deadline.poll(context).map(|by| Err(by.before_answer().reply())),
            });
            either.await
        }
    };
    let tried = tried.and_then(|((response, upload), lease)| {
        // A protocol that the client did not ask for would end policy on this connection.
        match response.status() == SWITCHING && !protocol::grants(response.headers(), &asked) {
            true => Err(Failure::UnaskedUpgrade.reply()),
            false => Ok(((response, upload), lease)),
        }
    });
    match tried {
        Ok(answer) => finish(answer, onward, deadline, outcome),
        Err(reply) => refuse(reply, &onward, outcome),
    }
}

/// The protocols that the request asks for, if any.
fn asked_for(onward: &Onward) -> Vec<HeaderValue> {
    let fields = onward.parts.headers.get_all(header::UPGRADE);
    onward.upgrade.iter().flat_map(|_| &fields).cloned().collect()
}

fn refuse(reply: Reply, onward: &Onward, outcome: Box<Outcome>) -> Response<Payload> {
    let reply = match onward.request_failure() {
        // Whatever happened then, the client is to blame.
        Some(cause) => cause.of_request(onward.parts.version).reply(),
        None => reply,
    };
    let named = reply.of_rule(outcome.route.clone().as_ref());
    let reply = named.about(&onward.routed.backend().name);
    local_reply::local(&reply, &onward.parts, onward.downstream.direction(), outcome)
}

/// When the exchange must be over, and who says so: its rule, or a gRPC client that
/// waits less long.
fn deadline(onward: &Onward, outcome: &Outcome) -> Option<Deadline> {
    let rule = onward.routed.rule().data.timeout;
    let client = match outcome.is_grpc() {
        true => grpc::timeout(&onward.parts.headers),
        false => None,
    };
    Deadline::of(rule, client, outcome.began(), onward.source.as_ref())
}

fn finish(
    ((mut response, upload), lease): (Answer, Lease),
    onward: Onward,
    deadline: Option<Deadline>,
    mut outcome: Box<Outcome>,
) -> Response<Payload> {
    let direction = onward.downstream.direction();
    let switching = response.status() == SWITCHING;
    let took = outcome.elapsed();
    let headers = response.headers_mut();
    head::finish_response(headers, direction, switching);
    outcome.service_time = Some(took);
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    headers.insert(head::SERVICE_TIME, head::number(milliseconds));
    if onward.parts.version == Version::HTTP_2 {
        head::without_http1(headers);
    }
    // The client's own version is the codec's business.
    *response.version_mut() = match onward.parts.version {
        Version::HTTP_2 => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    outcome.answered(response.status().as_u16(), response.headers());
    if onward.upgrade.is_some() && !switching {
        outcome.details = "websocket_handshake_unsuccessful".into();
    }
    if let (true, Some(client)) = (switching, onward.upgrade) {
        let of = onward.downstream.counts.as_ref().map(|counts| &counts.listener.0);
        let guard = onward.downstream.worker.drain.enter(of);
        guard.idle_timer().begin();
        let client = (client, guard);
        let parts = upgrade::relay(response, client, lease, outcome, onward.downstream);
        return Response::from_parts(parts, Payload::Empty);
    }
    let source = onward.source;
    if let Some(source) = &source {
        source.answer_begins();
    }
    if let Some(at) = deadline.as_ref().and_then(Deadline::at) {
        onward.downstream.idle_timer.set_deadline(at);
    }
    let (outcome, lease) = (Some(outcome), Some(lease));
    response.map(|incoming| {
        let relayed = Relayed { incoming, outcome, lease, _upload: upload, source, deadline };
        Payload::Relayed(Box::new(relayed))
    })
}

/// Waits for a try for as long as one may take, from when the request is complete.
async fn within<T>(
    limit: Option<Duration>,
    source: Option<&Rc<Source>>,
    attempt: impl Future<Output = Result<T, attempt::Failed>>,
) -> Result<T, attempt::Failed> {
    let began = Instant::now().into_std();
    let Some(mut deadline) = Deadline::of(limit, None, began, source) else { return attempt.await };
    let mut attempt = pin!(attempt);
    poll_fn(|context| match attempt.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => deadline.poll(context).map(|_| Err(attempt::Failed::slow())),
    })
    .await
}

async fn tries(onward: &mut Onward, outcome: &mut Outcome) -> Tried {
    let rule = Arc::clone(onward.routed.rule());
    let retries = rule.retries();
    let method = onward.parts.method.clone();
    let speak = speak(onward);
    if speak == Speak::Http2 {
        let absolute = attempt::absolute(&onward.parts.uri, onward.authority.as_ref());
        let Ok(absolute) = absolute else {
            return Err(Failure::BadRequest("http.invalid_authority").reply());
        };
        onward.absolute = Some(absolute);
    }
    let copy = needs_copy(retries, speak, outcome.is_grpc());
    let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
    let mut again = 0;
    loop {
        let (line, picked) = match pick(onward, &tried).await {
            Ok(picked) => picked,
            Err(reply) => return Err(reply),
        };
        outcome.host = Some(line.address());
        outcome.local = None;
        outcome.peer = Some(peer(onward, &line, picked.as_ref().map(Picked::endpoint)));
        if onward.downstream.direction() != Direction::Inbound && !onward.routed.is_passthrough() {
            onward.parts.headers.insert(head::ATTEMPT_COUNT, head::number((again + 1).into()));
        }
        let limit = retries.and_then(|retries| retries.per_try_timeout);
        let source = onward.source.clone();
        let attempt = attempt::run(onward, &line, speak, copy);
        let result = within(limit, source.as_ref(), attempt).await;
        if let (Err(_), Some(cause)) = (&result, onward.request_failure()) {
            // That says nothing about the endpoint.
            return Err(cause.of_request(onward.parts.version).reply());
        }
        let ended = match &result {
            Ok(((response, _), _)) => retry::Outcome::Answered {
                status: response.status().as_u16(),
                grpc: outcome.is_grpc().then(|| grpc::status(response.headers())).flatten(),
            },
            Err(failed) => failed.outcome,
        };
        if let Some(picked) = &picked {
            picked.report(ended.reported());
        }
        let mut verdict = retry::next(retries, &method, ended, again);
        let repeatable = onward.source.as_ref().is_none_or(|source| source.is_repeatable());
        if verdict == retry::Verdict::Again && !(repeatable && onward.upgrade.is_none()) {
            verdict = retry::Verdict::Keep;
        }
        match (result, verdict, retries) {
            (_, retry::Verdict::Again, Some(retries)) => {
                again += 1;
                if retries.avoid_tried {
                    tried.push(line.address());
                }
                let worker = &onward.downstream.worker;
                let pause = worker.with_rng(|rng| retry::pause(retries, again, rng));
                drop(picked);
                tokio::time::sleep(pause).await;
            }
            (Ok((answer, mut lease)), verdict, _) => {
                if verdict == retry::Verdict::Spent {
                    outcome.flags = outcome.flags.and(weft_decide::Flag::TriesSpent);
                }
                (outcome.host, outcome.local) = (Some(lease.address()), lease.local);
                lease.in_flight = picked;
                return Ok((answer, lease));
            }
            (Err(failed), verdict, _) => {
                outcome.local = failed.local;
                let reply = failed.reply(verdict);
                outcome.transport_failure = failed.reason;
                return Err(reply);
            }
        }
    }
}

/// Which protocol the server is spoken to.
fn speak(onward: &Onward) -> Speak {
    let upstream = onward.routed.backend().data.upstream;
    match protocol::onwards(upstream, onward.parts.version, onward.upgrade.is_some()) {
        Version::HTTP_2 => Speak::Http2,
        _ => Speak::Http1,
    }
}

/// Whether the request can be sent again after its head has been written. A request of which
/// nothing was sent is returned by the connection and needs no copy.
fn needs_copy(retries: Option<&Retries>, speak: Speak, grpc: bool) -> bool {
    let Some(retries) = retries.filter(|retries| retries.attempts > 0) else { return false };
    retries.on.iter().any(|on| match on {
        RetryOn::ConnectFailure => false,
        RetryOn::Statuses => !retries.statuses.is_empty(),
        RetryOn::RefusedStream => speak == Speak::Http2,
        RetryOn::Cancelled
        | RetryOn::DeadlineExceeded
        | RetryOn::Internal
        | RetryOn::ResourceExhausted
        | RetryOn::Unavailable => grpc,
        _ => true,
    })
}

/// Where the next try goes.
async fn pick(onward: &Onward, tried: &[SocketAddr]) -> Result<Selected, Reply> {
    let Onward { downstream, routed, .. } = onward;
    let backend = routed.backend();
    if let Some(selected) = downstream.preconnected_to(backend) {
        return Ok(selected);
    }
    let worker = &downstream.worker;
    let destination = downstream.destination;
    let ask = Ask { tried, ..Ask::at(std::time::Instant::now()) };
    let picked = worker.with_rng(|rng| backend.pick(destination, &ask, rng));
    let (address, picked) = match picked {
        None => return Err(Failure::NoEndpoint.reply()),
        Some(Pick::Endpoint(picked)) => (picked.endpoint().data.address, Some(picked)),
        Some(Pick::Address(address)) => (address, None),
        Some(Pick::Name { host, port }) => {
            let deadline = Instant::now() + backend.data.connect_timeout;
            let found = worker.names.addresses(&Name { host, port }, deadline).await;
            let Ok(addresses) = found else { return Err(Failure::NoEndpoint.reply()) };
            let fresh = addresses.iter().find(|address| !tried.contains(address));
            match fresh.or(addresses.first()) {
                Some(address) => (*address, None),
                None => return Err(Failure::NoEndpoint.reply()),
            }
        }
    };
    if address == downstream.local {
        // It would come back to the listener it came through.
        return Err(Failure::NoEndpoint.reply());
    }
    Ok((downstream.line_to(address), picked))
}

fn peer(
    onward: &Onward,
    line: &Line,
    endpoint: Option<&Arc<Endpoint>>,
) -> crate::record::metrics::PeerId {
    let backend = onward.routed.backend();
    line.peer(backend, endpoint, || {
        let labels = peer_labels(backend, endpoint.map(|endpoint| &**endpoint));
        onward.downstream.worker.registry.borrow_mut().peer(labels)
    })
}

/// Who an endpoint of `backend` is, in the words of the metrics.
pub fn peer_labels(backend: &CompiledBackend, endpoint: Option<&Endpoint>) -> Peer {
    let (service_name, service_namespace) = match &backend.data.service_name {
        Some((name, namespace)) => (name.clone(), namespace.clone()),
        None => (backend.data.name.clone(), String::new()),
    };
    Peer {
        service: backend.data.service.clone(),
        service_name,
        service_namespace,
        workload: endpoint.and_then(|one| one.data.workload.clone()).unwrap_or_default(),
    }
}

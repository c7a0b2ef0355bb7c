//! A request on its way to a server, with as many tries as its rule allows.

mod attempt;
mod upgrade;

use std::{net::SocketAddr, pin::Pin, rc::Rc, sync::Arc};

use http::{HeaderValue, Response, Version, request::Parts};
use hyper::body::Incoming;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};
use weft_config::{Retries, RetryOn};
use weft_decide::{CompiledBackend, Forward, Pick, Reply, protocol, retry};

use crate::{
    connection::{direction::Direction, downstream::Downstream, tcp::Picked},
    http::{
        exchange::{SWITCHING, Upgrade},
        grpc, head, local_reply,
        request_body::Source,
        response_body::{Payload, Relayed},
    },
    record::{
        metrics::Peer,
        outcome::{LimitOf, Outcome},
    },
    upstream::{
        dial::Way,
        pool::{Lease, Line},
        resolve::Name,
    },
};
use attempt::{Failed, Speak};

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
    pub forward: Forward,
    /// Whether that is nothing of the mesh.
    pub outside: bool,
}

/// The last try's answer, or what the client is told instead.
type Tried = Result<(Response<Incoming>, Lease), Reply>;

/// Sends it, and makes the answer what the client gets.
pub async fn send(mut onward: Onward, mut outcome: Box<Outcome>) -> Response<Payload> {
    outcome.backend = Some(Arc::clone(&onward.forward.backend.name));
    outcome.route = match onward.outside {
        true if onward.downstream.direction() == Direction::Outbound => {
            Some(Arc::from("allow_any"))
        }
        _ => onward.forward.rule.name.clone(),
    };
    let deadline = deadline(&onward, &outcome);
    let tried = match deadline {
        None => tries(&mut onward, &mut outcome).await,
        Some((deadline, by)) => {
            match timeout_at(deadline, tries(&mut onward, &mut outcome)).await {
                Ok(tried) => tried,
                Err(_) if by == LimitOf::Client => Err(Reply::duration_timeout()),
                Err(_) => Err(Reply::timeout()),
            }
        }
    };
    let direction = onward.downstream.direction();
    match tried {
        Ok(answer) => {
            let deadline = deadline.map(|(at, by)| (Box::pin(sleep_until(at)), by));
            finish(answer, onward, deadline, outcome)
        }
        Err(reply) => {
            let named = reply.of_rule(outcome.route.clone().as_ref());
            local_reply::local(
                &named.about(&onward.forward.backend.name),
                &onward.parts,
                direction,
                outcome,
            )
        }
    }
}

/// When the exchange must be over, and who says so: its rule, or a gRPC client that
/// waits less long.
fn deadline(onward: &Onward, outcome: &Outcome) -> Option<(Instant, LimitOf)> {
    let of_rule = onward.forward.rule.data.timeout.map(|limit| (limit, LimitOf::Rule));
    let of_client = match outcome.is_grpc() {
        true => grpc::timeout(&onward.parts.headers).map(|limit| (limit, LimitOf::Client)),
        false => None,
    };
    let (limit, by) = of_rule.into_iter().chain(of_client).min_by_key(|(limit, _)| *limit)?;
    Some((Instant::from_std(outcome.began().checked_add(limit)?), by))
}

fn finish(
    (response, lease): (Response<Incoming>, Lease),
    onward: Onward,
    deadline: Option<(Pin<Box<Sleep>>, LimitOf)>,
    mut outcome: Box<Outcome>,
) -> Response<Payload> {
    let direction = onward.downstream.direction();
    let (mut parts, incoming) = response.into_parts();
    let switching = parts.status == SWITCHING;
    head::finish_response(&mut parts.headers, direction, switching);
    let took = outcome.elapsed();
    outcome.service_time = Some(took);
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    parts.headers.insert(head::SERVICE_TIME, head::number(milliseconds));
    if onward.parts.version == Version::HTTP_2 {
        head::without_http1(&mut parts.headers);
    }
    // The client's own version is the codec's business.
    parts.version = match onward.parts.version {
        Version::HTTP_2 => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    outcome.answered(parts.status.as_u16(), &parts.headers);
    let source = onward.source;
    if switching {
        let guard = onward.downstream.worker.drain.enter(None);
        guard.idle_timer().begin();
        let response = Response::from_parts(parts, incoming);
        let client = onward.upgrade.map(|client| (client, guard));
        return upgrade::relay(response, client, outcome, onward.downstream);
    }
    let relayed =
        Relayed { incoming, outcome: Some(outcome), lease: Some(lease), source, deadline };
    Response::from_parts(parts, Payload::Relayed(Box::new(relayed)))
}

async fn tries(onward: &mut Onward, outcome: &mut Outcome) -> Tried {
    let rule = Arc::clone(&onward.forward.rule);
    let retries = rule.retries();
    let method = onward.parts.method.clone();
    let speak = speak(onward);
    let copy = needs_copy(retries, &speak, outcome.is_grpc());
    let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
    let mut again = 0;
    loop {
        let (line, member) = match pick(onward, &tried).await {
            Ok(picked) => picked,
            Err(reply) => return Err(reply),
        };
        outcome.host = Some(line.address());
        outcome.local = None;
        outcome.peer = peer(onward, &line, member.as_ref());
        if onward.downstream.direction() != Direction::Inbound && !onward.outside {
            onward.parts.headers.insert(head::ATTEMPT_COUNT, head::number((again + 1).into()));
        }
        let in_flight = member.as_ref().map(|member| member.begin());
        let attempt = attempt::run(onward, &line, &speak, copy);
        let result = match retries.and_then(|retries| retries.per_try_timeout) {
            None => attempt.await,
            Some(limit) => match timeout(limit, attempt).await {
                Ok(result) => result,
                Err(_) => Err(Failed::slow()),
            },
        };
        let ended = match &result {
            Ok((response, _)) => retry::Outcome::Answered {
                status: response.status().as_u16(),
                grpc: outcome.is_grpc().then(|| grpc::status(response.headers())).flatten(),
            },
            Err(failed) => failed.outcome,
        };
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
                drop(in_flight);
                tokio::time::sleep(pause).await;
            }
            (Ok((response, mut lease)), verdict, _) => {
                if verdict == retry::Verdict::Spent {
                    outcome.flags = outcome.flags.and(weft_decide::Flag::TriesSpent);
                }
                outcome.local = lease.local;
                lease.in_flight = in_flight;
                return Ok((response, lease));
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
    let upstream = onward.forward.backend.data.upstream;
    match protocol::onwards(upstream, onward.parts.version, onward.upgrade.is_some()) {
        Version::HTTP_2 => Speak::Http2,
        _ => Speak::Http1,
    }
}

/// Whether a try may be repeated after its head was given away. What was
/// provably not sent comes back by itself.
fn needs_copy(retries: Option<&Retries>, speak: &Speak, grpc: bool) -> bool {
    let Some(retries) = retries.filter(|retries| retries.attempts > 0) else { return false };
    retries.on.iter().any(|on| match on {
        RetryOn::ConnectFailure => false,
        RetryOn::RefusedStream => *speak == Speak::Http2,
        RetryOn::Cancelled
        | RetryOn::DeadlineExceeded
        | RetryOn::Internal
        | RetryOn::ResourceExhausted
        | RetryOn::Unavailable => grpc,
        _ => true,
    })
}

/// Where the next try goes.
async fn pick(onward: &Onward, tried: &[SocketAddr]) -> Result<Picked, Reply> {
    let Onward { downstream, forward, .. } = onward;
    if let Some(picked) = downstream.preconnected_to(&forward.backend) {
        return Ok(picked);
    }
    let worker = &downstream.worker;
    let destination = downstream.destination;
    let picked = worker.with_rng(|rng| forward.backend.pick(destination, tried, rng));
    let (address, member) = match picked {
        None => return Err(Reply::no_endpoint()),
        Some(Pick::Member(member)) => (member.endpoint.address, Some(member)),
        Some(Pick::Address(address)) => (address, None),
        Some(Pick::Name { host, port }) => {
            let deadline = Instant::now() + forward.backend.data.connect_timeout;
            let found = worker.names.addresses(&Name { host, port }, deadline).await;
            let Ok(addresses) = found else { return Err(Reply::no_endpoint()) };
            let fresh = addresses.iter().find(|address| !tried.contains(address));
            match fresh.or(addresses.first()) {
                Some(address) => (*address, None),
                None => return Err(Reply::no_endpoint()),
            }
        }
    };
    if address == downstream.local {
        // It would come back to the listener it came through.
        return Err(Reply::no_endpoint());
    }
    let application = downstream.listener.leads_to_application();
    Ok((worker.lines.to(Way { address, application }, worker.dialer), member))
}

fn peer(
    onward: &Onward,
    line: &Line,
    member: Option<&Arc<weft_decide::Member>>,
) -> crate::record::metrics::PeerId {
    let backend = &onward.forward.backend;
    line.peer(backend, member, || {
        let labels = peer_labels(backend, member.map(|member| &**member));
        onward.downstream.worker.registry.borrow_mut().peer(labels)
    })
}

/// Who an endpoint of `backend` is, in the words of the metrics.
pub fn peer_labels(backend: &CompiledBackend, member: Option<&weft_decide::Member>) -> Peer {
    let (service_name, service_namespace) = match &backend.data.service_name {
        Some((name, namespace)) => (name.clone(), namespace.clone()),
        None => (backend.data.name.clone(), String::new()),
    };
    Peer {
        service: backend.data.service.clone(),
        service_name,
        service_namespace,
        workload: member.and_then(|member| member.endpoint.workload.clone()).unwrap_or_default(),
    }
}

//! The path of a request, proxy by proxy.

mod connection;
mod begin;
mod unseen;
mod hop;
mod gateways;
mod remarks;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderName, request::Parts};
use weft_api::kubernetes::Pod;
use weft_decide::{Connection, Failure, NO_CONDITIONS, Note, Reply, Scope, Tcp, Verdict};
use weft_translate::Role;

use self::{
    begin::{begin, find, gateway, listening_ports, name_of},
    connection::{Dialled, Direction, ProxiedConnection},
    unseen::unseen,
};
use crate::{
    explanation::{Because, Explanation, Hop, Outcome, Protocol},
    proxy::Proxy,
    question::{PodName, Question, Start},
    world::World,
};

/// Proxies on the path of a request; a longer path goes round in circles.
const LONGEST: usize = 8;

/// Why a request cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// No such pod or Deployment.
    #[error("there is no pod or Deployment {name}; {others}")]
    NoPod {
        /// What was asked for.
        name: PodName,
        /// What there is instead, or what to do when there is nothing.
        others: String,
    },
    /// No gateway.
    #[error("no Gateway selects a pod; add one, or ask with --from POD")]
    NoGateway,
    /// A pod without address.
    #[error("pod {0} has no address yet; ask again when it runs")]
    NoAddress(PodName),
    /// A port of the machine with nothing behind it.
    #[error(
        "{address} is Service {service}, which no pod serves now; \
         `weft get pods` says what has become of them"
    )]
    NothingBehind {
        /// The port of the machine.
        address: String,
        /// The Service.
        service: String,
    },
}

/// What a proxy makes of a connection.
struct HopResult {
    hop: Hop,
    /// Where it goes on, if that is an address of the mesh.
    onwards: Option<SocketAddr>,
    /// The request's head as it is sent on, where it was read.
    head: Option<Parts>,
}

impl HopResult {
    /// The end of the path.
    fn end(hop: Hop) -> Self {
        Self { hop, onwards: None, head: None }
    }
}

/// Explains what becomes of a request in `world`.
pub fn explain(world: &mut World, question: &Question) -> Result<Explanation, ExplainError> {
    prepare(world, &question.start);
    let beginning = begin(world, question)?;
    let mut explanation = Explanation {
        unresolved: beginning.unresolved,
        ignored: world.ignored().to_vec(),
        ..Explanation::default()
    };
    let mut known = beginning.because;
    let mut next = Some(beginning.arrival);
    // What the next proxy's client speaks and says.
    let mut speaks = question.protocol;
    let mut head = hop::head(question);
    while let Some(arrival) = next.take() {
        let asked = HopRequest { question, speaks, head };
        let taken = take_hop(world, &asked, &arrival, std::mem::take(&mut known))?;
        let HopResult { mut hop, onwards, head: sent } = taken;
        head = sent.map_or(asked.head, Ok);
        let done = arrival.direction == Direction::Inbound && !is_gateway(world, &arrival.pod);
        speaks = hop.request.as_ref().map_or(speaks, |sent| sent.protocol);
        if question.method == http::Method::HEAD {
            hop.body = None;
        }
        explanation.hops.push(hop);
        if !done && explanation.hops.len() < LONGEST {
            next = onwards.and_then(|address| arrive(world, address));
        }
    }
    Ok(explanation)
}

/// The question as one proxy meets it.
struct HopRequest<'q> {
    question: &'q Question,
    /// What the proxy's client speaks.
    speaks: Protocol,
    /// The head that the proxy reads, or the answer to one that no proxy can.
    head: Result<Parts, Reply>,
}

/// Sees to it that there is a gateway when a request begins there.
pub(crate) fn prepare(world: &mut World, start: &Start) {
    if *start == Start::Ingress && gateway(world).is_err() {
        world.add_gateway();
    }
}

/// The proxy that a connection to `address` meets, if there is one.
fn arrive(world: &World, address: SocketAddr) -> Option<ProxiedConnection> {
    let destination = world.behind(address)?;
    let pod = world.pod_at(destination).filter(|pod| world.has_proxy(pod))?;
    Some(ProxiedConnection {
        pod: name_of(pod),
        direction: Direction::Inbound,
        dialled: destination.into(),
    })
}

fn is_gateway(world: &World, name: &PodName) -> bool {
    world.pod(name).is_some_and(|pod| world.client(pod).role == Role::Gateway)
}

/// What the proxy of one pod makes of a connection; `known` is what decided before.
fn take_hop(
    world: &mut World,
    asked: &HopRequest<'_>,
    arrival: &ProxiedConnection,
    known: Vec<Because>,
) -> Result<HopResult, ExplainError> {
    let pod = find(world, &arrival.pod)?.clone();
    let mut taken = match unseen(world, &pod, arrival) {
        Some(taken) => taken,
        None => decide(world, &pod, asked, arrival),
    };
    let hop = &mut taken.hop;
    // Where nothing listens, what listens is in the answer already.
    let is_new =
        |one: &Because| hop.details.as_deref() != Some(hop::NO_LISTENER) || one.verdict != "note";
    let known: Vec<Because> = known.into_iter().filter(is_new).collect();
    hop.because.splice(0..0, known);
    for because in hop.because.iter_mut().filter(|because| because.source.is_none()) {
        let origin = weft_config::Origin::new(because.object.clone(), because.rule.clone());
        because.source = world.place(&origin);
    }
    Ok(taken)
}

/// What the proxy of `pod` decides.
fn decide(
    world: &mut World,
    pod: &Pod,
    asked: &HopRequest<'_>,
    arrival: &ProxiedConnection,
) -> HopResult {
    let mut proxy = Proxy::new(world.client(pod), &mut world.translator);
    let dialled = arrival.dialled.address;
    let listener = match (arrival.direction, proxy.role()) {
        (Direction::Outbound, _) => Some("outbound".to_owned()),
        (Direction::Inbound, Role::Sidecar) => Some("inbound".to_owned()),
        (Direction::Inbound, Role::Gateway) => {
            proxy.table().listener_at(dialled).map(ToString::to_string)
        }
    };
    let Some(listener) = listener else {
        let listening = proxy.listening();
        let before = world.port_before(pod, dialled.port());
        let asked =
            SocketAddr::new(dialled.ip(), before.map_or(dialled.port(), |(_, before)| before));
        // Servers may be bound to other addresses of the port.
        let others = listening.iter().filter(|at| at.port() == dialled.port());
        let others: Vec<IpAddr> = others.map(SocketAddr::ip).collect();
        let other = listening_ports(world, pod, listening);
        return HopResult::end(hop::no_listener(&arrival.pod, asked, &others, &other));
    };
    let mut notes = Vec::new();
    let hello = asked.question.hello().map(Arc::new);
    let mut taken = match proxy.connection(&listener, dialled, hello.as_ref(), &mut notes) {
        Ok(connection) => serve(&mut proxy, connection, arrival, asked, &mut notes),
        Err(reply) => HopResult::end(hop::refused(arrival.pod.to_string(), &reply, &proxy)),
    };
    let left_out = remarks::left_out(proxy.left_out());
    let mut because = because(world, &notes);
    if is_gateway(world, &arrival.pod) {
        gateways::name(world, pod, dialled, asked, &mut because);
    }
    because.extend(left_out);
    taken.hop.because.splice(0..0, joined(because));
    let remarks = remarks::on(&taken.hop.because, &world.findings());
    taken.hop.because.extend(remarks);
    taken
}

fn serve(
    proxy: &mut Proxy<'_>,
    connection: Connection,
    arrival: &ProxiedConnection,
    asked: &HopRequest<'_>,
    notes: &mut Vec<Note>,
) -> HopResult {
    if let Connection::Detect(_) = connection {
        detected(asked, notes);
    }
    match connection {
        Connection::Http(scope) | Connection::Detect(scope) if asked.question.is_http() => {
            request(proxy, &scope, arrival, asked, notes)
        }
        Connection::Http(scope) | Connection::Detect(scope) => match scope.tcp {
            Some(tcp) => {
                if notes.is_empty() {
                    notes.push(not_http());
                }
                relay(proxy, &tcp, arrival, notes)
            }
            None => HopResult::end(hop::reply(
                arrival.pod.to_string(),
                &Failure::BadRequest("http1.codec_error").reply(),
            )),
        },
        Connection::Tcp(tcp) => relay(proxy, &tcp, arrival, notes),
    }
}

/// What the first bytes tell, where the port does not declare what it speaks.
fn detected(asked: &HopRequest<'_>, notes: &mut Vec<Note>) {
    // The server was looked at last.
    let Some(server) = notes.last() else { return };
    let seen = match (asked.question.is_http(), asked.speaks) {
        (true, Protocol::Http1) => "the connection begins with a request line, so it is HTTP/1.1",
        (true, Protocol::Http2) => "the connection begins with the preface of HTTP/2",
        (false, _) => "the connection does not begin as HTTP, so it is relayed",
    };
    let why = format!("the port declares no protocol; {seen}");
    notes.push(Note { origin: server.origin.clone(), verdict: Verdict::Matched, why });
}

/// That no host is read from a connection, where hosts decide.
fn not_http() -> Note {
    Note {
        origin: weft_config::Origin::new("MeshConfig", "outboundTrafficPolicy"),
        verdict: Verdict::Matched,
        why: "the connection does not begin as HTTP, so no host decides; it goes on as it is"
            .to_owned(),
    }
}

fn request(
    proxy: &mut Proxy<'_>,
    scope: &Scope,
    arrival: &ProxiedConnection,
    asked: &HopRequest<'_>,
    notes: &mut Vec<Note>,
) -> HopResult {
    let at = arrival.pod.to_string();
    let arrived = match &asked.head {
        Ok(head) => hop::arrive(head, asked.speaks, arrival, scope),
        Err(reply) => return HopResult::end(hop::reply(at, reply)),
    };
    let routed = match proxy.route(scope, &arrived, notes) {
        Ok(routed) => routed,
        Err(reply) => return HopResult::end(hop::refused(at, &reply, proxy)),
    };
    let (rule, backend) = (routed.rule(), routed.backend());
    let protocol = hop::http_version(backend, asked.speaks, &arrived);
    let before = arrived.head().headers.clone();
    let may_be_copied = arrived.may_be_copied();
    let (head, authority) = match routed.request(arrived) {
        Ok(changed) => changed,
        Err(reply) => return HopResult::end(hop::refused(at, &reply, proxy)),
    };
    let outcome = match routed.is_passthrough() {
        true => Outcome::Passthrough,
        false => hop::outcome(backend),
    };
    let mut hop = Hop::new(at.clone(), outcome);
    hop.destinations = hop::destinations(proxy, &routed, &arrival.dialled);
    hop.because = hop::backends(proxy.table(), &rule.data.action);
    let Some(onwards) = hop::address(backend, &arrival.dialled) else {
        let reply = Failure::NoEndpoint.reply().changed_by(routed.answer());
        let mut refused = hop::reply(at, &reply.held_up(routed.delay()));
        refused.destinations = hop.destinations;
        refused.because = hop.because;
        return HopResult::end(refused);
    };
    hop.because.extend(hop::downgrade(backend, asked.speaks));
    // What the client said, and what the rule makes of it.
    let is_shown = |name: &HeaderName| {
        asked.question.headers.contains_key(name)
            || before.get_all(name).iter().ne(head.headers.get_all(name))
    };
    if may_be_copied {
        hop.mirrors = hop::mirrors(proxy, &routed, &arrival.dialled);
    }
    hop.request = Some(hop::sent(&head, authority.as_ref(), protocol, is_shown));
    hop.timeout = rule.data.timeout.map(|limit| format!("{}s", limit.as_secs_f64()));
    hop.retries = rule.retries().cloned();
    HopResult { hop, onwards, head: Some(head) }
}

fn relay(
    proxy: &Proxy<'_>,
    tcp: &Tcp,
    arrival: &ProxiedConnection,
    notes: &mut Vec<Note>,
) -> HopResult {
    let at = arrival.pod.to_string();
    let dialled = &arrival.dialled;
    match proxy.relay(tcp, notes) {
        Err(reply) => HopResult::end(hop::refused(at, &reply, proxy)),
        Ok(backend) => match hop::address(&backend, dialled) {
            None => HopResult::end(hop::reply(
                at,
                &Reply { status: None, ..Failure::NoEndpoint.reply() },
            )),
            Some(onwards) => {
                let mut hop = Hop::new(at, hop::outcome(&backend));
                hop.destinations = hop::relayed(proxy, tcp, &backend, dialled);
                HopResult { hop, onwards, head: None }
            }
        },
    }
}

/// Joins what was found out about one rule or object in a row.
fn joined(because: Vec<Because>) -> Vec<Because> {
    let mut joined: Vec<Because> = Vec::with_capacity(because.len());
    for one in because {
        match joined.last_mut() {
            Some(last)
                if (&last.object, &last.rule, &last.verdict)
                    == (&one.object, &one.rule, &one.verdict) =>
            {
                if one.why != NO_CONDITIONS {
                    last.why.push_str("; ");
                    last.why.push_str(&one.why);
                }
            }
            _ => joined.push(one),
        }
    }
    joined
}

fn because(world: &World, notes: &[Note]) -> Vec<Because> {
    notes
        .iter()
        .filter(|note| !note.origin.object.is_empty())
        .map(|note| Because {
            object: note.origin.object.clone(),
            rule: note.origin.rule.clone(),
            source: world.place(&note.origin),
            verdict: note.verdict.as_str().to_owned(),
            why: note.why.clone(),
        })
        .collect()
}

/// The pod whose proxy is at `start`.
pub(crate) fn pod_of<'w>(world: &'w World, start: &Start) -> Result<&'w Pod, ExplainError> {
    match start {
        Start::Ingress => gateway(world),
        Start::From(name) | Start::At(name) => find(world, name),
    }
}

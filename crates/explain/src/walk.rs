//! The way of a request, proxy by proxy.

mod begin;
mod hop;
mod remarks;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use weft_api::kubernetes::Pod;
use weft_decide::{Connection, Note, Relay, Reply, Routed, Scope, Tcp, Verdict};
use weft_translate::Role;

use self::begin::{begin, doors, find, gateway, name_of};
use crate::{
    explanation::{Because, Explanation, Hop, Outcome, Protocol},
    proxy::Proxy,
    question::{PodName, Question, Start},
    world::World,
};

/// A way longer than this goes round in circles.
const LONGEST: usize = 8;

/// Stands for an address that the mesh does not know, where a name has none
/// (RFC 5737, for documentation). It is never told.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Why a request cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// No such pod or Deployment.
    #[error("there is no pod or Deployment {name}; there are: {known}")]
    NoPod {
        /// What was asked for.
        name: PodName,
        /// The names of what there is.
        known: String,
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

/// A connection on its way to a proxy.
struct Arrival {
    pod: PodName,
    side: Side,
    dialled: Dialled,
}

/// What a client dials.
#[derive(Clone, Debug)]
struct Dialled {
    address: SocketAddr,
    /// The host and port of which no address is known; `address` is then some that
    /// the mesh does not know.
    name: Option<String>,
}

impl Dialled {
    /// An address for a host that has none in the mesh.
    fn unknown(host: &str, port: u16) -> Self {
        Self { address: (OUTSIDE, port).into(), name: Some(format!("{host}:{port}")) }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address, if there is one to go on to.
    fn known(&self) -> Option<SocketAddr> {
        self.name.is_none().then_some(self.address)
    }
}

impl From<SocketAddr> for Dialled {
    fn from(address: SocketAddr) -> Self {
        Self { address, name: None }
    }
}

impl fmt::Display for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.address.fmt(f),
        }
    }
}

/// Which side of a pod a connection comes from.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Application,
    Network,
}

/// What a proxy makes of a connection: the hop, and where it goes on.
type Step = (Hop, Option<SocketAddr>);

/// Explains what becomes of a request in `world`.
pub fn explain(world: &mut World, question: &Question) -> Result<Explanation, ExplainError> {
    prepare(world, &question.start);
    let beginning = begin(world, question)?;
    let mut explanation =
        Explanation { unresolved: beginning.unresolved, ..Explanation::default() };
    let mut known = beginning.because;
    let mut next = Some(beginning.arrival);
    // What the next proxy's client speaks.
    let mut speaks = question.protocol;
    while let Some(arrival) = next.take() {
        let asked = Asked { question, speaks };
        let (mut hop, onwards) = take_hop(world, &asked, &arrival, std::mem::take(&mut known))?;
        let done = arrival.side == Side::Network && !is_gateway(world, &arrival.pod);
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
struct Asked<'q> {
    question: &'q Question,
    /// What the proxy's client speaks.
    speaks: Protocol,
}

/// Sees to it that there is a gateway when a request begins there.
pub(crate) fn prepare(world: &mut World, start: &Start) {
    if *start == Start::Ingress && gateway(world).is_err() {
        world.add_gateway();
    }
}

/// The proxy that a connection to `address` meets, if there is one.
fn arrive(world: &World, address: SocketAddr) -> Option<Arrival> {
    let destination = world.behind(address)?;
    let pod = world.pod_at(destination).filter(|pod| world.has_proxy(pod))?;
    Some(Arrival { pod: name_of(pod), side: Side::Network, dialled: destination.into() })
}

fn is_gateway(world: &World, name: &PodName) -> bool {
    world.pod(name).is_some_and(|pod| world.client(pod).role == Role::Gateway)
}

/// What the proxy of one pod makes of a connection; `known` is what decided before.
fn take_hop(
    world: &mut World,
    asked: &Asked<'_>,
    arrival: &Arrival,
    known: Vec<Because>,
) -> Result<Step, ExplainError> {
    let pod = find(world, &arrival.pod)?.clone();
    let (mut hop, onwards) = match unseen(world, &pod, arrival) {
        Some(step) => step,
        None => decide(world, &pod, asked, arrival),
    };
    // Where nothing listens, what listens is told already.
    let is_new =
        |one: &Because| hop.details.as_deref() != Some(hop::NO_LISTENER) || one.verdict != "note";
    let known: Vec<Because> = known.into_iter().filter(is_new).collect();
    hop.because.splice(0..0, known);
    for because in hop.because.iter_mut().filter(|because| because.source.is_none()) {
        let origin = weft_config::Origin::new(because.object.clone(), because.rule.clone());
        because.source = world.place(&origin);
    }
    Ok((hop, onwards))
}

/// What the proxy of `pod` decides.
fn decide(world: &mut World, pod: &Pod, asked: &Asked<'_>, arrival: &Arrival) -> Step {
    let mut proxy = Proxy::new(world.client(pod), &mut world.translator);
    let port = arrival.dialled.port();
    let listener = match (arrival.side, proxy.role()) {
        (Side::Application, _) => Some("outbound".to_owned()),
        (Side::Network, Role::Sidecar) => Some("inbound".to_owned()),
        (Side::Network, Role::Gateway) => proxy.listener_on(port),
    };
    let Some(listener) = listener else {
        let listening = proxy.listening();
        let asked = world.port_before(pod, port).map_or(port, |(_, before)| before);
        return (hop::unheard(&arrival.pod, asked, &doors(world, pod, listening)), None);
    };
    let mut notes = Vec::new();
    let connection = proxy.connection(&listener, arrival.dialled.address, &mut notes);
    let (mut hop, onwards) = serve(&mut proxy, connection, arrival, asked, &mut notes);
    hop.because.splice(0..0, because(world, &notes));
    let remarks = remarks::on(&hop.because, &world.translator.diagnostics());
    hop.because.extend(remarks);
    (hop, onwards)
}

fn serve(
    proxy: &mut Proxy<'_>,
    connection: Connection,
    arrival: &Arrival,
    asked: &Asked<'_>,
    notes: &mut Vec<Note>,
) -> Step {
    let at = arrival.pod.to_string();
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
            None => (hop::reply(at, &Reply::not_http()), None),
        },
        Connection::Tcp(tcp) => relay(proxy, &tcp, arrival, notes),
        Connection::Refuse(reply) => (hop::reply(at, &reply), None),
        Connection::Ask(_) => (hop::reply(at, &Reply::config_unavailable()), None),
    }
}

/// What the first bytes tell, where the port does not declare what it speaks.
fn detected(asked: &Asked<'_>, notes: &mut Vec<Note>) {
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
    arrival: &Arrival,
    asked: &Asked<'_>,
    notes: &mut Vec<Note>,
) -> Step {
    let at = arrival.pod.to_string();
    let question = asked.question;
    let mut sent = match hop::sent(question) {
        Ok(sent) => sent,
        Err(reply) => return (hop::reply(at, &reply), None),
    };
    let routed = proxy.route(
        scope,
        &weft_decide::Request {
            method: &question.method,
            scheme: "http",
            authority: &sent.authority,
            path_and_query: &sent.path,
            headers: &question.headers,
        },
        notes,
    );
    let (forward, outcome) = match routed {
        Routed::Forward(forward) => {
            let outcome = hop::outcome(&forward.backend);
            (forward, outcome)
        }
        Routed::Passthrough(forward) => (forward, Outcome::Passthrough),
        Routed::Reply(reply) => return (hop::reply(at, &reply), None),
        Routed::Ask(_) => return (hop::reply(at, &Reply::config_unavailable()), None),
    };
    let mut hop = Hop::new(at.clone(), outcome);
    hop.destinations = hop::destinations(proxy.table(), &forward, &arrival.dialled);
    hop.because = hop::backends(proxy.table(), &forward.rule.data.action);
    let Some(address) = hop::address(&forward.backend, &arrival.dialled) else {
        let mut refused = hop::reply(at, &Reply::no_endpoint());
        refused.destinations = hop.destinations;
        refused.because = hop.because;
        return (refused, None);
    };
    sent.protocol = hop::spoken(&forward.backend, asked.speaks, &question.headers);
    hop.because.extend(hop::downgrade(&forward.backend, asked.speaks));
    hop.request = Some(sent);
    hop.timeout = forward.rule.data.timeout.map(|limit| format!("{}s", limit.as_secs_f64()));
    hop.retries = forward.rule.retries().cloned();
    (hop, address)
}

fn relay(proxy: &Proxy<'_>, tcp: &Tcp, arrival: &Arrival, notes: &mut Vec<Note>) -> Step {
    let at = arrival.pod.to_string();
    let dialled = &arrival.dialled;
    match proxy.relay(tcp, notes) {
        Relay::Refuse(reply) => (hop::reply(at, &reply), None),
        Relay::To(backend) => match hop::address(&backend, dialled) {
            None => (hop::reply(at, &Reply { status: None, ..Reply::no_endpoint() }), None),
            Some(address) => {
                let outcome = hop::outcome(&backend);
                let mut hop = Hop::new(at, outcome);
                hop.destinations = hop::relayed(proxy.table(), tcp, &backend, dialled);
                (hop, address)
            }
        },
    }
}

/// A connection that no proxy sees: the pod has none, or it stays within the pod.
fn unseen(world: &World, pod: &Pod, arrival: &Arrival) -> Option<Step> {
    let leaves = arrival.side == Side::Application;
    let stays = leaves && arrival.dialled.address.ip().is_loopback();
    let why = match (world.has_proxy(pod), leaves) {
        _ if stays => "the address is the pod itself, and what stays in a pod meets no proxy",
        (true, _) => return None,
        (false, true) => {
            "the pod has no sidecar, so no rule of the mesh applies to what it sends; \
             label its namespace istio-injection=enabled and start it again"
        }
        (false, false) => {
            "the pod has no sidecar, so no rule of the mesh applies to what it is sent; \
             label its namespace istio-injection=enabled and start it again"
        }
    };
    let mut hop = Hop::new(arrival.pod.to_string(), Outcome::Passthrough);
    hop.because.push(Because {
        object: format!("Pod/{}/{}", pod.metadata.namespace, pod.metadata.name),
        rule: String::new(),
        source: None,
        verdict: "not matched".to_owned(),
        why: why.to_owned(),
    });
    Some((hop, arrival.dialled.known().filter(|_| leaves && !stays)))
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

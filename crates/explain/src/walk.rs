//! The way of a request, proxy by proxy.

mod hop;
mod remarks;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weft_api::kubernetes::Pod;
use weft_decide::{Connection, Note, Relay, Reply, Routed, Scope, Tcp};
use weft_translate::Role;

use crate::{
    explanation::{Because, Explanation, Hop, Outcome},
    proxy::Proxy,
    question::{PodName, Question, Scheme, Start},
    world::World,
};

/// A way longer than this goes round in circles.
const LONGEST: usize = 8;

/// How many pods are named to somebody who asked for one that is not there.
const LISTED: usize = 20;

/// What is dialled for a name that nobody in the mesh has (RFC 5737, for documentation).
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
}

/// A connection on its way to a proxy.
struct Arrival {
    pod: PodName,
    side: Side,
    destination: SocketAddr,
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
    let mut explanation = Explanation::default();
    let mut next = Some(begin(world, question)?);
    while let Some(arrival) = next.take() {
        let (hop, onwards) = take_hop(world, question, &arrival)?;
        let done = arrival.side == Side::Network && !is_gateway(world, &arrival.pod);
        explanation.hops.push(hop);
        if !done && explanation.hops.len() < LONGEST {
            next = onwards.and_then(|address| arrive(world, address));
        }
    }
    Ok(explanation)
}

/// Sees to it that there is a gateway when a request begins there.
pub(crate) fn prepare(world: &mut World, start: &Start) {
    if *start == Start::Ingress && gateway(world).is_err() {
        world.add_gateway();
    }
}

/// The pod of the question's beginning, and what it meets there.
fn begin(world: &World, question: &Question) -> Result<Arrival, ExplainError> {
    let (pod, side) = match &question.start {
        Start::Ingress => (gateway(world)?, Side::Network),
        Start::From(name) => (find(world, name)?, Side::Application),
        Start::At(name) => (find(world, name)?, Side::Network),
    };
    let own = || {
        let ip = pod.status.pod_ip.ok_or_else(|| ExplainError::NoAddress(name_of(pod)))?;
        Ok(SocketAddr::new(ip, world.container_port(pod, question.url.port)))
    };
    let destination = match (question.to, side) {
        (Some(to), Side::Application) => to,
        (Some(to), Side::Network) => world.behind(to).unwrap_or(to),
        (None, Side::Application) => dialled(world, question, &pod.metadata.namespace)
            .unwrap_or((OUTSIDE, question.url.port).into()),
        (None, Side::Network) => own()?,
    };
    Ok(Arrival { pod: name_of(pod), side, destination })
}

fn find<'w>(world: &'w World, name: &PodName) -> Result<&'w Pod, ExplainError> {
    world.pod(name).ok_or_else(|| {
        let mut known: Vec<_> = world.pods().map(|pod| name_of(pod).to_string()).collect();
        if known.len() > LISTED {
            known.truncate(LISTED);
            known.push("…".to_owned());
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        ExplainError::NoPod { name: name.clone(), known }
    })
}

/// The first pod that a Gateway selects, else the installed gateway's.
fn gateway(world: &World) -> Result<&Pod, ExplainError> {
    let is_gateway = |pod: &&Pod| world.client(pod).role == Role::Gateway;
    let mut pods = world.pods().filter(is_gateway);
    let first = pods.clone().find(|pod| world.is_selected(pod));
    first.or_else(|| pods.next()).ok_or(ExplainError::NoGateway)
}

/// The address that a client in `namespace` dials for the URL's host.
fn dialled(world: &World, question: &Question, namespace: &str) -> Option<SocketAddr> {
    let port = question.url.port;
    let host = question.url.host.to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Some(SocketAddr::new(ip, port));
    }
    let name = host.strip_suffix('.').unwrap_or(&host);
    let name = name.strip_suffix(".cluster.local").unwrap_or(name);
    let name = name.strip_suffix(".svc").unwrap_or(name);
    let labels: Vec<&str> = name.split('.').collect();
    let (pod, name, namespace) = match labels.as_slice() {
        [name] => (None, *name, namespace),
        [name, own] if world.service(own, name).is_some() => (None, *name, *own),
        [pod, name] => (Some(*pod), *name, namespace),
        [pod, name, own] => (Some(*pod), *name, *own),
        _ => return None,
    };
    let service = world.service(namespace, name)?;
    if let (Some(ip), None) = (service.addresses().next(), pod) {
        return Some(SocketAddr::new(ip, port));
    }
    let of_pod = |name: &str| pod.is_none_or(|pod| pod == name);
    let ip = world
        .slices(service)
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.target_ref.as_ref().is_none_or(|target| of_pod(&target.name)))
        .find_map(|endpoint| endpoint.addresses.first()?.parse().ok())?;
    Some(SocketAddr::new(ip, port))
}

/// The proxy that a connection to `address` meets, if there is one.
fn arrive(world: &World, address: SocketAddr) -> Option<Arrival> {
    let destination = world.behind(address)?;
    let pod = world.pod_at(destination).filter(|pod| world.has_proxy(pod))?;
    Some(Arrival { pod: name_of(pod), side: Side::Network, destination })
}

fn is_gateway(world: &World, name: &PodName) -> bool {
    world.pod(name).is_some_and(|pod| world.client(pod).role == Role::Gateway)
}

/// What the proxy of one pod makes of a connection.
fn take_hop(
    world: &mut World,
    question: &Question,
    arrival: &Arrival,
) -> Result<Step, ExplainError> {
    let pod = find(world, &arrival.pod)?.clone();
    if !world.has_proxy(&pod) {
        return Ok(without_proxy(&pod, arrival));
    }
    let mut proxy = Proxy::new(world.client(&pod), &mut world.translator);
    let listener = match (arrival.side, proxy.role()) {
        (Side::Application, _) => Some("outbound".to_owned()),
        (Side::Network, Role::Sidecar) => Some("inbound".to_owned()),
        (Side::Network, Role::Gateway) => proxy.listener_on(arrival.destination.port()),
    };
    let mut notes = Vec::new();
    let (mut hop, onwards) = match listener {
        None => (hop::unheard(&arrival.pod, arrival.destination), None),
        Some(listener) => {
            let connection = proxy.connection(&listener, arrival.destination, &mut notes);
            serve(&mut proxy, connection, arrival, question, &mut notes)
        }
    };
    if question.method == http::Method::HEAD {
        hop.body = None;
    }
    hop.because.splice(0..0, because(world, &notes));
    let remarks = remarks::on(&hop.because, &world.translator.diagnostics());
    hop.because.extend(remarks);
    for because in hop.because.iter_mut().filter(|because| because.source.is_none()) {
        let origin = weft_config::Origin::new(because.object.clone(), because.rule.clone());
        because.source = world.place(&origin);
    }
    Ok((hop, onwards))
}

fn serve(
    proxy: &mut Proxy<'_>,
    connection: Connection,
    arrival: &Arrival,
    question: &Question,
    notes: &mut Vec<Note>,
) -> Step {
    let at = arrival.pod.to_string();
    let is_http = question.url.scheme == Scheme::Http && question.server_name.is_none();
    match connection {
        Connection::Http(scope) | Connection::Detect(scope) if is_http => {
            request(proxy, &scope, arrival, question, notes)
        }
        Connection::Http(scope) | Connection::Detect(scope) => match scope.tcp {
            Some(tcp) => relay(proxy, &tcp, arrival, notes),
            None => (hop::reply(at, &Reply::not_http()), None),
        },
        Connection::Tcp(tcp) => relay(proxy, &tcp, arrival, notes),
        Connection::Refuse(reply) => (hop::reply(at, &reply), None),
        Connection::Ask(_) => (hop::reply(at, &Reply::config_unavailable()), None),
    }
}

fn request(
    proxy: &mut Proxy<'_>,
    scope: &Scope,
    arrival: &Arrival,
    question: &Question,
    notes: &mut Vec<Note>,
) -> Step {
    let at = arrival.pod.to_string();
    let sent = match hop::sent(question) {
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
    hop.destinations = hop::destinations(proxy.table(), &forward, arrival.destination);
    if arrival.destination.ip() == OUTSIDE && outcome == Outcome::Passthrough {
        let name = format!("{}:{}", question.url.host, question.url.port);
        hop.destinations.iter_mut().for_each(|one| one.endpoints = vec![name.clone()]);
    }
    hop.because = hop::backends(proxy.table(), &forward.rule.data.action);
    let Some(address) = hop::address(&forward.backend, arrival.destination) else {
        let mut refused = hop::reply(at, &Reply::no_endpoint());
        refused.destinations = hop.destinations;
        refused.because = hop.because;
        return (refused, None);
    };
    hop.request = Some(sent);
    hop.timeout = forward.rule.data.timeout.map(|limit| format!("{}s", limit.as_secs_f64()));
    hop.retries = forward.rule.retries().cloned();
    (hop, address)
}

fn relay(proxy: &Proxy<'_>, tcp: &Tcp, arrival: &Arrival, notes: &mut Vec<Note>) -> Step {
    let at = arrival.pod.to_string();
    match proxy.relay(tcp, notes) {
        Relay::Refuse(reply) => (hop::reply(at, &reply), None),
        Relay::To(backend) => match hop::address(&backend, arrival.destination) {
            None => (hop::reply(at, &Reply { status: None, ..Reply::no_endpoint() }), None),
            Some(address) => {
                let outcome = hop::outcome(&backend);
                let mut hop = Hop::new(at, outcome);
                hop.destinations = hop::relayed(proxy.table(), tcp, &backend, arrival.destination);
                (hop, address)
            }
        },
    }
}

/// A pod without a proxy: nothing takes the connection on its way.
fn without_proxy(pod: &Pod, arrival: &Arrival) -> Step {
    let mut hop = Hop::new(arrival.pod.to_string(), Outcome::Passthrough);
    hop.because.push(Because {
        object: format!("Pod/{}/{}", pod.metadata.namespace, pod.metadata.name),
        rule: String::new(),
        source: None,
        verdict: "not matched".to_owned(),
        why: "the pod has no sidecar, so no rule of the mesh applies to what it sends; \
              label its namespace istio-injection=enabled and start it again"
            .to_owned(),
    });
    (hop, Some(arrival.destination))
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

fn name_of(pod: &Pod) -> PodName {
    PodName { name: pod.metadata.name.clone(), namespace: pod.metadata.namespace.clone() }
}

/// The pod whose proxy is at `start`.
pub(crate) fn pod_of<'w>(world: &'w World, start: &Start) -> Result<&'w Pod, ExplainError> {
    match start {
        Start::Ingress => gateway(world),
        Start::From(name) | Start::At(name) => find(world, name),
    }
}

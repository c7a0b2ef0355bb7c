//! Where a request begins: the proxy that it meets first, and the address that is
//! dialled.

use std::net::SocketAddr;

use weft_api::{
    host_ports::{HostPort, is_local},
    kubernetes::{Pod, Service},
};
use weft_translate::{Client, Role};

use super::{Dialled, Direction, ExplainError, ProxiedConnection};
use crate::{
    explanation::{Because, Unresolved},
    names::{Lookup, resolve},
    question::{PodName, Question, Start},
    world::{World, selects},
};

/// How many workloads are named to a user who asked for one that is not there.
const LISTED: usize = 20;

/// The first proxy, and what is known before it sees anything.
pub(super) struct Beginning {
    pub(super) arrival: ProxiedConnection,
    pub(super) unresolved: Option<Unresolved>,
    pub(super) because: Vec<Because>,
}

impl Beginning {
    fn new(pod: &Pod, direction: Direction, dialled: Dialled) -> Self {
        let arrival = ProxiedConnection { pod: name_of(pod), direction, dialled };
        Self { arrival, unresolved: None, because: Vec::new() }
    }
}

/// The pod of the question's beginning, and what it meets there.
pub(super) fn begin(world: &World, question: &Question) -> Result<Beginning, ExplainError> {
    match &question.start {
        Start::Ingress => from_outside(world, question),
        Start::From(name) => Ok(from_pod(world, find(world, name)?, question)),
        Start::At(name) => {
            let pod = find(world, name)?;
            let dialled = match question.to {
                Some(to) => world.behind(to).unwrap_or(to),
                None => own(world, pod, question.url.port)?,
            };
            Ok(Beginning::new(pod, Direction::Inbound, dialled.into()))
        }
    }
}

fn from_pod(world: &World, pod: &Pod, question: &Question) -> Beginning {
    let new = |dialled| Beginning::new(pod, Direction::Outbound, dialled);
    let known = |address: SocketAddr| {
        let because = without_port(world, address).into_iter().collect();
        Beginning { because, ..new(address.into()) }
    };
    if let Some(to) = question.to {
        return known(to);
    }
    let url = &question.url;
    match resolve(world, &url.host, &pod.metadata.namespace) {
        Lookup::Address(ip) => known(SocketAddr::new(ip, url.port)),
        Lookup::Unresolved(unresolved) => {
            let dialled = Dialled::unknown(&url.host, url.port);
            Beginning { unresolved: Some(unresolved), ..new(dialled) }
        }
    }
}

/// That the address is a Service's and the port is not.
fn without_port(world: &World, address: SocketAddr) -> Option<Because> {
    let service = world.service_at(address.ip())?;
    let ports = &service.spec.ports;
    if ports.iter().any(|port| port.port == address.port()) {
        return None;
    }
    let ports: Vec<String> = ports.iter().map(|port| port.port.to_string()).collect();
    Some(Because {
        object: format!("Service/{}/{}", service.metadata.namespace, service.metadata.name),
        rule: String::new(),
        source: None,
        verdict: "note".to_owned(),
        why: format!(
            "it has no port {}, so nothing answers there; its ports are {}",
            address.port(),
            ports.join(", ")
        ),
    })
}

/// A client outside dials a port of the machine, else a port of the gateway: its
/// Service's, else its container's.
fn from_outside(world: &World, question: &Question) -> Result<Beginning, ExplainError> {
    let (host, port) = match question.to {
        Some(to) => (to.ip().to_string(), to.port()),
        None => (question.url.host.clone(), question.url.port),
    };
    let bound = world.host_ports();
    if let Some((service, at)) = bound.iter().find(|(_, at)| at.is_at(&host, port)) {
        return through(world, service, at);
    }
    let pod = gateway(world)?;
    if let Some(to) = question.to {
        let behind = world.behind(to).unwrap_or(to);
        return Ok(Beginning::new(pod, Direction::Inbound, behind.into()));
    }
    if world.port_behind(pod, port).is_none() && !is_local(&host) {
        // A name that the client's machine knows as itself.
        let same = bound.iter().find(|(_, at)| at.address.port() == port);
        if let Some((service, at)) = same {
            return through(world, service, at);
        }
    }
    let mut beginning = Beginning::new(pod, Direction::Inbound, own(world, pod, port)?.into());
    if is_local(&host) && !bound.is_empty() {
        let name = name_of(pod);
        beginning.because.push(Because {
            object: format!("Pod/{}/{}", name.namespace, name.name),
            rule: String::new(),
            source: None,
            verdict: "note".to_owned(),
            why: format!(
                "nothing of the mesh is at {host}:{port}, so {port} is taken for the gateway's own \
                 port; {}",
                on_this_machine(&bound)
            ),
        });
    }
    Ok(beginning)
}

/// In by a port of the machine that stands for a Service's.
fn through(world: &World, service: &Service, at: &HostPort) -> Result<Beginning, ExplainError> {
    let address = service.addresses().next();
    let behind = address.and_then(|ip| world.behind(SocketAddr::new(ip, at.port)));
    let serving = behind.and_then(|behind| Some((world.pod_at(behind)?, behind)));
    let (pod, dialled) = match serving {
        Some(serving) => serving,
        None => {
            let pod = world.pods().find(|pod| selects(service, pod));
            let pod = pod.ok_or_else(|| ExplainError::NothingBehind {
                address: at.spelled(),
                service: name(service),
            })?;
            (pod, own(world, pod, at.port)?)
        }
    };
    let mut beginning = Beginning::new(pod, Direction::Inbound, dialled.into());
    let index = service.spec.ports.iter().position(|port| port.port == at.port);
    beginning.because.push(Because {
        object: format!("Service/{}/{}", service.metadata.namespace, service.metadata.name),
        rule: index.map(|index| format!("ports[{index}]")).unwrap_or_default(),
        source: None,
        verdict: "matched".to_owned(),
        why: format!("{} on this machine is its port {}", at.spelled(), at.port),
    });
    Ok(beginning)
}

/// The ports that a gateway listens on, named when a client dials another one.
pub(super) fn listening_ports(world: &World, pod: &Pod, listening: Vec<SocketAddr>) -> String {
    let bound = world.host_ports();
    if !bound.is_empty() {
        return on_this_machine(&bound);
    }
    let before = |at: SocketAddr| {
        let port = at.port();
        world.port_before(pod, port).map_or(port, |(_, before)| before)
    };
    let mut listening: Vec<u16> = listening.into_iter().map(before).collect();
    listening.sort_unstable();
    listening.dedup();
    let listening: Vec<String> = listening.iter().map(ToString::to_string).collect();
    match listening.as_slice() {
        [] => "the gateway listens on no port at all".to_owned(),
        ports => format!("the gateway listens on {}", ports.join(", ")),
    }
}

fn on_this_machine(bound: &[(&Service, HostPort)]) -> String {
    let entry = |(service, at): &(&Service, HostPort)| {
        format!("{} (port {} of {})", at.spelled(), at.port, name(service))
    };
    let mut entries: Vec<String> = bound.iter().map(entry).collect();
    entries.sort();
    entries.dedup();
    format!("on this machine the mesh is at {}", entries.join(", "))
}

fn name(service: &Service) -> String {
    format!("{}.{}", service.metadata.name, service.metadata.namespace)
}

/// A pod's own address, with its port behind `port`.
fn own(world: &World, pod: &Pod, port: u16) -> Result<SocketAddr, ExplainError> {
    let ip = pod.status.pod_ip.ok_or_else(|| ExplainError::NoAddress(name_of(pod)))?;
    Ok(SocketAddr::new(ip, world.container_port(pod, port)))
}

/// The pod called so, or the first of a workload.
pub(super) fn find<'w>(world: &'w World, name: &PodName) -> Result<&'w Pod, ExplainError> {
    world.pod(name).ok_or_else(|| {
        // By workload, which is what people know; those of the namespace first.
        let mut known: Vec<PodName> = world.pods().map(workload_of).collect();
        known.sort_by_key(|one| (one.namespace != name.namespace, one.to_string()));
        known.dedup();
        let mut known: Vec<String> = known.iter().map(ToString::to_string).collect();
        if known.len() > LISTED {
            known.truncate(LISTED);
            known.push("…".to_owned());
        }
        let others = match known.is_empty() {
            true => "nor any other: add one to what is explained, or ask for `ingress`".to_owned(),
            false => format!("there are: {}", known.join(", ")),
        };
        ExplainError::NoPod { name: name.clone(), others }
    })
}

fn workload_of(pod: &Pod) -> PodName {
    let namespace = pod.metadata.namespace.clone();
    PodName { name: Client::of_pod(pod).workload.name, namespace }
}

/// The first pod that a Gateway selects, else the installed gateway's.
pub(super) fn gateway(world: &World) -> Result<&Pod, ExplainError> {
    let is_gateway = |pod: &&Pod| world.client(pod).role == Role::Gateway;
    let mut pods = world.pods().filter(is_gateway);
    let first = pods.clone().find(|pod| world.is_selected(pod));
    first.or_else(|| pods.next()).ok_or(ExplainError::NoGateway)
}

/// A pod's name.
pub(super) fn name_of(pod: &Pod) -> PodName {
    PodName { name: pod.metadata.name.clone(), namespace: pod.metadata.namespace.clone() }
}

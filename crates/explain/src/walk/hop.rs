//! From a decision to what is said of it.

use std::{collections::BTreeMap, net::SocketAddr};

use http::{HeaderMap, Version, header::HOST};
use weft_config::{Action, Discovery, Upstream};
use weft_decide::{CompiledBackend, Forward, Reply, Table, Tcp, Verdict, path, protocol};

use super::Dialled;
use crate::{
    explanation::{Because, Destination, Hop, Outcome, Protocol, Request},
    question::{PodName, Question},
};

/// The request as proxies send it on, or the answer to one that cannot be read
/// in one way only.
pub(super) fn sent(question: &Question) -> Result<Request, Reply> {
    let mut hosts = question.headers.get_all(HOST).iter();
    let authority = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Reply::two_hosts()),
        (Some(host), None) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        (None, None) => question.url.authority.clone(),
    };
    let path = path::normalise(&question.url.target).map_err(|_| Reply::bad_path())?;
    Ok(Request {
        method: question.method.to_string(),
        path: path.into_owned(),
        authority,
        protocol: Protocol::default(),
        headers: listed(&question.headers),
    })
}

fn listed(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut listed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| **name != HOST) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        listed.entry(name.to_string()).or_default().push(value);
    }
    listed
}

/// A hop that ends with `reply`.
pub(super) fn reply(at: String, reply: &Reply) -> Hop {
    let outcome = match reply.status {
        Some(_) => Outcome::Respond,
        None => Outcome::Refuse,
    };
    let mut hop = Hop::new(at, outcome);
    hop.status = reply.status;
    hop.flags = (!reply.flags.is_empty()).then(|| reply.flags.to_string());
    hop.details = Some(reply.details.to_string()).filter(|details| !details.is_empty());
    if !reply.body.is_empty() {
        hop.body = Some(reply.body.to_string());
        hop.headers.insert("content-type".to_owned(), vec!["text/plain".to_owned()]);
    }
    if let Some(backend) = &reply.backend {
        hop.destinations.extend(named(backend));
    }
    hop
}

/// The details of a hop where nobody listens.
pub(super) const NO_LISTENER: &str = "no_listener";

/// A hop where nobody listens; `where_else` says what does.
pub(super) fn unheard(pod: &PodName, port: u16, where_else: &str) -> Hop {
    let mut hop = Hop::new(pod.to_string(), Outcome::Refuse);
    hop.details = Some(NO_LISTENER.to_owned());
    hop.because.push(Because {
        object: format!("Pod/{}/{}", pod.namespace, pod.name),
        rule: String::new(),
        source: None,
        verdict: Verdict::Refused.as_str().to_owned(),
        why: format!(
            "nothing listens on port {port}: no server of a Gateway leads to it; {where_else}"
        ),
    });
    hop
}

/// Which HTTP is spoken to a backend when the client speaks `client`.
pub(super) fn spoken(backend: &CompiledBackend, client: Protocol, headers: &HeaderMap) -> Protocol {
    let (version, upgrade) = match client {
        Protocol::Http1 => (Version::HTTP_11, protocol::upgrades(headers)),
        Protocol::Http2 => (Version::HTTP_2, false),
    };
    match protocol::onwards(backend.data.upstream, version, upgrade) {
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// That HTTP/2 ends here, since the port is declared to speak HTTP/1.1.
pub(super) fn downgrade(backend: &CompiledBackend, client: Protocol) -> Option<Because> {
    let data = &backend.data;
    let (name, namespace) = data.service_name.as_ref()?;
    (client == Protocol::Http2 && data.upstream == Upstream::Http1).then(|| Because {
        object: format!("Service/{namespace}/{name}"),
        rule: String::new(),
        source: None,
        verdict: "note".to_owned(),
        why: format!(
            "the client speaks HTTP/2, and port {} is declared to speak HTTP/1.1; if the server \
             speaks HTTP/2, name the port http2-… or grpc-…",
            data.port
        ),
    })
}

/// Where a rule may send requests, by weight.
pub(super) fn destinations(
    table: &Table,
    forward: &Forward,
    dialled: &Dialled,
) -> Vec<Destination> {
    match &forward.rule.data.action {
        Action::Forward(targets) => {
            let targets = targets.iter().map(|target| (target.backend.as_str(), target.weight));
            shares(table, targets.collect(), dialled)
        }
        Action::Respond { .. } | Action::Passthrough => {
            vec![destination(&forward.backend, dialled)]
        }
    }
}

/// Where a connection may be relayed to, by weight.
pub(super) fn relayed(
    table: &Table,
    tcp: &Tcp,
    backend: &CompiledBackend,
    dialled: &Dialled,
) -> Vec<Destination> {
    match tcp.backends() {
        [] => vec![destination(backend, dialled)],
        backends => {
            let targets = backends.iter().map(|(name, weight)| (name.as_str(), *weight));
            shares(table, targets.collect(), dialled)
        }
    }
}

fn shares(table: &Table, targets: Vec<(&str, u32)>, dialled: &Dialled) -> Vec<Destination> {
    let single = targets.len() == 1;
    let share = |(name, weight): (&str, u32)| {
        let found = table.backend(name).map(|backend| destination(backend, dialled));
        let destination = found.or_else(|| named(name)).unwrap_or_default();
        Destination { weight: (!single).then_some(weight), ..destination }
    };
    targets.into_iter().map(share).collect()
}

/// What a backend stands for.
pub(super) fn destination(backend: &CompiledBackend, dialled: &Dialled) -> Destination {
    let data = &backend.data;
    let endpoints = match &data.discovery {
        Discovery::Endpoints(_) => {
            backend.members().iter().map(|member| member.endpoint.address.to_string()).collect()
        }
        Discovery::Original => vec![dialled.to_string()],
        Discovery::Fixed(address) => vec![address.to_string()],
        Discovery::Dns { host, port } => vec![format!("{host}:{port}")],
    };
    Destination {
        service: Some(data.service.clone()).filter(|service| !service.is_empty()),
        port: if data.port == 0 { dialled.port() } else { data.port },
        subset: data.subset.as_ref().map(|subset| subset.name.clone()),
        weight: None,
        endpoints,
    }
}

/// What the name of a backend that does not exist stands for.
fn named(backend: &str) -> Option<Destination> {
    let mut parts = backend.split('|').skip(1);
    let (port, subset, service) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Destination {
        service: Some(service.to_owned()).filter(|service| !service.is_empty()),
        port: port.parse().ok()?,
        subset: Some(subset.to_owned()).filter(|subset| !subset.is_empty()),
        weight: None,
        endpoints: Vec::new(),
    })
}

/// The objects that say what the destinations are.
pub(super) fn backends(table: &Table, action: &Action) -> Vec<Because> {
    let Action::Forward(targets) = action else { return Vec::new() };
    let mut because: Vec<Because> = Vec::new();
    for backend in targets.iter().filter_map(|target| table.backend(&target.backend)) {
        let data = &backend.data;
        if !matches!(data.discovery, Discovery::Endpoints(_)) || data.origin.object.is_empty() {
            continue;
        }
        let count = match backend.members().len() {
            1 => "1 endpoint".to_owned(),
            count => format!("{count} endpoints"),
        };
        let what = match &data.subset {
            Some(subset) => format!("subset {} of {}", subset.name, data.service),
            None => format!("{} port {}", data.service, data.port),
        };
        because.push(Because {
            object: data.origin.object.clone(),
            rule: data.origin.rule.clone(),
            source: None,
            verdict: "matched".to_owned(),
            why: format!("{what} has {count}"),
        });
    }
    because
}

/// Where a request to `backend` goes on to: the first endpoint; none when there
/// is no endpoint, and `Some(None)` when it leaves what the mesh knows.
pub(super) fn address(backend: &CompiledBackend, dialled: &Dialled) -> Option<Option<SocketAddr>> {
    match &backend.data.discovery {
        Discovery::Endpoints(_) => {
            backend.members().first().map(|member| Some(member.endpoint.address))
        }
        Discovery::Original => Some(dialled.known()),
        Discovery::Fixed(address) => Some(Some(*address)),
        Discovery::Dns { .. } => Some(None),
    }
}

/// Whether what goes to `backend` goes to a destination of the mesh.
pub(super) fn outcome(backend: &CompiledBackend) -> Outcome {
    let data = &backend.data;
    match data.discovery == Discovery::Original && data.service.is_empty() {
        true => Outcome::Passthrough,
        false => Outcome::Forward,
    }
}

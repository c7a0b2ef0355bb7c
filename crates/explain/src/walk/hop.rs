//! From a decision to what is said of it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header::HOST, request::Parts};
use weft_config::{
    Action, Backend, Discovery, HashCookie, HashKey, LoadBalancer, Upstream, fault::WHOLE,
};
use weft_decide::{
    Arrival, Arrived, Blame, CompiledBackend, Failure, NextHop, Reply, Routed, Scheme, Scope,
    Table, Tcp, Verdict, arrive::fields, protocol,
};
use weft_translate::BackendRef;

use super::{Dialled, Direction, ProxiedConnection};
use crate::{
    explanation::{Because, DecidedBy, Destination, Hop, Mirror, Outcome, Protocol, Request},
    proxy::Proxy,
    question::{PodName, Question},
};

/// Stands for the client's address, which is not known beforehand.
const CLIENT: HeaderValue = HeaderValue::from_static("<client>");

/// Stands for the request id that a proxy makes up.
const ID: [u8; 36] = *b"00000000-0000-4000-8000-000000000000";

/// The head as the client sends it; the codec's answer to one that is not HTTP.
pub(super) fn head(question: &Question) -> Result<Parts, Reply> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = question.method.clone();
    head.uri = question
        .url
        .target
        .parse::<Uri>()
        .map_err(|_| Failure::BadRequest("http1.codec_error").reply())?;
    head.headers = question.headers.clone();
    if !head.headers.contains_key(HOST) {
        let host = HeaderValue::try_from(&question.url.authority)
            .map_err(|_| Failure::BadRequest("http.invalid_authority").reply())?;
        fields::host_first(&mut head.headers, host);
    }
    Ok(head)
}

/// The request as a proxy reads it, which is met as `arrival` says.
pub(super) fn arrive(
    head: &Parts,
    speaks: Protocol,
    arrival: &ProxiedConnection,
    scope: &Scope,
) -> Arrived {
    let mut head = head.clone();
    head.version = match speaks {
        Protocol::Http1 => Version::HTTP_11,
        Protocol::Http2 => Version::HTTP_2,
    };
    let (direction, next) = match arrival.direction {
        _ if scope.edge => (weft_decide::Direction::Edge, NextHop::Elsewhere),
        Direction::Outbound => (weft_decide::Direction::Outbound, NextHop::Elsewhere),
        Direction::Inbound => (weft_decide::Direction::Inbound, NextHop::Application),
    };
    let destination = arrival.dialled.address;
    let arrival = Arrival { client: None, destination, direction, next, scheme: Scheme::Http };
    let mut arrived = Arrived::read(head, arrival);
    arrived.announce(|| CLIENT, || ID);
    arrived
}

/// The request as it is sent on, with those of its fields for which `is_shown` holds.
pub(super) fn sent(
    head: &Parts,
    authority: Option<&HeaderValue>,
    protocol: Protocol,
    is_shown: impl Fn(&HeaderName) -> bool,
) -> Request {
    let authority = authority.map_or(&b""[..], HeaderValue::as_bytes);
    let headers = fields(&head.headers, |name| *name != HOST && is_shown(name));
    Request {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        authority: String::from_utf8_lossy(authority).into_owned(),
        protocol,
        headers,
    }
}

/// The fields of `headers` for which `is_shown` holds, by name.
fn fields(
    headers: &HeaderMap,
    is_shown: impl Fn(&HeaderName) -> bool,
) -> BTreeMap<String, Vec<String>> {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_shown(name)) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        shown.entry(name.to_string()).or_default().push(value);
    }
    shown
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
    let origin = reply.origin.as_ref().filter(|origin| !origin.object.is_empty());
    hop.decided_by =
        origin.map(|origin| DecidedBy { object: origin.object.clone(), rule: origin.rule.clone() });
    hop.blame = reply.blame.map(Blame::as_str);
    if !reply.body.is_empty() {
        hop.body = Some(reply.body.to_string());
    }
    if let Some(status) = reply.status {
        let mut headers = HeaderMap::new();
        reply.write_head(&mut headers, status);
        hop.headers = fields(&headers, |_| true);
    }
    hop
}

/// A hop that ends with what `proxy` replies; what the request was meant for is named, whether
/// that is there or not.
pub(super) fn refused(at: String, reply: &Reply, proxy: &Proxy<'_>) -> Hop {
    let mut hop = self::reply(at, reply);
    let Some(name) = &reply.backend else { return hop };
    let closed = proxy.table().backend(name).filter(|backend| !backend.data.service.is_empty());
    let closed = closed.map(|backend| {
        let Backend { service, port, subset, .. } = &*backend.data;
        let subset = subset.as_ref().map(|subset| subset.name.clone());
        named(service, *port, subset)
    });
    hop.destinations.extend(closed.or_else(|| missing(name, proxy)));
    hop
}

/// The details of a hop where nothing listens.
pub(super) const NO_LISTENER: &str = "no_listener";

/// A hop where nothing listens at the address `dialled`; `others` are addresses where something
/// has the port, and `where_else` says what listens.
pub(super) fn no_listener(
    pod: &PodName,
    dialled: SocketAddr,
    others: &[IpAddr],
    where_else: &str,
) -> Hop {
    let port = dialled.port();
    let why = match others {
        [] => format!("nothing listens on port {port}: no server of a Gateway leads to it"),
        [one, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" or one of {more} others"),
            };
            format!(
                "nothing listens on port {port} at {}: the servers of Gateways for it are bound \
                 to {one}{more}",
                dialled.ip()
            )
        }
    };
    let mut hop = Hop::new(pod.to_string(), Outcome::Refuse);
    hop.details = Some(NO_LISTENER.to_owned());
    hop.because.push(Because {
        object: format!("Pod/{}/{}", pod.namespace, pod.name),
        rule: String::new(),
        source: None,
        verdict: Verdict::Refused.as_str().to_owned(),
        why: format!("{why}; {where_else}"),
    });
    hop
}

/// Which HTTP is spoken to a backend when the client speaks `client`.
pub(super) fn http_version(
    backend: &CompiledBackend,
    client: Protocol,
    arrived: &Arrived,
) -> Protocol {
    let version = match client {
        Protocol::Http1 => Version::HTTP_11,
        Protocol::Http2 => Version::HTTP_2,
    };
    match protocol::onwards(backend.data.upstream, version, arrived.asks_for_upgrade()) {
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
    proxy: &Proxy<'_>,
    routed: &Routed,
    dialled: &Dialled,
) -> Vec<Destination> {
    match &routed.rule().data.action {
        Action::Forward(targets) => {
            let targets = targets.iter().map(|target| (target.backend.as_str(), target.weight));
            shares(proxy, targets.collect(), dialled)
        }
        Action::Respond { .. } | Action::Redirect(_) | Action::Passthrough => {
            vec![destination(routed.backend(), dialled)]
        }
    }
}

/// Where copies of the requests of its rule go; to what does not exist none do.
pub(super) fn mirrors(proxy: &Proxy<'_>, routed: &Routed, dialled: &Dialled) -> Vec<Mirror> {
    let of_rule = &routed.rule().data.mirrors;
    let copied = of_rule.iter().filter(|mirror| mirror.share > 0).filter_map(|mirror| {
        let backend = proxy.table().backend(&mirror.backend)?;
        let percent = f64::from(mirror.share) * 100.0 / f64::from(WHOLE);
        let is_open = backend.data.closed.is_none();
        is_open.then(|| Mirror { percent, destination: destination(backend, dialled) })
    });
    copied.collect()
}

/// Where a connection may be relayed to, by weight.
pub(super) fn relayed(
    proxy: &Proxy<'_>,
    tcp: &Tcp,
    backend: &CompiledBackend,
    dialled: &Dialled,
) -> Vec<Destination> {
    match tcp.backends(proxy.table().settings()) {
        [] => vec![destination(backend, dialled)],
        backends => {
            let targets = backends.iter().map(|(name, weight)| (name.as_str(), *weight));
            shares(proxy, targets.collect(), dialled)
        }
    }
}

fn shares(proxy: &Proxy<'_>, targets: Vec<(&str, u32)>, dialled: &Dialled) -> Vec<Destination> {
    let single = targets.len() == 1;
    let share = |(name, weight): (&str, u32)| {
        let found = proxy.table().backend(name).map(|backend| destination(backend, dialled));
        let destination = found.or_else(|| missing(name, proxy)).unwrap_or_default();
        Destination { weight: (!single).then_some(weight), ..destination }
    };
    targets.into_iter().map(share).collect()
}

/// What a backend stands for.
pub(super) fn destination(backend: &CompiledBackend, dialled: &Dialled) -> Destination {
    let data = &backend.data;
    let endpoints = match &data.discovery {
        Discovery::Endpoints(_) => {
            backend.endpoints().map(|endpoint| endpoint.address.to_string()).collect()
        }
        Discovery::Nowhere => Vec::new(),
        Discovery::Original => vec![dialled.to_string()],
        Discovery::Fixed(address) => vec![address.to_string()],
        Discovery::Dns { host, port } => vec![format!("{host}:{port}")],
        Discovery::Names { names, .. } => {
            names.iter().map(|name| format!("{}:{}", name.host, name.port)).collect()
        }
        Discovery::Requested { port } => vec![format!("the requested host:{port}")],
    };
    Destination {
        service: Some(data.service.clone()).filter(|service| !service.is_empty()),
        port: if data.port == 0 { dialled.port() } else { data.port },
        subset: data.subset.as_ref().map(|subset| subset.name.clone()),
        weight: None,
        endpoints,
    }
}

/// What a backend that does not exist was meant to be.
fn missing(name: &str, proxy: &Proxy<'_>) -> Option<Destination> {
    let BackendRef { host, port, subset } = proxy.missing(name)?;
    Some(named(host, *port, subset.clone()))
}

fn named(service: &str, port: u16, subset: Option<String>) -> Destination {
    let service = Some(service.to_owned());
    Destination { service, port, subset, weight: None, endpoints: Vec::new() }
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
        let count = match backend.endpoints().count() {
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
            why: format!("{what} has {count}{}{}", chosen_by(data), left_out(data)),
        });
    }
    because
}

/// Whether endpoints that fail are left out, in words.
fn left_out(data: &Backend) -> &'static str {
    if data.outliers.is_some() { "; those that fail are left out for a while" } else { "" }
}

/// What keeps requests at one endpoint, in words.
fn chosen_by(data: &Backend) -> String {
    let LoadBalancer::Hash(key) = &data.load_balancer else { return String::new() };
    let without = match key {
        HashKey::SourceIp => "",
        HashKey::Cookie(HashCookie { ttl: Some(_), .. }) => "; clients without it are given one",
        HashKey::Header(_) | HashKey::Cookie(_) | HashKey::Query(_) => "; without it, to any",
    };
    format!("; a request goes to one by the hash of {key}{without}")
}

/// Where a request to `backend` goes on to: the first endpoint; none when there
/// is no endpoint, and `Some(None)` when it leaves what the mesh knows.
pub(super) fn address(backend: &CompiledBackend, dialled: &Dialled) -> Option<Option<SocketAddr>> {
    match &backend.data.discovery {
        Discovery::Endpoints(_) => {
            backend.endpoints().next().map(|endpoint| Some(endpoint.address))
        }
        Discovery::Nowhere => None,
        Discovery::Original => Some(dialled.known()),
        Discovery::Fixed(address) => Some(Some(*address)),
        Discovery::Dns { .. } | Discovery::Names { .. } | Discovery::Requested { .. } => Some(None),
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

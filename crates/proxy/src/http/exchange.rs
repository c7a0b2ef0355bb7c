//! One request, from its head to the head of its answer.
//!
//! Reads top to bottom: look at it, route it, send it, finish the answer. What
//! became of it is recorded by its [`Outcome`], however it ends.

use std::{convert::Infallible, rc::Rc};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version, header,
    request::Parts,
    uri::{PathAndQuery, Uri},
};
use hyper::upgrade::OnUpgrade;
use weft_config::Interest;
use weft_decide::{Forward, Reply, Routed, path};

use crate::{
    connection::{direction::Direction, downstream::Downstream},
    http::{body::Incoming, head, local_reply, request_body::Source, response_body::Payload},
    record::outcome::Outcome,
    upstream::forward::{self, Onward},
};

/// How often one request may ask for more configuration: its route, and what the
/// route turns out to need.
const MOST_QUESTIONS: usize = 3;

/// Answers one request of `downstream`.
pub async fn exchange(
    downstream: Rc<Downstream>,
    mut request: Request<Incoming>,
) -> Result<Response<Payload>, Infallible> {
    let direction = downstream.direction();
    let findings = head::inspect(request.headers(), direction);
    let upgrade = findings.upgrade.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let source = Source::of(body);
    let read = read(&mut parts, findings.hosts, &downstream);
    if findings.unwanted {
        head::strip_request(&mut parts.headers, direction, upgrade.is_some());
    }
    let worker = &downstream.worker;
    let id = || head::request_id(worker.random(), worker.random());
    head::announce(&mut parts.headers, direction, || downstream.client_text(), id);
    let authority = read.as_ref().ok().and_then(|read| read.authority.clone());
    let outcome = Outcome::begin(&downstream, &parts, authority.clone(), source.clone());
    let routed = match read {
        Ok(read) => route(&downstream, &parts, &read).await,
        Err(reply) => Err(reply),
    };
    let Way { forward, outside } = match routed {
        Ok(way) => way,
        Err(reply) => return Ok(local_reply::local(&reply, &parts, direction, outcome)),
    };
    if direction != Direction::Inbound
        && let Some(decorator) = worker.decorator(&forward.rule, &forward.backend)
    {
        parts.headers.insert(head::DECORATOR, decorator);
    }
    let onward = Onward { downstream, parts, source, authority, upgrade, forward, outside };
    Ok(forward::send(onward, outcome).await)
}

/// Where a request goes.
struct Way {
    forward: Forward,
    /// Whether that is nothing of the mesh.
    outside: bool,
}

/// What a request's head turned out to say.
struct Read {
    authority: Option<HeaderValue>,
    /// The path in its normal form, where it differs from what was sent.
    normal: Option<String>,
}

/// Reads the target and the host; what can be read in two ways is refused. The
/// target is left in origin form, as servers expect it.
fn read(parts: &mut Parts, hosts: usize, downstream: &Downstream) -> Result<Read, Reply> {
    if parts.method == Method::CONNECT {
        return Err(Reply::no_route());
    }
    if hosts > 1 {
        return Err(Reply::two_hosts());
    }
    let authority = match parts.uri.authority() {
        Some(authority) => {
            let authority = HeaderValue::try_from(authority.as_str());
            let authority = authority.map_err(|_| local_reply::bad_request("invalid_authority"))?;
            if parts.version != Version::HTTP_2 && hosts == 1 {
                parts.headers.insert(header::HOST, authority.clone());
            }
            Some(authority)
        }
        None => parts.headers.get(header::HOST).cloned(),
    };
    let known_scheme =
        |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if parts.uri.scheme_str().is_some_and(|scheme| !known_scheme(scheme)) {
        return Err(local_reply::bad_request("http1.invalid_scheme"));
    }
    let target = match parts.uri.path_and_query() {
        Some(target) => target.clone(),
        None => PathAndQuery::from_static("/"),
    };
    let normal = match path::normalise(target.as_str()) {
        Ok(normal) if normal == target.as_str() => None,
        Ok(normal) => Some(normal.into_owned()),
        Err(_) => return Err(Reply::bad_path()),
    };
    if let Some(normal) = &normal {
        let target = PathAndQuery::try_from(normal.as_str()).map_err(|_| Reply::bad_path())?;
        parts.uri = Uri::from(target);
    } else if parts.uri.authority().is_some() {
        parts.uri = Uri::from(target);
    }
    let authority = match authority {
        Some(authority) => Some(authority),
        None if parts.version == Version::HTTP_11 => {
            return Err(Reply::new(400, "missing_host_header"));
        }
        // HTTP/1.0 may leave it out: then it is what the client dialled.
        None => HeaderValue::try_from(downstream.destination.to_string()).ok(),
    };
    Ok(Read { authority, normal })
}

/// Routes a request, asking for configuration where that is needed.
async fn route(downstream: &Downstream, parts: &Parts, read: &Read) -> Result<Way, Reply> {
    let Some(scope) = &downstream.scope else { return Err(Reply::no_route()) };
    let authority = match &read.authority {
        Some(authority) => {
            authority.to_str().map_err(|_| local_reply::bad_request("invalid_host"))?
        }
        None => "",
    };
    let path_and_query = match &read.normal {
        Some(normal) => normal,
        None => parts.uri.path_and_query().map_or("/", PathAndQuery::as_str),
    };
    let request = weft_decide::Request {
        method: &parts.method,
        scheme: "http",
        authority,
        path_and_query,
        headers: &parts.headers,
    };
    let mut asked: Option<Interest> = None;
    for _ in 0..=MOST_QUESTIONS {
        let routed =
            downstream.worker.decide(|table, rng| table.route(scope, &request, rng, &mut ()));
        match routed {
            Routed::Forward(forward) => return Ok(Way { forward, outside: false }),
            Routed::Passthrough(forward) => return Ok(Way { forward, outside: true }),
            Routed::Reply(reply) => return Err(reply),
            Routed::Ask(interest) if asked.as_ref() == Some(&interest) => break,
            Routed::Ask(interest) => {
                if !downstream.worker.asks.ask(interest.clone()).await {
                    break;
                }
                asked = Some(interest);
            }
        }
    }
    Err(Reply::config_unavailable())
}

/// What hyper keeps about a request for another protocol.
pub type Upgrade = OnUpgrade;

/// The status of an answer that begins another protocol.
pub const SWITCHING: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

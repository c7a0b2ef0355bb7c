//! One request, from its head to the head of its answer.
//!
//! Reads top to bottom: read it, decide, send it, finish the answer. What became of it
//! is recorded by its [`Outcome`], however it ends.

use std::{convert::Infallible, rc::Rc};

use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use weft_decide::{Arrival, Arrived, Failure, NextHop, Reply, Routed, Scheme};

use crate::{
    config::on_demand::decide_on_demand,
    connection::{direction::Direction, downstream::Downstream},
    http::{body::Incoming, headers, local_reply, request_body::Source, response_body::Payload},
    telemetry::outcome::Outcome,
    upstream::forward::{self, UpstreamRequest},
};

/// Answers one request of `downstream`.
pub async fn serve_request(
    downstream: Rc<Downstream>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, Infallible> {
    let direction = downstream.direction();
    let worker = &downstream.worker;
    let (parts, body) = request.into_parts();
    let source = Source::of(body, &worker.buffers);
    if let Some(source) = &source {
        source.goes(direction.into());
    }
    let arrival = Arrival {
        client: Some(downstream.client),
        destination: downstream.destination,
        direction: direction.into(),
        next: match downstream.listener.leads_to_application() {
            true => NextHop::Application,
            false => NextHop::Elsewhere,
        },
        scheme: Scheme::Http,
    };
    let mut arrived = Arrived::read(parts, arrival);
    let id = || headers::request_id(worker.random(), worker.random());
    arrived.announce(|| downstream.client_text(), id);
    let authority = arrived.authority().cloned();
    let outcome = Outcome::begin(&downstream, arrived.head(), authority, source.clone());
    let routed = match decide(&downstream, &arrived).await {
        Ok(routed) => routed,
        Err(reply) => {
            hold_up(&reply).await;
            return Ok(local_reply::local(&reply, &arrived.head().method, direction, outcome));
        }
    };
    let upgrades = arrived.asks_for_upgrade();
    let method = arrived.head().method.clone();
    if direction != Direction::Inbound
        && let Some(decorator) = worker.decorator(routed.rule(), routed.backend())
    {
        arrived.insert(headers::DECORATOR, decorator);
    }
    let (mut parts, authority) = match routed.request(arrived) {
        Ok(changed) => changed,
        Err(reply) => {
            let reply = reply.held_up(routed.delay());
            hold_up(&reply).await;
            return Ok(local_reply::local(&reply, &method, direction, outcome));
        }
    };
    let upgrade = match upgrades {
        true => parts.extensions.remove::<OnUpgrade>(),
        false => None,
    };
    let affinity = routed.backend().affinity((&parts, authority.as_ref()), &arrival);
    let absolute = None;
    let request = UpstreamRequest {
        downstream,
        parts,
        source,
        authority,
        upgrade,
        routed,
        affinity,
        arrival,
        absolute,
    };
    Ok(forward::send(request, outcome).await)
}

/// Waits for as long as a fault holds `reply` up.
async fn hold_up(reply: &Reply) {
    if let Some(delay) = reply.delay() {
        tokio::time::sleep(delay).await;
    }
}

async fn decide(downstream: &Downstream, arrived: &Arrived) -> Result<Routed, Reply> {
    let Some(scope) = &downstream.scope else { return Err(Failure::NoRoute.reply()) };
    decide_on_demand(&downstream.worker, |table, answers, rng| {
        table.decide(scope, arrived, answers, (rng, &mut ()))
    })
    .await
}

//! Connections that are relayed as they are.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use weft_config::Interest;
use weft_decide::{Failure, Flag, Flags, Reply, Reported, Tcp};

use crate::{
    connection::{
        direction::Direction,
        downstream::Downstream,
        relay::{self, Passed, RelayError},
        server_first::{Connected, Preconnected},
    },
    io::{peeked::PeekedStream, stream::Stream},
    telemetry::{
        metrics::PeerId,
        outcome::{Kind, Outcome},
    },
    upstream::{
        dial::{self, DialError},
        endpoint_selection::UpstreamTarget,
        pool::PoolError,
    },
};

/// Longer than a proxy runs.
const WITHOUT_END: Duration = Duration::from_secs(u32::MAX as u64);

/// Selects where `tcp` leads for this connection.
pub async fn target(downstream: &Downstream, tcp: &Tcp) -> Result<UpstreamTarget, Reply> {
    let backend = downstream.worker.decide(|table, rng| table.relay(tcp, rng, &mut ()))?;
    UpstreamTarget::select(downstream, backend).await
}

/// Relays `stream` to where `tcp` leads, on a connection that may be there already.
pub async fn relay(
    downstream: &Rc<Downstream>,
    stream: PeekedStream,
    tcp: &Tcp,
    connected: Option<Connected>,
) {
    let interest = tcp.interest().cloned();
    let interest = interest.unwrap_or(Interest::Address(downstream.destination));
    let (mut target, server) = match connected {
        Some(Connected { stream, target }) => (target, Some(stream)),
        None => match begun(downstream, tcp).await {
            Ok((target, stream)) => (target, stream.map(PeekedStream::new)),
            Err(reply) => return refuse(downstream, &reply),
        },
    };
    let mut outcome = Outcome::blank(downstream, Kind::Connection);
    outcome.backend = Some(Arc::clone(&target.backend.name));
    let connected = match server {
        Some(server) => Ok(server),
        None => target.connect(downstream).await.map(PeekedStream::new),
    };
    outcome.host = Some(target.pool.address());
    outcome.peer = Some(target.peer(downstream));
    let server = match connected {
        Ok(server) => server,
        Err(error) => {
            outcome.failed(&match &error {
                PoolError::Overflow => Failure::TooManyConnections,
                _ => Failure::Unconnected,
            });
            outcome.transport_failure = match &error {
                PoolError::Dial(DialError::Refused(error)) => Some(dial::reason(error)),
                _ => None,
            };
            return;
        }
    };
    outcome.local = server.stream().local_addr();
    exchange(downstream, (stream, server), interest, (outcome, &target)).await;
}

/// Where the connection goes, with the connection opened during protocol detection, if any.
async fn begun(
    downstream: &Downstream,
    tcp: &Tcp,
) -> Result<(UpstreamTarget, Option<Stream>), Reply> {
    match downstream.preconnected.take() {
        Some(Preconnected { stream, target }) => Ok((target, stream)),
        None => Ok((target(downstream, tcp).await?, None)),
    }
}

/// Closes the connection for the reason of `reply`.
pub fn refuse(downstream: &Rc<Downstream>, reply: &Reply) {
    let mut outcome = Outcome::blank(downstream, Kind::Connection);
    outcome.flags = reply.flags;
    outcome.backend.clone_from(&reply.backend);
    // Access logs have the other causes as flags alone.
    if reply.flags.is_empty() || reply.flags == Flags::of(Flag::NoRoute) {
        outcome.details = reply.details.clone();
    }
}

async fn exchange(
    downstream: &Rc<Downstream>,
    (mut client, mut server): (PeekedStream, PeekedStream),
    interest: Interest,
    (mut outcome, target): (Box<Outcome>, &UpstreamTarget),
) {
    let in_flight = target.take_selected();
    if let Some(endpoint) = &in_flight {
        endpoint.report(Reported::Connected, Instant::now().into_std());
    }
    let _used = (downstream.direction() == Direction::Outbound)
        .then(|| downstream.worker.relays.begin(interest));
    let reporter = downstream.direction().reporter();
    let registry = &downstream.worker.registry;
    registry.borrow_mut().opened(outcome.peer.as_ref(), reporter);
    let passed = Passed::default();
    let ending = Ending { downstream, peer: outcome.peer.clone(), passed: &passed };
    let pool = target.backend.connections().map(|policy| &policy.data);
    let mut limits = downstream.relay_limits();
    if let Some(idle) = pool.and_then(|pool| pool.relay_idle) {
        limits.idle = if idle.is_zero() { WITHOUT_END } else { idle };
    }
    let most = pool.and_then(|pool| pool.max_duration);
    let ended = {
        let relaying = pin!(relay::relay(&mut client, &mut server, &passed, limits));
        match most {
            Some(most) => timeout(most, relaying).await,
            None => Ok(relaying.await),
        }
    };
    if ended.is_err() {
        outcome.flags = outcome.flags.and(Flag::Duration);
    }
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a relayed connection broke");
        // What one side did not end in order must not look so to the other.
        match error {
            RelayError::Client(_) => server.stream().reset_on_drop(),
            RelayError::Server(_) => client.stream().reset_on_drop(),
            RelayError::Idle(_) => {}
        }
    }
    drop(ending);
    outcome.relayed(passed.received.get(), passed.sent.get());
}

/// Counts the end of a connection, however it comes.
struct Ending<'a> {
    downstream: &'a Downstream,
    peer: Option<PeerId>,
    passed: &'a Passed,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let bytes = (self.passed.received.get(), self.passed.sent.get());
        let reporter = self.downstream.direction().reporter();
        self.downstream.worker.registry.borrow_mut().closed(self.peer.as_ref(), reporter, bytes);
    }
}

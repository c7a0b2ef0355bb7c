//! Connections that are relayed as they are.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

use weft_decide::{Ask, CompiledBackend, Endpoint, Failure, Pick, Reply, SelectedEndpoint, Tcp};

use crate::{
    connection::{
        downstream::Downstream,
        relay::{self, Passed, RelayError},
        server_first::{Connected, Preconnected},
    },
    io::{peeked::PeekedStream, stream::Stream},
    record::{
        metrics::PeerId,
        outcome::{Kind, Outcome},
    },
    upstream::{
        dial::{self, DialError},
        dns::Name,
        forward::peer_labels,
        pool::ConnectionPool,
    },
};

/// The connection pool of an endpoint, and the endpoint, if the mesh knows it.
pub type Selected = (Rc<ConnectionPool>, Option<SelectedEndpoint>);

/// Where a connection goes.
pub struct Target {
    /// Its connection pool.
    pub pool: Rc<ConnectionPool>,
    backend: Arc<CompiledBackend>,
    endpoint: Option<Arc<Endpoint>>,
    /// The count of this exchange, until it is handed on.
    picked: RefCell<Option<SelectedEndpoint>>,
    /// Further addresses of the same name.
    others: Vec<SocketAddr>,
    /// How long connecting may take: what looking up a name has left of it.
    limit: Duration,
}

impl Target {
    /// The endpoint, if it is one of `backend` and no exchange has it yet.
    pub fn hand_on(&self, backend: &Arc<CompiledBackend>) -> Option<Selected> {
        if !Arc::ptr_eq(&self.backend, backend) {
            return None;
        }
        let picked = self.picked.take();
        let is_free = picked.is_some() || self.endpoint.is_none();
        is_free.then(|| (Rc::clone(&self.pool), picked))
    }

    /// Connects, to further addresses of the name if it has to.
    pub async fn connect(&mut self, downstream: &Downstream) -> Result<Stream, DialError> {
        let deadline = Instant::now() + self.limit;
        loop {
            // Each address gets its share of the time that is left.
            let left = deadline.saturating_duration_since(Instant::now());
            let addresses = u32::try_from(self.others.len() + 1).unwrap_or(u32::MAX);
            let error = match self.pool.connect(left / addresses).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let worker = &downstream.worker;
            if self.endpoint.is_none() {
                worker.names.failed(self.pool.address());
            }
            if self.others.is_empty() {
                return Err(error);
            }
            self.pool = downstream.pool_to(self.others.remove(0));
        }
    }

    fn peer(&self, downstream: &Downstream) -> PeerId {
        self.pool.peer(&self.backend, self.endpoint.as_ref(), || {
            let labels = peer_labels(&self.backend, self.endpoint.as_deref());
            downstream.worker.registry.borrow_mut().peer(labels)
        })
    }
}

/// Where `tcp` leads for this connection.
pub async fn target(downstream: &Downstream, tcp: &Tcp) -> Result<Target, Reply> {
    let worker = &downstream.worker;
    let backend = worker.decide(|table, rng| table.relay(tcp, rng, &mut ()))?;
    let no_endpoint = || Failure::NoEndpoint.reply().about(&backend.name);
    let (began, limit) = (Instant::now(), backend.data.connect_timeout);
    let ask = Ask::at(began.into_std());
    let picked = worker.with_rng(|rng| backend.pick(downstream.destination, &ask, rng));
    let (mut addresses, picked) = match picked {
        None => return Err(no_endpoint()),
        Some(Pick::Endpoint(picked)) => (vec![picked.endpoint().data.address], Some(picked)),
        Some(Pick::Address(address)) => (vec![address], None),
        Some(Pick::Name { host, port }) => {
            let found = worker.names.addresses(&Name { host, port }, began + limit).await;
            (found.map(|addresses| addresses.to_vec()).unwrap_or_default(), None)
        }
    };
    // It would come back to the listener it came through.
    addresses.retain(|address| *address != downstream.local);
    if addresses.is_empty() {
        return Err(no_endpoint());
    }
    let pool = downstream.pool_to(addresses.remove(0));
    let limit = limit.saturating_sub(began.elapsed());
    let endpoint = picked.as_ref().map(|picked| Arc::clone(picked.endpoint()));
    let picked = RefCell::new(picked);
    Ok(Target { pool, backend, endpoint, picked, others: addresses, limit })
}

/// Relays `stream` to where `tcp` leads, on a connection that may be there already.
pub async fn relay(
    downstream: &Rc<Downstream>,
    stream: PeekedStream,
    tcp: &Tcp,
    connected: Option<Connected>,
) {
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
            outcome.failed(&Failure::Unconnected);
            outcome.transport_failure = match &error {
                DialError::Refused(error) => Some(dial::reason(error)),
                DialError::Timeout(_) => None,
            };
            return;
        }
    };
    outcome.local = server.stream().local_addr();
    exchange(downstream, stream, server, (outcome, &target)).await;
}

/// Where the connection goes, and what there is of the way already.
async fn begun(downstream: &Downstream, tcp: &Tcp) -> Result<(Target, Option<Stream>), Reply> {
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
    if reply.flags.is_empty() {
        outcome.details = reply.details.clone();
    }
}

async fn exchange(
    downstream: &Rc<Downstream>,
    mut client: PeekedStream,
    mut server: PeekedStream,
    (mut outcome, target): (Box<Outcome>, &Target),
) {
    let _in_flight = target.picked.take();
    let reporter = downstream.direction().reporter();
    let registry = &downstream.worker.registry;
    registry.borrow_mut().opened(outcome.peer.as_ref(), reporter);
    let passed = Passed::default();
    let ending = Ending { downstream, peer: outcome.peer.clone(), passed: &passed };
    let limits = downstream.relay_limits();
    if let Err(error) = relay::relay(&mut client, &mut server, &passed, limits).await {
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

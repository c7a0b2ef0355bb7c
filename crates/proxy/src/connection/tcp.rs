//! Connections that are relayed as they are.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::net::TcpStream;
use weft_decide::{CompiledBackend, Flag, Flags, Member, Pick, Relay, Reply, Tcp};

use crate::{
    connection::{
        downstream::Downstream,
        relay::{self, Passed},
        server_first::{Connected, Preconnected},
    },
    io::peeked::PeekedStream,
    record::{
        metrics::PeerId,
        outcome::{Kind, Outcome},
    },
    upstream::{
        dial::{self, DialError, Way},
        forward::peer_labels,
        pool::Line,
    },
};

/// A line to an endpoint, and which one it is.
pub type Picked = (Rc<Line>, Option<Arc<Member>>);

/// Where a connection goes.
pub struct Target {
    /// The line to it.
    pub line: Rc<Line>,
    backend: Arc<CompiledBackend>,
    member: Option<Arc<Member>>,
}

impl Target {
    /// The endpoint, if it is one of `backend`.
    pub fn of(&self, backend: &Arc<CompiledBackend>) -> Option<Picked> {
        let picked = || (Rc::clone(&self.line), self.member.clone());
        Arc::ptr_eq(&self.backend, backend).then(picked)
    }

    /// How long connecting may take.
    pub fn limit(&self) -> Duration {
        self.backend.data.connect_timeout
    }

    fn peer(&self, downstream: &Downstream) -> PeerId {
        self.line.peer(&self.backend, self.member.as_ref(), || {
            let labels = peer_labels(&self.backend, self.member.as_deref());
            downstream.worker.registry.borrow_mut().peer(labels)
        })
    }
}

/// Where `tcp` leads for this connection.
pub async fn target(downstream: &Downstream, tcp: &Tcp) -> Result<Target, Reply> {
    let worker = &downstream.worker;
    let relay = worker.decide(|table, rng| table.relay(tcp, rng, &mut ()));
    let backend = match relay {
        Relay::To(backend) => backend,
        Relay::Refuse(reply) => return Err(reply),
    };
    let picked = worker.with_rng(|rng| backend.pick(downstream.destination, &[], rng));
    let (address, member) = match picked {
        None => return Err(Reply::no_endpoint().about(&backend.name)),
        Some(Pick::Member(member)) => (member.endpoint.address, Some(member)),
        Some(Pick::Address(address)) => (address, None),
        Some(Pick::Name { host, port }) => {
            let addresses = worker.names.addresses(&host, port).await.unwrap_or_default();
            match addresses.first() {
                Some(address) => (*address, None),
                None => return Err(Reply::no_endpoint().about(&backend.name)),
            }
        }
    };
    if address == downstream.local {
        return Err(Reply::no_endpoint().about(&backend.name));
    }
    let application = downstream.listener.leads_to_application();
    let line = worker.lines.to(Way { address, application }, worker.dialer);
    Ok(Target { line, backend, member })
}

/// Relays `stream` to where `tcp` leads, on a connection that may be there already.
pub async fn relay(
    downstream: &Rc<Downstream>,
    stream: PeekedStream,
    tcp: &Tcp,
    connected: Option<Connected>,
) {
    let (target, server) = match connected {
        Some(Connected { stream, target }) => (target, Some(stream)),
        None => match begun(downstream, tcp).await {
            Ok(begun) => begun,
            Err(reply) => return refuse(downstream, &reply),
        },
    };
    let mut outcome = Outcome::blank(downstream, Kind::Connection);
    outcome.backend = Some(Arc::clone(&target.backend.name));
    outcome.host = Some(target.line.address());
    outcome.peer = target.peer(downstream);
    let server = match server {
        Some(server) => server,
        None => match target.line.connect(target.limit()).await {
            Ok(server) => server,
            Err(error) => {
                outcome.flags = Flags::of(Flag::TriesSpent).and(Flag::Connect);
                outcome.transport_failure = match &error {
                    DialError::Refused(error) => Some(dial::reason(error)),
                    DialError::Timeout(_) => None,
                };
                return;
            }
        },
    };
    outcome.local = server.local_addr().ok();
    exchange(downstream, stream, server, (outcome, &target)).await;
}

/// Where the connection goes, and what there is of the way already.
async fn begun(downstream: &Downstream, tcp: &Tcp) -> Result<(Target, Option<TcpStream>), Reply> {
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
    client: PeekedStream,
    server: TcpStream,
    (mut outcome, target): (Box<Outcome>, &Target),
) {
    let _in_flight = target.member.as_ref().map(|member| member.begin());
    let reporter = downstream.direction().reporter();
    let registry = &downstream.worker.registry;
    registry.borrow_mut().opened(outcome.peer, reporter);
    let passed = Passed::default();
    let ending = Ending { downstream, peer: outcome.peer, passed: &passed };
    if let Err(error) = relay::relay(client, server, &passed).await {
        tracing::debug!(%error, "a relayed connection broke");
    }
    drop(ending);
    outcome.relayed(passed.received.get(), passed.sent.get());
}

/// Counts the end of a connection, however it comes.
struct Ending<'a> {
    downstream: &'a Downstream,
    peer: PeerId,
    passed: &'a Passed,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let bytes = (self.passed.received.get(), self.passed.sent.get());
        let reporter = self.downstream.direction().reporter();
        self.downstream.worker.registry.borrow_mut().closed(self.peer, reporter, bytes);
    }
}

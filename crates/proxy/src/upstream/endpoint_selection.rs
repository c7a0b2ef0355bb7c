//! Where an attempt goes: the endpoint or address that a backend gives, for HTTP and TCP alike.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::HeaderValue;
use smallvec::SmallVec;
use tokio::time::Instant;
use weft_decide::{
    Ask, CompiledBackend, Endpoint, Failure, Pick, Reply, Reported, SelectedEndpoint, of_authority,
};

use crate::{
    connection::downstream::Downstream,
    io::stream::Stream,
    telemetry::metrics::{Peer, PeerId},
    upstream::{
        dns::Name,
        pool::{ConnectionPool, PoolError},
    },
};

/// What was selected for one attempt.
pub struct Selected {
    /// The connections to it.
    pub pool: Rc<ConnectionPool>,
    /// The endpoint, where the mesh knows it; the exchange counts there until this is dropped.
    pub endpoint: Option<SelectedEndpoint>,
}

/// What was selected for a connection that is relayed as it is, and the addresses to try next.
pub struct UpstreamTarget {
    /// The connections to it.
    pub pool: Rc<ConnectionPool>,
    /// The backend that it was selected from.
    pub backend: Arc<CompiledBackend>,
    endpoint: Option<Arc<Endpoint>>,
    /// The count of this exchange, until it is handed on.
    selected: RefCell<Option<SelectedEndpoint>>,
    /// Further addresses of the same name.
    others: Vec<SocketAddr>,
    /// How long connecting may take: what looking up a name has left of it.
    limit: Duration,
}

/// What a request says of where an attempt of it goes.
#[derive(Clone, Copy)]
pub struct Wanted<'r> {
    /// Requests with the same one stay together.
    pub hash: Option<u64>,
    /// Addresses that were tried: others are preferred.
    pub tried: &'r [SocketAddr],
    /// The host that it names, as it is sent.
    pub authority: Option<&'r HeaderValue>,
}

/// Selects an address of `backend` for one attempt of a request.
pub async fn select(
    downstream: &Downstream,
    backend: &Arc<CompiledBackend>,
    wanted: Wanted<'_>,
) -> Result<Selected, Reply> {
    let Wanted { hash, tried, authority } = wanted;
    let ask = Ask { hash, tried, ..Ask::at(Instant::now().into_std()) };
    let (addresses, endpoint) = addresses(downstream, backend, &ask, authority).await?;
    let fresh = addresses.iter().find(|address| !tried.contains(address));
    match fresh.or(addresses.first()) {
        // The connection would come back to the listener it came through.
        Some(address) if *address != downstream.local => {
            Ok(Selected { pool: downstream.pool_to(*address, backend), endpoint })
        }
        _ => Err(Failure::NoEndpoint.reply()),
    }
}

impl UpstreamTarget {
    /// Selects where a connection to `backend` goes.
    pub async fn select(
        downstream: &Downstream,
        backend: Arc<CompiledBackend>,
    ) -> Result<Self, Reply> {
        let began = Instant::now();
        let hash = backend.hash_of_connection(downstream.client);
        let ask = Ask { hash, ..Ask::at(began.into_std()) };
        let (addresses, selected) = addresses(downstream, &backend, &ask, None)
            .await
            .map_err(|reply| reply.about(&backend.name))?;
        // The connection would come back to the listener it came through.
        let mut others = addresses.into_iter().filter(|address| *address != downstream.local);
        let Some(first) = others.next() else {
            return Err(Failure::NoEndpoint.reply().about(&backend.name));
        };
        Ok(Self {
            pool: downstream.pool_to(first, &backend),
            limit: backend.data.connect_timeout.saturating_sub(began.elapsed()),
            backend,
            endpoint: selected.as_ref().map(|selected| Arc::clone(selected.endpoint())),
            selected: RefCell::new(selected),
            others: others.collect(),
        })
    }

    /// What was selected, if it is of `backend` and no exchange has it yet.
    pub fn hand_on(&self, backend: &Arc<CompiledBackend>) -> Option<Selected> {
        if !Arc::ptr_eq(&self.backend, backend) {
            return None;
        }
        let endpoint = self.take_selected();
        let is_free = endpoint.is_some() || self.endpoint.is_none();
        is_free.then(|| Selected { pool: Rc::clone(&self.pool), endpoint })
    }

    /// The count of this exchange at its endpoint, once.
    pub fn take_selected(&self) -> Option<SelectedEndpoint> {
        self.selected.take()
    }

    /// Connects; to further addresses of the name when the first refuses.
    pub async fn connect(&mut self, downstream: &Downstream) -> Result<Stream, PoolError> {
        let deadline = Instant::now() + self.limit;
        loop {
            // Each address gets its share of the time that is left.
            let left = deadline.saturating_duration_since(Instant::now());
            let addresses = u32::try_from(self.others.len() + 1).unwrap_or(u32::MAX);
            let error = match self.pool.connect(left / addresses).await {
                Ok(stream) => return Ok(stream),
                Err(PoolError::Overflow) => return Err(PoolError::Overflow),
                Err(error) => error,
            };
            if let Some(endpoint) = &*self.selected.borrow() {
                endpoint.report(Reported::Unreachable, Instant::now().into_std());
            }
            if self.endpoint.is_none() {
                downstream.worker.names.failed(self.pool.address());
            }
            if self.others.is_empty() {
                return Err(error);
            }
            self.pool = downstream.pool_to(self.others.remove(0), &self.backend);
        }
    }

    /// The metrics' id of the endpoint.
    pub fn peer(&self, downstream: &Downstream) -> PeerId {
        peer(downstream, &self.pool, &self.backend, self.endpoint.as_ref())
    }
}

/// The metrics' id of `endpoint` of `backend`, to which the connections of `pool` lead.
pub fn peer(
    downstream: &Downstream,
    pool: &ConnectionPool,
    backend: &Arc<CompiledBackend>,
    endpoint: Option<&Arc<Endpoint>>,
) -> PeerId {
    pool.peer(backend, endpoint, || {
        let labels = peer_labels(backend, endpoint.map(|endpoint| &**endpoint));
        downstream.worker.registry.borrow_mut().peer(labels)
    })
}

/// Addresses, and the endpoint that they are of.
type Given = (SmallVec<[SocketAddr; 1]>, Option<SelectedEndpoint>);

/// The addresses that `backend` gives, in the order to try them; none without an endpoint, or
/// when its name is not resolved within the time for connecting. It fails where there are
/// some, and all are out of reach.
async fn addresses(
    downstream: &Downstream,
    backend: &CompiledBackend,
    ask: &Ask<'_>,
    authority: Option<&HeaderValue>,
) -> Result<Given, Reply> {
    let worker = &downstream.worker;
    let reach = worker.dialer.reach();
    let mut dialled = false;
    let deadline = Instant::from_std(ask.now) + backend.data.connect_timeout;
    let (mut addresses, selected): Given =
        match worker.with_rng(|rng| backend.pick(downstream.destination, ask, rng)) {
            None => (SmallVec::new(), None),
            Some(Pick::Endpoint(selected)) => {
                (SmallVec::from_elem(selected.endpoint().data.address, 1), Some(selected))
            }
            // An application is dialled where its clients dialled it.
            Some(Pick::Address(address)) if downstream.listener.leads_to_application() => {
                return Ok((SmallVec::from_elem(address, 1), None));
            }
            Some(Pick::Address(address)) => {
                dialled = true;
                (SmallVec::from_elem(address, 1), None)
            }
            Some(Pick::Name { host, port }) => {
                let found = worker.names.addresses(&Name { host, port }, deadline).await;
                (found.map(|all| SmallVec::from_slice(&all)).unwrap_or_default(), None)
            }
            Some(Pick::Names { names, first_only }) => {
                let names = names.iter().map(|one| (one.host.as_str(), one.port));
                (named(downstream, names, first_only, deadline).await, None)
            }
            Some(Pick::Requested { port }) => {
                let host = authority.and_then(|authority| authority.to_str().ok());
                let host = host.map(of_authority);
                let names = host.as_deref().into_iter().map(|host| (host, port));
                (named(downstream, names, false, deadline).await, None)
            }
        };
    let found = addresses.len();
    addresses.retain(|address| match dialled {
        true => reach.includes_dialled(*address),
        false => reach.includes(*address),
    });
    match found > 0 && addresses.is_empty() {
        true => Err(Failure::OutOfReach.reply()),
        false => Ok((addresses, selected)),
    }
}

/// The addresses of the first of `names` that has some, from any of them on, so that all are used
/// alike, unless the first counts; those that could not be connected to a moment ago come last.
async fn named(
    downstream: &Downstream,
    names: impl Iterator<Item = (&str, u16)>,
    first_only: bool,
    deadline: Instant,
) -> SmallVec<[SocketAddr; 1]> {
    let worker = &downstream.worker;
    for (host, port) in names {
        let name = Name { host: host.into(), port };
        let Ok(found) = worker.names.addresses(&name, deadline).await else { continue };
        let mut found = SmallVec::from_slice(&found);
        let usable = worker.names.usable(&found);
        if !first_only && usable > 1 {
            let start = worker.with_rng(|rng| rng.below(usable));
            found[..usable].rotate_left(start);
        }
        if !found.is_empty() {
            return found;
        }
    }
    SmallVec::new()
}

/// The labels of metrics for an endpoint of `backend`.
fn peer_labels(backend: &CompiledBackend, endpoint: Option<&Endpoint>) -> Peer {
    let (service_name, service_namespace) = match &backend.data.service_name {
        Some((name, namespace)) => (name.clone(), namespace.clone()),
        None => (backend.data.name.clone(), String::new()),
    };
    Peer {
        service: backend.data.service.clone(),
        service_name,
        service_namespace,
        workload: endpoint.and_then(|one| one.data.workload.clone()).unwrap_or_default(),
    }
}

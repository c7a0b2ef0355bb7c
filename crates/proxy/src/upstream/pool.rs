//! Connections to servers, kept by each worker for itself.
//!
//! A pool has the connections of one [`PoolKey`]. An HTTP/1 connection serves one
//! exchange at a time, the most recently used connection first; an HTTP/2 connection is
//! shared. Which address a request goes to is not decided here.

mod pooled_connection;
mod http2_connections;
mod limited;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;
use weft_balance::Endpoint;
use weft_config::Limits;
use weft_decide::{CompiledBackend, ConnectionPolicy};

use crate::{
    http::{error::Error, http1::client::Client as Http1Client},
    io::{gathered::GatheredWriter, stream::Stream, tally::Tally},
    telemetry::metrics::PeerId,
    upstream::{
        dial::{DialError, Dialer},
        pool_key::PoolKey,
    },
};
use http2_connections::Http2Connections;
use limited::{Limited, Turn};
pub use pooled_connection::{PooledConnection, Unanswered, UpstreamResponse};

/// Idle connections to one address.
const MOST_IDLE: usize = 256;
/// Idle connections of a worker, to all addresses.
const MOST_IDLE_TOTAL: usize = 1024;
/// Endpoints of backends that one address is remembered as.
const MOST_PEERS: usize = 16;
/// Idle connections are closed after this.
const IDLE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// All connection pools of a worker.
#[derive(Default)]
pub struct ConnectionPools {
    pools: RefCell<HashMap<PoolKey, Rc<ConnectionPool>>>,
    idle: Rc<Cell<usize>>,
    tally: Rc<Tally>,
}

/// The connections with one key.
pub struct ConnectionPool {
    key: PoolKey,
    dialer: Dialer,
    idle: RefCell<Vec<Idle>>,
    /// Idle connections of all pools of the worker.
    idle_total: Rc<Cell<usize>>,
    http2: Http2Connections,
    /// Counts bytes of bodies that wait.
    tally: Rc<Tally>,
    peers: RefCell<Vec<KnownPeer>>,
    /// Set where the backend has settings for its connections.
    limited: Option<Limited>,
}

/// A connection of HTTP/1 without a request.
pub struct Idle {
    client: Http1Client,
    local: Option<SocketAddr>,
    since: Instant,
    made: Instant,
    /// Requests so far.
    served: u32,
}

/// The metrics' id of an endpoint that is reached through a backend. Keeps neither of them
/// alive, so that a replaced table is freed.
struct KnownPeer {
    backend: Weak<CompiledBackend>,
    endpoint: Option<Weak<Endpoint>>,
    peer: PeerId,
}

impl KnownPeer {
    fn is_alive(&self) -> bool {
        self.backend.strong_count() > 0
            && self.endpoint.as_ref().is_none_or(|endpoint| endpoint.strong_count() > 0)
    }
}

/// Why there is no connection to send on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No connection could be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A connection was made, and HTTP could not be begun on it.
    #[error("beginning HTTP")]
    Handshake(#[source] Error),
    /// The server closes every connection as soon as it is made.
    #[error("the server closed a new connection at once")]
    Closed,
    /// The backend has as many connections, or requests that wait for one, as it may.
    #[error("the backend has as many connections as it may")]
    Overflow,
}

impl ConnectionPools {
    /// None yet; bytes of bodies that wait are counted in `tally`.
    pub fn counted_in(tally: &Rc<Tally>) -> Self {
        Self { tally: Rc::clone(tally), ..Self::default() }
    }

    /// The pool of connections with `key`, of a backend with this `policy`.
    pub fn get(
        &self,
        key: PoolKey,
        dialer: &Dialer,
        policy: Option<&Arc<ConnectionPolicy>>,
    ) -> Rc<ConnectionPool> {
        if let Some(pool) = self.pools.borrow().get(&key) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(ConnectionPool {
            key,
            dialer: dialer.clone().probing(policy.and_then(|one| one.data.tcp_keep_alive)),
            idle: RefCell::default(),
            idle_total: Rc::clone(&self.idle),
            http2: Http2Connections::default(),
            tally: Rc::clone(&self.tally),
            peers: RefCell::default(),
            limited: policy.map(|policy| Limited::new(Arc::clone(policy))),
        });
        pool.watch();
        self.pools.borrow_mut().insert(key, Rc::clone(&pool));
        pool
    }

    /// Closes what was idle for too long, and removes unused pools.
    pub fn sweep(&self, now: Instant) {
        self.pools.borrow_mut().retain(|_, pool| {
            let idle = pool.close_idle(now);
            let shared = pool.http2.close_idle(now, pool);
            Rc::strong_count(pool) > 1 || idle || shared
        });
    }
}

impl ConnectionPool {
    /// What its connections have in common.
    pub fn key(&self) -> PoolKey {
        self.key
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        self.key.target.address
    }

    /// Opens a connection that is not pooled yet, for what is relayed as it is.
    pub async fn connect(&self, limit: Duration) -> Result<Stream, PoolError> {
        let permit = self.open_now()?;
        Ok(self.dialer.dial(self.key.target, limit).await?.counted_by(permit))
    }

    /// A connection for one exchange at a time: `preconnected`, else an idle one, else a new
    /// one that is opened within `limit`, for a client with so many exchanges `under_way`.
    pub async fn http1(
        self: &Rc<Self>,
        preconnected: Option<Stream>,
        within: (Duration, &Limits),
        under_way: usize,
    ) -> Result<PooledConnection, PoolError> {
        let wanted = self.limited.as_ref().is_some_and(Limited::are_wanted);
        if preconnected.is_none()
            && !wanted
            && let Some(idle) = self.pop_idle()
        {
            return Ok(PooledConnection::reused(self, idle));
        }
        self.begin_http1(preconnected, within, under_way).await
    }

    /// A connection that was not used before, made in the same way.
    pub async fn fresh_http1(
        self: &Rc<Self>,
        within: (Duration, &Limits),
        under_way: usize,
    ) -> Result<PooledConnection, PoolError> {
        self.begin_http1(None, within, under_way).await
    }

    async fn begin_http1(
        self: &Rc<Self>,
        preconnected: Option<Stream>,
        (limit, limits): (Duration, &Limits),
        under_way: usize,
    ) -> Result<PooledConnection, PoolError> {
        // One that waited may have been closed meanwhile, as an idle one.
        let idle = preconnected.is_some().then_some(Duration::ZERO);
        let (stream, _pending) = match preconnected {
            Some(stream) => (stream, None),
            None => {
                let room = match self.turn(limits.stalled).await? {
                    Turn::Kept(idle) => return Ok(PooledConnection::reused(self, *idle)),
                    Turn::Open(room) => room,
                };
                let dialled = self.dialer.dial_for(self.key.target, limit, under_way).await;
                (dialled?.counted_by(room.permit), room.pending)
            }
        };
        let local = stream.local_addr();
        let client = Http1Client::begin(GatheredWriter(stream), limits);
        let client = client.await.map_err(PoolError::Handshake)?;
        Ok(PooledConnection::http1(self, client, local, idle))
    }

    /// A stream slot on a shared connection. Without a free slot a connection is opened within
    /// `limit`, on `preconnected` if that is given.
    pub async fn http2(
        self: &Rc<Self>,
        preconnected: Option<Stream>,
        within: (Duration, &Limits),
    ) -> Result<PooledConnection, Rc<PoolError>> {
        let (slot, local, idle) = Http2Connections::join(self, preconnected, within).await?;
        Ok(PooledConnection::http2(self, slot, local, idle))
    }

    /// The number that metrics know the endpoint by; `make` is asked once.
    pub fn peer(
        &self,
        backend: &Arc<CompiledBackend>,
        endpoint: Option<&Arc<Endpoint>>,
        make: impl FnOnce() -> PeerId,
    ) -> PeerId {
        let mut peers = self.peers.borrow_mut();
        let same = |known: &&KnownPeer| {
            known.backend.as_ptr() == Arc::as_ptr(backend)
                && known.endpoint.as_ref().map(Weak::as_ptr) == endpoint.map(Arc::as_ptr)
        };
        if let Some(known) = peers.iter().find(same) {
            return known.peer.clone();
        }
        peers.retain(KnownPeer::is_alive);
        if peers.len() >= MOST_PEERS {
            peers.remove(0);
        }
        let peer = make();
        peers.push(KnownPeer {
            backend: Arc::downgrade(backend),
            endpoint: endpoint.map(Arc::downgrade),
            peer: peer.clone(),
        });
        peer
    }

    /// Keeps a connection for the next exchange. When there are many, the one that was
    /// idle for longest makes room.
    fn insert_idle(&self, new: Idle) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        if before >= MOST_IDLE || self.idle_total.get() >= MOST_IDLE_TOTAL {
            idle.retain(|one| !one.client.has_ended());
        }
        let full = idle.len() >= MOST_IDLE
            || self.idle_total.get() - (before - idle.len()) >= MOST_IDLE_TOTAL;
        if full && !idle.is_empty() {
            idle.remove(0);
        }
        if (!full || idle.len() < before) && !new.client.has_ended() {
            idle.push(new);
        }
        self.count_idle(before, idle.len());
    }

    /// The connection that was used last and can be used at once. One that cannot yet,
    /// because its server does not read, is not waited for.
    fn pop_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        while idle.pop_if(|one| self.is_over(one)).is_some() {}
        let at = idle.iter().rposition(|one| one.client.is_ready());
        let found = at.map(|at| idle.remove(at));
        self.count_idle(before, idle.len());
        found
    }

    /// Any connection without a request that has not ended.
    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|one| !self.is_over(one));
        let found = idle.pop();
        self.count_idle(before, idle.len());
        found
    }

    /// Whether a connection is not used any more.
    fn is_over(&self, idle: &Idle) -> bool {
        idle.client.has_ended()
            || self.limited.as_ref().is_some_and(|limited| {
                let kept = limited.kept_idle().is_none_or(|kept| idle.since.elapsed() < kept);
                !kept || limited.is_worn_out(idle.made, idle.served)
            })
    }

    /// How long a connection without a request is kept; without end if none.
    fn idle_limit(&self) -> Option<Duration> {
        self.limited.as_ref().map_or(Some(IDLE_LIMIT), Limited::kept_idle)
    }

    /// Closes what was idle for too long; whether any is left.
    fn close_idle(&self, now: Instant) -> bool {
        self.peers.borrow_mut().retain(KnownPeer::is_alive);
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        let limit = self.idle_limit();
        let fresh = |since: Instant| limit.is_none_or(|limit| now.duration_since(since) < limit);
        idle.retain(|one| fresh(one.since) && !self.is_over(one));
        self.count_idle(before, idle.len());
        !idle.is_empty()
    }

    fn count_idle(&self, before: usize, after: usize) {
        if let Some(limited) = &self.limited {
            limited.count_idle(before, after);
        }
        self.idle_total.set((self.idle_total.get() + after).saturating_sub(before));
    }
}

impl Drop for ConnectionPool {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().len();
        self.count_idle(idle, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        telemetry::metrics::{Peer, Registry},
        upstream::{dial::DialTarget, pool_key::Transport},
    };
    use weft_decide::Table;

    fn pool(pools: &ConnectionPools) -> Rc<ConnectionPool> {
        let target = DialTarget { address: ([127, 0, 0, 1], 1).into(), application: false };
        let transport = Transport::of(&Limits::edge());
        pools.get(PoolKey { target, transport, policy: None }, &Dialer::default(), None)
    }

    #[test]
    fn who_an_endpoint_is_is_remembered_within_bounds_and_keeps_no_table_alive() {
        let pools = ConnectionPools::default();
        let pool = pool(&pools);
        let mut registry = Registry::new(Arc::default());
        let backends: Vec<_> = (0..100).map(|_| Arc::clone(Table::new().passthrough())).collect();
        for backend in &backends {
            let mut made = 0;
            for _ in 0..2 {
                pool.peer(backend, None, || {
                    made += 1;
                    registry.peer(Peer::default())
                });
            }
            assert_eq!(made, 1);
            assert!(pool.peers.borrow().len() <= MOST_PEERS);
        }
        let last = Arc::downgrade(&backends[99]);
        drop(backends);
        assert!(last.upgrade().is_none());
        pools.sweep(Instant::now());
        assert!(pool.peers.borrow().is_empty());
    }
}

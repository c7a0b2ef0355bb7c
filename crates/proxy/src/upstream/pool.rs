//! Connections to servers, kept by each worker for itself.
//!
//! A line is what there is towards one address. HTTP/1 connections are used by
//! one exchange at a time, the last one used first; an HTTP/2 connection is
//! shared. Which address a request goes to is not decided here.

mod lease;
mod shared;

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
use weft_decide::CompiledBackend;

use crate::{
    http::{error::Error, http1},
    io::{gathered::GatheredWriter, stream::Stream},
    record::metrics::PeerId,
    upstream::dial::{DialError, Dialer, Way},
};
use lease::Sender;
pub use lease::{Answer, Lease, Unanswered};
use shared::Shared;

/// Idle connections to one address.
const MOST_IDLE: usize = 256;
/// Idle connections of a worker, to all addresses.
const MOST_IDLE_TOTAL: usize = 1024;
/// Endpoints of backends that one address is remembered as.
const MOST_PEERS: usize = 16;
/// Idle connections are closed after this.
const IDLE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// All lines of a worker.
#[derive(Default)]
pub struct Lines {
    lines: RefCell<HashMap<Way, Rc<Line>>>,
    idle: Rc<Cell<usize>>,
}

/// What there is towards one address.
pub struct Line {
    way: Way,
    dialer: Dialer,
    idle: RefCell<Vec<Idle>>,
    /// Idle connections of all lines of the worker.
    idle_total: Rc<Cell<usize>>,
    shared: Shared,
    peers: RefCell<Vec<Known>>,
}

struct Idle {
    client: http1::Client,
    local: Option<SocketAddr>,
    since: Instant,
}

/// Who the endpoint is for metrics, when reached through a backend. Neither is kept alive:
/// tables that were replaced go.
struct Known {
    backend: Weak<CompiledBackend>,
    endpoint: Option<Weak<Endpoint>>,
    peer: PeerId,
}

impl Known {
    fn is_there(&self) -> bool {
        self.backend.strong_count() > 0
            && self.endpoint.as_ref().is_none_or(|endpoint| endpoint.strong_count() > 0)
    }
}

/// Why there is no connection to send on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// None could be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was made, and HTTP could not be begun on it.
    #[error("beginning HTTP")]
    Handshake(#[source] Error),
    /// The server closes every connection as soon as it is made.
    #[error("the server closed a new connection at once")]
    Closed,
}

impl Lines {
    /// The line towards `way`.
    pub fn to(&self, way: Way, dialer: &Dialer) -> Rc<Line> {
        if let Some(line) = self.lines.borrow().get(&way) {
            return Rc::clone(line);
        }
        let line = Rc::new(Line {
            way,
            dialer: dialer.clone(),
            idle: RefCell::default(),
            idle_total: Rc::clone(&self.idle),
            shared: Shared::default(),
            peers: RefCell::default(),
        });
        self.lines.borrow_mut().insert(way, Rc::clone(&line));
        line
    }

    /// Closes what was idle for too long, and forgets lines that nobody uses.
    pub fn sweep(&self, now: Instant) {
        self.lines.borrow_mut().retain(|_, line| {
            let kept = line.look(now);
            let shared = line.shared.look(now);
            Rc::strong_count(line) > 1 || kept || shared
        });
    }
}

impl Line {
    /// Where it leads.
    pub fn way(&self) -> Way {
        self.way
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.way.address
    }

    /// A connection on which nothing was said yet.
    pub async fn connect(&self, limit: Duration) -> Result<Stream, DialError> {
        self.dialer.dial(self.way, limit).await
    }

    /// A connection that nobody else uses: `preconnected`, else one that is idle, else one
    /// that is made within `limit`.
    pub async fn http1(
        self: &Rc<Self>,
        preconnected: Option<Stream>,
        (limit, limits): (Duration, &Limits),
    ) -> Result<Lease, LineError> {
        if preconnected.is_none()
            && let Some(Idle { client, local, since }) = self.pop_idle()
        {
            return Ok(Lease::new(self, Sender::Http1(client), local, Some(since.elapsed())));
        }
        self.begin_http1(preconnected, (limit, limits)).await
    }

    /// A connection that was not used before, made within `limit`.
    pub async fn fresh_http1(
        self: &Rc<Self>,
        within: (Duration, &Limits),
    ) -> Result<Lease, LineError> {
        self.begin_http1(None, within).await
    }

    async fn begin_http1(
        self: &Rc<Self>,
        preconnected: Option<Stream>,
        (limit, limits): (Duration, &Limits),
    ) -> Result<Lease, LineError> {
        // One that waited may have been closed meanwhile, as an idle one.
        let idle = preconnected.is_some().then_some(Duration::ZERO);
        let stream = match preconnected {
            Some(stream) => stream,
            None => self.connect(limit).await?,
        };
        let local = stream.local_addr();
        let client = http1::Client::begin(GatheredWriter(stream), limits);
        let client = client.await.map_err(LineError::Handshake)?;
        Ok(Lease::new(self, Sender::Http1(client), local, idle))
    }

    /// A stream slot on a shared connection. Without a free slot a connection is opened within
    /// `limit`, on `preconnected` if that is given.
    pub async fn http2(
        self: &Rc<Self>,
        preconnected: Option<Stream>,
        within: (Duration, &Limits),
    ) -> Result<Lease, Rc<LineError>> {
        let (slot, local, idle) = Shared::join(self, preconnected, within).await?;
        Ok(Lease::new(self, Sender::Http2(slot), local, idle))
    }

    /// The number that metrics know the endpoint by; `make` is asked once.
    pub fn peer(
        &self,
        backend: &Arc<CompiledBackend>,
        endpoint: Option<&Arc<Endpoint>>,
        make: impl FnOnce() -> PeerId,
    ) -> PeerId {
        let mut peers = self.peers.borrow_mut();
        let same = |known: &&Known| {
            known.backend.as_ptr() == Arc::as_ptr(backend)
                && known.endpoint.as_ref().map(Weak::as_ptr) == endpoint.map(Arc::as_ptr)
        };
        if let Some(known) = peers.iter().find(same) {
            return known.peer.clone();
        }
        peers.retain(Known::is_there);
        if peers.len() >= MOST_PEERS {
            peers.remove(0);
        }
        let peer = make();
        peers.push(Known {
            backend: Arc::downgrade(backend),
            endpoint: endpoint.map(Arc::downgrade),
            peer: peer.clone(),
        });
        peer
    }

    /// Keeps a connection for the next exchange. When there are many, the one that was
    /// idle for longest makes room.
    fn keep(&self, client: http1::Client, local: Option<SocketAddr>) {
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
        if (!full || idle.len() < before) && !client.has_ended() {
            idle.push(Idle { client, local, since: Instant::now() });
        }
        self.count_idle(before, idle.len());
    }

    /// The connection that was used last and can be used at once. One that cannot yet,
    /// because its server does not read, is not waited for.
    fn pop_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        while idle.pop_if(|one| one.client.has_ended()).is_some() {}
        let at = idle.iter().rposition(|one| one.client.is_ready());
        let found = at.map(|at| idle.remove(at));
        self.count_idle(before, idle.len());
        found
    }

    /// Closes what was idle for too long; whether any is left.
    fn look(&self, now: Instant) -> bool {
        self.peers.borrow_mut().retain(Known::is_there);
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        let fresh = |since: Instant| now.duration_since(since) < IDLE_LIMIT;
        idle.retain(|one| fresh(one.since) && !one.client.has_ended());
        self.count_idle(before, idle.len());
        !idle.is_empty()
    }

    fn count_idle(&self, before: usize, after: usize) {
        self.idle_total.set((self.idle_total.get() + after).saturating_sub(before));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().len();
        self.count_idle(idle, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::metrics::{Peer, Registry};
    use weft_decide::Table;

    fn line(lines: &Lines) -> Rc<Line> {
        let way = Way { address: ([127, 0, 0, 1], 1).into(), application: false };
        lines.to(way, &Dialer::default())
    }

    #[test]
    fn who_an_endpoint_is_is_remembered_within_bounds_and_keeps_no_table_alive() {
        let lines = Lines::default();
        let line = line(&lines);
        let mut registry = Registry::new(Arc::default());
        let backends: Vec<_> = (0..100).map(|_| Arc::clone(Table::new().passthrough())).collect();
        for backend in &backends {
            let mut made = 0;
            for _ in 0..2 {
                line.peer(backend, None, || {
                    made += 1;
                    registry.peer(Peer::default())
                });
            }
            assert_eq!(made, 1);
            assert!(line.peers.borrow().len() <= MOST_PEERS);
        }
        let last = Arc::downgrade(&backends[99]);
        drop(backends);
        assert!(last.upgrade().is_none());
        lines.sweep(Instant::now());
        assert!(line.peers.borrow().is_empty());
    }
}

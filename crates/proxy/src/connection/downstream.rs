//! The client's end of an exchange: who it is, where it wanted to go, and how
//! it came here.

use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use http::HeaderValue;
use weft_decide::{CompiledBackend, Scope};

use crate::{
    connection::{direction::Direction, relay::RelayLimits, server_first::Preconnected},
    io::stream::Stream,
    listen::listener::Listener,
    upstream::{
        dial::DialTarget, endpoint_selection::Selected, pool::ConnectionPool, pool_key::PoolKey,
    },
    worker::{Counts, state::WorkerState},
};

/// The client's end.
pub struct Downstream {
    /// The state of the worker that serves it.
    pub worker: Rc<WorkerState>,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// The other end of the connection.
    pub client: SocketAddr,
    /// The address that the client dialled.
    pub destination: SocketAddr,
    /// This end of the connection.
    pub local: SocketAddr,
    /// The server that a TLS client asked for, where that was read.
    pub server_name: Option<String>,
    /// Which hosts are in play; none for what is relayed as it is.
    pub scope: Option<Scope>,
    /// The client's address as header fields have it, once it was needed.
    pub text: OnceCell<HeaderValue>,
    /// Since when no exchange is under way.
    pub idle_timer: Rc<IdleTimer>,
    /// What the connection is counted in; what it becomes by an upgrade is as well.
    pub counts: Option<Rc<Counts>>,
    /// A connection opened during protocol detection and not used yet.
    pub preconnected: RefCell<Option<Preconnected>>,
}

/// How many exchanges are under way on a connection and, when none is, since when.
#[derive(Debug)]
pub struct IdleTimer {
    exchanges: Cell<usize>,
    since: Cell<Instant>,
    ended: Cell<u64>,
    deadline: Cell<Option<Instant>>,
}

impl Default for IdleTimer {
    fn default() -> Self {
        Self {
            exchanges: Cell::new(0),
            since: Cell::new(Instant::now()),
            ended: Cell::new(0),
            deadline: Cell::new(None),
        }
    }
}

impl IdleTimer {
    /// An exchange begins.
    pub fn begin(&self) {
        self.exchanges.set(self.exchanges.get() + 1);
    }

    /// An exchange ends, at this moment.
    pub fn end(&self, now: Instant) {
        self.exchanges.set(self.exchanges.get().saturating_sub(1));
        self.since.set(now);
        self.ended.set(self.ended.get().wrapping_add(1));
        self.deadline.set(None);
    }

    /// Exchanges that are under way.
    pub fn under_way(&self) -> usize {
        self.exchanges.get()
    }

    /// Exchanges that have ended so far.
    pub fn ended(&self) -> u64 {
        self.ended.get()
    }

    /// When the exchange under way must be over, also while the client takes nothing.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// The exchange under way must be over at `deadline`.
    pub fn set_deadline(&self, deadline: Instant) {
        self.deadline.set(Some(deadline));
    }

    /// Since when no exchange is under way; none while one is.
    pub fn silent_since(&self) -> Option<Instant> {
        (self.exchanges.get() == 0).then(|| self.since.get())
    }
}

impl Downstream {
    /// The client's address as header fields have it.
    pub fn client_text(&self) -> HeaderValue {
        let text = || {
            HeaderValue::try_from(self.client.ip().to_string())
                .expect("an address is made of visible characters")
        };
        self.text.get_or_init(text).clone()
    }

    /// The endpoint of `backend` that was selected during protocol detection, until it is used.
    pub fn preconnected_to(&self, backend: &Arc<CompiledBackend>) -> Option<Selected> {
        self.preconnected.borrow().as_ref()?.target.hand_on(backend)
    }

    /// The connection opened during protocol detection if it has this `key`; it is closed if
    /// it leads elsewhere.
    pub fn take_preconnected(&self, key: PoolKey) -> Option<Stream> {
        let connected = self.preconnected.take()?;
        connected.stream.filter(|_| connected.target.pool.key() == key)
    }

    /// The same client's end for what is sent besides its exchanges: it counts in nothing, and
    /// takes nothing from them.
    pub fn besides(&self) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(&self.worker),
            listener: Arc::clone(&self.listener),
            client: self.client,
            destination: self.destination,
            local: self.local,
            server_name: None,
            scope: None,
            text: OnceCell::new(),
            idle_timer: Rc::default(),
            counts: None,
            preconnected: RefCell::new(None),
        })
    }

    /// The pool of connections of `backend` to `address`, which is dialled the way that its
    /// listener needs.
    pub fn pool_to(&self, address: SocketAddr, backend: &CompiledBackend) -> Rc<ConnectionPool> {
        let application = self.listener.leads_to_application();
        let target = DialTarget { address, application };
        let policy = backend.connections();
        let id = policy.map(|policy| policy.id);
        let key = PoolKey { target, transport: self.listener.transport, policy: id };
        self.worker.pools.get(key, &self.worker.dialer, policy)
    }

    /// What a relay of it may use up.
    pub fn relay_limits(&self) -> RelayLimits<'_> {
        let idle = self.listener.limits.relay_idle;
        RelayLimits { idle, buffers: &self.worker.buffers }
    }

    /// The direction of its traffic.
    pub fn direction(&self) -> Direction {
        match &self.scope {
            Some(scope) if scope.edge => Direction::Edge,
            Some(_) if self.listener.direction == Direction::Edge => Direction::Inbound,
            _ => self.listener.direction,
        }
    }
}

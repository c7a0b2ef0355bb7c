//! What one worker's connections share: its table, its connections to servers, its counts.
//!
//! Nothing here is shared with other workers but what `balance` shares. It serves no
//! connection itself, and does not know how that is done.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use http::HeaderValue;
use tokio::{sync::watch, time::Instant};
use weft_balance::Rng;
use weft_decide::{CompiledBackend, CompiledRule, Table};

use crate::{
    config::handle::ConfigHandle,
    connection::close_reason::CloseCounts,
    io::{buffer_limit::Buffers, tally::Tally},
    telemetry::{
        access_log::Sink,
        access_log::buffer::AccessLogBuffer,
        metrics::{Metrics, Registry},
    },
    upstream::{
        decorator::operation,
        dial::Dialer,
        dns::{Names, Resolver},
        forward::Copies,
        pool::ConnectionPools,
    },
    worker::live_relays::LiveRelays,
    worker::open_connections::OpenConnections,
    worker::pair_cache::PairCache,
};

/// Names of operations that a worker remembers.
const MOST_DECORATORS: usize = 1024;

/// What one worker's connections share.
pub struct WorkerState {
    /// How connections are made.
    pub dialer: Dialer,
    /// Connections to servers.
    pub pools: ConnectionPools,
    /// What is counted.
    pub registry: RefCell<Registry>,
    /// The access log.
    pub access_log: AccessLogBuffer,
    /// Requests to the configuration client.
    pub config: ConfigHandle,
    /// Open connections from clients, and whether they are to end.
    pub connections: Rc<OpenConnections>,
    /// Relays of all kinds, and what they go by.
    pub relays: Rc<LiveRelays>,
    /// Copies of requests that are under way.
    pub copies: Rc<Copies>,
    /// Addresses of names.
    pub names: Rc<Names>,
    /// Connections that were closed before anything was served on them.
    pub closed: Arc<CloseCounts>,
    /// Bytes that wait in all connections of the process.
    pub buffers: Arc<Buffers>,
    /// The same for bodies of HTTP.
    pub tally: Rc<Tally>,
    /// Names of operations.
    decorators: RefCell<PairCache<CompiledRule, CompiledBackend, HeaderValue>>,
    updates: RefCell<watch::Receiver<Arc<Table>>>,
    table: RefCell<Arc<Table>>,
    rng: RefCell<Rng>,
}

/// What a worker is made of.
#[derive(Clone)]
pub struct Parts {
    /// How connections are made.
    pub dialer: Dialer,
    /// How names outside of the mesh are looked up.
    pub resolver: Resolver,
    /// Where lines of the access log go.
    pub sink: Sink,
    /// What all workers count.
    pub metrics: Arc<Metrics>,
    /// Requests to the configuration client.
    pub config: ConfigHandle,
    /// The table in force.
    pub tables: watch::Receiver<Arc<Table>>,
    /// Connections that were closed before anything was served on them.
    pub closed: Arc<CloseCounts>,
    /// Bytes that wait in all connections of the process.
    pub buffers: Arc<Buffers>,
}

impl WorkerState {
    /// The state of a worker that has served nothing yet.
    pub fn new(parts: Parts, seed: u64) -> Self {
        let Parts { dialer, resolver, sink, metrics, config, mut tables, closed, buffers } = parts;
        let table = Arc::clone(&tables.borrow_and_update());
        let access_log = AccessLogBuffer::new(sink);
        access_log.configure(table.settings().access_log.as_ref());
        let tally = Tally::new(&buffers);
        Self {
            dialer,
            config,
            pools: ConnectionPools::counted_in(&tally),
            registry: RefCell::new(Registry::new(metrics)),
            access_log,
            connections: Rc::default(),
            relays: Rc::default(),
            copies: Rc::default(),
            names: Rc::new(Names::new(resolver)),
            closed,
            buffers,
            tally,
            decorators: RefCell::new(PairCache::new(MOST_DECORATORS)),
            updates: RefCell::new(tables),
            table: RefCell::new(table),
            rng: RefCell::new(Rng::new(seed)),
        }
    }

    /// Looks something up in the table in force.
    pub fn decide<T>(&self, look: impl FnOnce(&Table, &mut Rng) -> T) -> T {
        self.refresh();
        look(&self.table.borrow(), &mut self.rng.borrow_mut())
    }

    /// Goes by the table in force from now on.
    fn refresh(&self) {
        let mut updates = self.updates.borrow_mut();
        if updates.has_changed().unwrap_or(false) {
            let table = Arc::clone(&updates.borrow_and_update());
            self.access_log.configure(table.settings().access_log.as_ref());
            *self.table.borrow_mut() = table;
        }
    }

    /// Randomness of this thread.
    pub fn random(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    /// Randomness for what takes it as an argument.
    pub fn with_rng<T>(&self, use_it: impl FnOnce(&mut Rng) -> T) -> T {
        use_it(&mut self.rng.borrow_mut())
    }

    /// The name of the operation that `rule` sends to `backend`.
    pub fn decorator(
        &self,
        rule: &Arc<CompiledRule>,
        backend: &Arc<CompiledBackend>,
    ) -> Option<HeaderValue> {
        let make = || operation(&rule.data, &backend.data);
        self.decorators.borrow_mut().get(rule, backend, make)
    }

    /// Closes idle connections to servers, and forgets what is too old; to be called at
    /// regular intervals.
    pub fn sweep(&self) {
        // A worker without requests does not keep the table of its last one.
        self.refresh();
        self.relays.mark(&self.table.borrow());
        self.decorators.borrow_mut().sweep();
        self.pools.sweep(Instant::now());
        self.names.sweep();
        self.registry.borrow_mut().sweep();
    }
}

//! The series of the whole process, and what each worker keeps of them.
//!
//! A worker finds its own numbers of a series without a lock. Only a series that it
//! has never seen, or not for long, makes it go to the register that all share.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{
    Grpc, Peer, Reporter, Request,
    counters::{Connections, Numbers, Requests},
    status_label::Status,
};
use weft_decide::Flags;

/// Label sets of one process; what comes later is counted for the peer `overflow`.
pub const BUDGET: usize = 1000;
/// Label sets of requests with one peer, so that one peer does not use up the budget.
const SHARE: usize = 128;
/// Peers that one worker tells apart.
const MOST_PEERS: usize = 2048;
/// A series that was not used during so many sweeps in a row is dropped.
const IDLE_SWEEPS: u32 = 120;

/// Who is at the other end, as one worker knows it.
#[derive(Clone, Debug)]
pub struct PeerId(Rc<Known>);

#[derive(Debug)]
struct Known {
    peer: Peer,
    /// Label sets of requests that this worker counts for it.
    series: std::cell::Cell<usize>,
}

impl PeerId {
    fn new(peer: Peer) -> Self {
        Self(Rc::new(Known { peer, series: std::cell::Cell::new(0) }))
    }
}

/// Invariant: one worker has one id for each peer, so ids are told apart by address.
impl PartialEq for PeerId {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PeerId {}

impl Hash for PeerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.0).hash(state);
    }
}

/// What tells series of requests from another, beside the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// From which end it is reported.
    pub reporter: Reporter,
    /// The status.
    pub status: Status,
    /// The flags, packed.
    flags: u32,
    /// Whether gRPC was spoken, and what came of it.
    pub grpc: Grpc,
}

/// One series of the process: the numbers of all workers.
#[derive(Debug)]
pub struct Series<K, N: Numbers> {
    /// Who is at the other end.
    pub peer: Peer,
    /// What else tells it from others.
    pub kind: K,
    /// The flags of the access log.
    pub flags: Flags,
    parts: Mutex<Parts<N>>,
}

#[derive(Debug)]
struct Parts<N: Numbers> {
    cells: Vec<Arc<N>>,
    /// What was counted by workers that no longer count it.
    past: N::Total,
}

impl<K, N: Numbers> Series<K, N> {
    fn parts(&self) -> MutexGuard<'_, Parts<N>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all workers counted.
    pub fn total(&self) -> N::Total
    where
        N::Total: Clone,
    {
        let parts = self.parts();
        let mut total = parts.past.clone();
        parts.cells.iter().for_each(|cell| cell.add_to(&mut total));
        total
    }
}

/// The series of requests, as they are at some moment.
pub type RequestSeries = Arc<Series<Kind, Requests>>;
/// The series of connections, as they are at some moment.
pub type ConnectionSeries = Arc<Series<Reporter, Connections>>;

/// All series of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    shared: Mutex<Shared>,
    /// Whether the budget is used up.
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct Shared {
    requests: BTreeMap<(Peer, Kind), RequestSeries>,
    connections: BTreeMap<(Peer, Reporter), ConnectionSeries>,
}

impl Shared {
    fn is_full(&self) -> bool {
        self.requests.len() + self.connections.len() >= BUDGET
    }
}

impl Metrics {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Series are put in and taken out as a whole, so a poisoned lock is as good.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All series of requests, in a fixed order.
    pub fn requests(&self) -> Vec<RequestSeries> {
        self.shared().requests.values().map(Arc::clone).collect()
    }

    /// All series of connections, in a fixed order.
    pub fn connections(&self) -> Vec<ConnectionSeries> {
        self.shared().connections.values().map(Arc::clone).collect()
    }

    /// A worker's numbers of a series; none when the budget is used up.
    fn join_requests(&self, peer: &Peer, (kind, flags): (Kind, Flags)) -> Option<Arc<Requests>> {
        let mut shared = self.shared();
        let room = !shared.is_full() || peer.is_overflow();
        let cell = join(&mut shared.requests, (peer, kind, flags), room);
        self.full.store(shared.is_full(), Relaxed);
        cell
    }

    fn join_connections(&self, peer: &Peer, reporter: Reporter) -> Option<Arc<Connections>> {
        let mut shared = self.shared();
        let room = !shared.is_full() || peer.is_overflow();
        let cell = join(&mut shared.connections, (peer, reporter, Flags::default()), room);
        self.full.store(shared.is_full(), Relaxed);
        cell
    }

    fn leave_requests(&self, peer: &Peer, kind: Kind, cell: &Arc<Requests>) {
        let mut shared = self.shared();
        leave(&mut shared.requests, (peer.clone(), kind), cell);
        self.full.store(shared.is_full(), Relaxed);
    }

    fn leave_connections(&self, peer: &Peer, reporter: Reporter, cell: &Arc<Connections>) {
        let mut shared = self.shared();
        leave(&mut shared.connections, (peer.clone(), reporter), cell);
        self.full.store(shared.is_full(), Relaxed);
    }
}

type All<K, N> = BTreeMap<(Peer, K), Arc<Series<K, N>>>;

fn join<K: Ord + Copy, N: Numbers>(
    all: &mut All<K, N>,
    (peer, kind, flags): (&Peer, K, Flags),
    room: bool,
) -> Option<Arc<N>> {
    let key = (peer.clone(), kind);
    if !room && !all.contains_key(&key) {
        return None;
    }
    let series = all.entry(key).or_insert_with(|| {
        let parts = Mutex::new(Parts { cells: Vec::new(), past: N::Total::default() });
        Arc::new(Series { peer: peer.clone(), kind, flags, parts })
    });
    let cell = Arc::<N>::default();
    series.parts().cells.push(Arc::clone(&cell));
    Some(cell)
}

/// A series that is counted nowhere any more goes.
fn leave<K: Ord + Copy, N: Numbers>(all: &mut All<K, N>, key: (Peer, K), cell: &Arc<N>) {
    let Some(series) = all.get(&key) else { return };
    let mut parts = series.parts();
    parts.cells.retain(|one| !Arc::ptr_eq(one, cell));
    cell.add_to(&mut parts.past);
    let unused = parts.cells.is_empty();
    drop(parts);
    if unused {
        all.remove(&key);
    }
}

/// What one worker counts.
pub struct Registry {
    metrics: Arc<Metrics>,
    peers: HashMap<Peer, PeerId>,
    unknown: PeerId,
    overflow: PeerId,
    requests: HashMap<(PeerId, Kind), Local<Requests>>,
    connections: HashMap<(PeerId, Reporter), Local<Connections>>,
    /// Uses of series that were unknown here while the budget was used up.
    misses: u32,
}

/// A worker's own numbers of a series.
struct Local<N> {
    cell: Arc<N>,
    /// How often it had been used at the last sweep.
    seen: u64,
    /// Sweeps without a use.
    idle: u32,
}

impl<N: Numbers> Local<N> {
    fn new(cell: Arc<N>) -> Self {
        Self { cell, seen: 0, idle: 0 }
    }

    /// Whether it has been idle for long, asked once in each sweep.
    fn is_idle(&mut self) -> bool {
        let uses = self.cell.uses();
        let used = std::mem::replace(&mut self.seen, uses) != uses || !self.cell.is_settled();
        self.idle = if used { 0 } else { self.idle + 1 };
        self.idle >= IDLE_SWEEPS
    }
}

impl Registry {
    /// A worker that has counted nothing yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            peers: HashMap::new(),
            unknown: PeerId::new(Peer::default()),
            overflow: PeerId::new(Peer::overflow()),
            requests: HashMap::new(),
            connections: HashMap::new(),
            misses: 0,
        }
    }

    /// What `peer` is counted by.
    pub fn peer(&mut self, peer: Peer) -> PeerId {
        if let Some(id) = self.peers.get(&peer) {
            return id.clone();
        }
        if self.peers.len() >= MOST_PEERS {
            return self.overflow.clone();
        }
        let id = PeerId::new(peer.clone());
        self.peers.insert(peer, id.clone());
        id
    }

    /// Counts a request; one without a peer was exchanged with nobody known.
    pub fn request(&mut self, request: &Request) {
        let peer = request.peer.as_ref().unwrap_or(&self.unknown).clone();
        let kind = Kind {
            reporter: request.reporter,
            status: Status::of(request.status),
            flags: packed(request.flags),
            grpc: request.grpc.standard(),
        };
        let key = match self.has_requests(&(peer.clone(), kind), request.flags) {
            true => (peer, kind),
            false => {
                // At most one series for each class of statuses and reporter.
                let status = kind.status.class();
                let kind = Kind { status, flags: 0, grpc: Grpc::Plain, ..kind };
                let key = (self.overflow.clone(), kind);
                self.has_requests(&key, Flags::default());
                key
            }
        };
        if let Some(local) = self.requests.get(&key) {
            let bytes = (request.received, request.sent);
            local.cell.observe(request.duration, bytes, request.messages);
        }
    }

    /// Whether this worker counts the series, from now on at the latest.
    fn has_requests(&mut self, key: &(PeerId, Kind), flags: Flags) -> bool {
        if self.requests.contains_key(key) {
            return true;
        }
        let (peer, kind) = (Rc::clone(&key.0.0), key.1);
        let overflow = key.0 == self.overflow;
        if !overflow && (peer.series.get() >= SHARE || self.is_full()) {
            return false;
        }
        let Some(cell) = self.metrics.join_requests(&peer.peer, (kind, flags)) else {
            return false;
        };
        peer.series.set(peer.series.get() + 1);
        self.requests.insert(key.clone(), Local::new(cell));
        true
    }

    /// Counts a connection that begins.
    pub fn opened(&mut self, peer: Option<&PeerId>, reporter: Reporter) {
        if let Some(cell) = self.connections(peer, reporter) {
            cell.opened();
        }
    }

    /// Counts a connection that ends after so many bytes from and to the client.
    pub fn closed(&mut self, peer: Option<&PeerId>, reporter: Reporter, bytes: (u64, u64)) {
        if let Some(cell) = self.connections(peer, reporter) {
            cell.closed(bytes);
        }
    }

    fn connections(&mut self, peer: Option<&PeerId>, reporter: Reporter) -> Option<&Connections> {
        let peer = peer.unwrap_or(&self.unknown).clone();
        let key = match self.has_connections(&(peer.clone(), reporter)) {
            true => (peer, reporter),
            false => {
                let key = (self.overflow.clone(), reporter);
                self.has_connections(&key);
                key
            }
        };
        self.connections.get(&key).map(|local| &*local.cell)
    }

    fn has_connections(&mut self, key: &(PeerId, Reporter)) -> bool {
        if self.connections.contains_key(key) {
            return true;
        }
        if key.0 != self.overflow && self.is_full() {
            return false;
        }
        let cell = self.metrics.join_connections(&key.0.0.peer, key.1);
        cell.map(|cell| self.connections.insert(key.clone(), Local::new(cell))).is_some()
    }

    /// Whether the budget is used up. Now and then this says no all the same: another
    /// worker may count the very series that is unknown here.
    fn is_full(&mut self) -> bool {
        self.misses = self.misses.wrapping_add(1);
        self.metrics.full.load(Relaxed) && !self.misses.is_multiple_of(64)
    }

    /// Drops what has not been used for long; to be called at regular intervals.
    pub fn sweep(&mut self) {
        let metrics = &self.metrics;
        self.requests.retain(|(peer, kind), local| {
            let idle = local.is_idle();
            if idle {
                metrics.leave_requests(&peer.0.peer, *kind, &local.cell);
                peer.0.series.set(peer.0.series.get().saturating_sub(1));
            }
            !idle
        });
        self.connections.retain(|(peer, reporter), local| {
            let idle = local.is_idle();
            if idle {
                metrics.leave_connections(&peer.0.peer, *reporter, &local.cell);
            }
            !idle
        });
        self.peers.retain(|_, id| Rc::strong_count(&id.0) > 1);
    }
}

fn packed(flags: Flags) -> u32 {
    flags.iter().fold(0, |packed, flag| packed << 8 | (flag as u32 + 1))
}

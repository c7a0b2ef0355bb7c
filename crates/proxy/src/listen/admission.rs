//! Which connections are let in: as many as the limits allow, each to the worker with the
//! fewest.
//!
//! Close to a limit the idlest connections make room for new ones. At the limit, which is
//! reached when too few are idle, new ones are closed.

use std::{
    cell::Cell,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use weft_config::ProcessLimits;

use crate::{
    connection::close_reason::{CloseCounts, CloseReason},
    listen::{file_descriptors, listener::Listener, shedding::Shedding},
    worker::{Counted, Handle, Incoming},
};

/// Room is made when no more than one in so many of a limit's connections is left.
const MARGIN_SHARE: usize = 16;
/// Of the connections of a listener, or of all, one in so many is closed at once.
const SHED_SHARE: usize = 64;
/// How often a line is logged about connections that are not let in.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Lets connections in; belongs to the thread that accepts.
pub struct Admission {
    workers: Arc<Vec<Handle>>,
    shedding: Shedding,
    closed: Arc<CloseCounts>,
    /// The most connections of all listeners together.
    most: Cell<usize>,
    logged: Cell<Option<Instant>>,
}

impl Admission {
    /// Lets connections in to `workers`, and counts in `closed` those that it does not.
    pub fn new(workers: Arc<Vec<Handle>>, closed: Arc<CloseCounts>) -> Self {
        let most = Cell::new(file_descriptors::most_connections(&ProcessLimits::new()));
        let shedding = Shedding::new(Arc::clone(&workers));
        Self { workers, shedding, closed, most, logged: Cell::new(None) }
    }

    /// Goes by these limits from now on.
    pub fn limit(&self, limits: &ProcessLimits) {
        self.most.set(file_descriptors::most_connections(limits));
    }

    /// Gives a connection of `listener`, which has `open` of them, to a worker, or closes it.
    pub fn admit(
        &self,
        socket: TcpStream,
        client: SocketAddr,
        listener: &Arc<Listener>,
        open: &Arc<AtomicUsize>,
    ) {
        let all = self.workers.iter().filter_map(Handle::load).sum();
        let of_listener = open.load(Ordering::Relaxed);
        let limit = listener.limits.connections as usize;
        let has_room = self.has_room(all, self.most.get(), None)
            && self.has_room(of_listener, limit, Some(open));
        if !has_room {
            return self.refuse(CloseReason::Overload, listener);
        }
        let loads = self.workers.iter().filter_map(|worker| Some((worker.load()?, worker)));
        let Some((_, worker)) = loads.min_by_key(|(load, _)| *load) else {
            return self.refuse(CloseReason::NoWorker, listener);
        };
        let listener = Arc::clone(listener);
        let counted = Counted::one_of(open);
        if let Err(incoming) = worker.serve(Incoming { socket, client, listener, counted }) {
            self.refuse(CloseReason::NoWorker, &incoming.listener);
        }
    }

    /// Whether one more connection fits when `count` of `limit` are open; room is made when
    /// that is close, among the connections of the listener that counts them in `of`.
    fn has_room(&self, count: usize, limit: usize, of: Option<&Arc<AtomicUsize>>) -> bool {
        let margin = (limit / MARGIN_SHARE).max(1);
        if count + margin >= limit {
            self.shedding.shed((count / SHED_SHARE).max(1), of);
        }
        count < limit
    }

    fn refuse(&self, reason: CloseReason, listener: &Listener) {
        self.closed.count(reason);
        let now = Instant::now();
        if self.logged.get().is_some_and(|last| now - last < LOG_PAUSE) {
            return;
        }
        self.logged.set(Some(now));
        tracing::warn!(
            reason = reason.as_str(),
            listener = &*listener.name,
            "new connections are closed; the next line about it comes after {LOG_PAUSE:?} at the earliest"
        );
    }
}

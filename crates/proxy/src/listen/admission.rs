//! Which connections are let in: as many as the limits allow, each to the worker with the
//! fewest.
//!
//! Close to a limit the idlest connections make room for new ones. At the limit itself a new
//! one waits until they have, and is closed when too few are idle.

use std::{
    cell::Cell,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    time::{sleep_until, timeout},
};
use weft_config::ProcessLimits;

use crate::{
    connection::close_reason::{CloseCounts, CloseReason},
    listen::{file_descriptors, idle_shedding::Shedding, listener::Listener},
    worker::{Counted, Freed, Handle, NewConnection, WorkerPlace},
};

/// Room is made when no more than one in so many of a limit's connections is left.
const MARGIN_SHARE: usize = 16;
/// How long a new connection waits for room.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a line is logged about connections that are not let in.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Whether there is room for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// No, and too few connections are idle.
    None,
    /// Idle connections are being closed.
    Soon,
    /// Yes.
    Now,
}

/// Lets connections in; belongs to the thread that accepts.
pub struct Admission {
    workers: Arc<Vec<Handle>>,
    shedding: Shedding,
    closed: Arc<CloseCounts>,
    /// The most connections of all listeners together.
    most: Cell<usize>,
    /// Told whenever a connection has ended.
    freed: Arc<Notify>,
    logged: Cell<Option<Instant>>,
}

impl Admission {
    /// Lets connections in to `workers`, and counts in `closed` those that it does not.
    pub fn new(workers: Arc<Vec<Handle>>, closed: Arc<CloseCounts>) -> Self {
        let most = Cell::new(file_descriptors::most_connections(&ProcessLimits::new()));
        let shedding = Shedding::new(Arc::clone(&workers));
        let freed = Arc::default();
        Self { workers, shedding, closed, most, freed, logged: Cell::new(None) }
    }

    /// Goes by these limits from now on.
    pub fn limit(&self, limits: &ProcessLimits) {
        self.most.set(file_descriptors::most_connections(limits));
    }

    /// Gives a connection of `listener`, which has `open` of them, to a worker once there is
    /// room for it, or closes it. Those that arrive meanwhile wait in the kernel's queue.
    pub async fn admit(
        &self,
        socket: TcpStream,
        client: SocketAddr,
        listener: &Arc<Listener>,
        open: &Arc<AtomicUsize>,
    ) {
        if !self.is_let_in(listener, open).await {
            return self.refuse(CloseReason::Overload, listener);
        }
        let place = match (self.place_now(), self.idlest_worker()) {
            (None, Some(worker)) => timeout(PATIENCE, worker.place()).await.ok().flatten(),
            (place, _) => place,
        };
        self.serve(place, (socket, client), listener, open);
    }

    /// The same for a connection that cannot wait.
    pub fn admit_now(
        &self,
        socket: TcpStream,
        client: SocketAddr,
        listener: &Arc<Listener>,
        open: &Arc<AtomicUsize>,
    ) {
        if self.room(listener, open) != Room::Now {
            return self.refuse(CloseReason::Overload, listener);
        }
        self.serve(self.place_now(), (socket, client), listener, open);
    }

    async fn is_let_in(&self, listener: &Listener, open: &Arc<AtomicUsize>) -> bool {
        let deadline = (Instant::now() + PATIENCE).into();
        loop {
            // Made before the count is looked at, so that no end is missed.
            let changes = (self.freed.notified(), self.shedding.round_ends());
            match self.room(listener, open) {
                Room::Now => return true,
                Room::Soon => {}
                Room::None => return false,
            }
            tokio::select! {
                () = changes.0 => {}
                () = changes.1 => {}
                () = sleep_until(deadline) => return false,
            }
        }
    }

    /// The worker with the fewest connections.
    fn idlest_worker(&self) -> Option<&Handle> {
        let loads = self.workers.iter().filter_map(|worker| Some((worker.load()?, worker)));
        loads.min_by_key(|(load, _)| *load).map(|(_, worker)| worker)
    }

    /// A place at the worker with the fewest connections, else at any that is not far behind.
    fn place_now(&self) -> Option<WorkerPlace<'_>> {
        let idlest = self.idlest_worker().and_then(Handle::place_now);
        idlest.or_else(|| self.workers.iter().find_map(Handle::place_now))
    }

    fn serve(
        &self,
        place: Option<WorkerPlace<'_>>,
        (socket, client): (TcpStream, SocketAddr),
        listener: &Arc<Listener>,
        open: &Arc<AtomicUsize>,
    ) {
        let Some(place) = place else { return self.refuse(CloseReason::NoWorker, listener) };
        let listener = Arc::clone(listener);
        let (counted, freed) = (Counted::one_of(open), Freed(Arc::clone(&self.freed)));
        place.serve(NewConnection { socket, client, listener, counted, freed });
    }

    /// Whether there is room for one more connection of `listener`, which has `open` of them;
    /// close to a limit, idle connections begin to make some.
    fn room(&self, listener: &Listener, open: &Arc<AtomicUsize>) -> Room {
        let all = self.workers.iter().filter_map(Handle::load).sum();
        let of_all = self.room_of(all, self.most.get(), None);
        let limit = listener.limits.connections as usize;
        of_all.min(self.room_of(open.load(Ordering::Relaxed), limit, Some(open)))
    }

    /// The same for one limit, by which `count` connections are open: those of the listener
    /// that counts them in `of`, or all.
    fn room_of(&self, count: usize, limit: usize, of: Option<&Arc<AtomicUsize>>) -> Room {
        let margin = (limit / MARGIN_SHARE).max(1);
        // No more than have come since there was room: they may be idle themselves.
        let excess = (count + margin + 1).saturating_sub(limit);
        let is_full = count >= limit;
        let makes_room = excess > 0 && self.shedding.shed(excess, of, is_full);
        match (is_full, makes_room) {
            (false, _) => Room::Now,
            (true, true) => Room::Soon,
            (true, false) => Room::None,
        }
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

//! The open connections of a server, of which there are at most so many, and at most so
//! many of one peer.
//!
//! Where there is no room for one more, the one that has been idle for longest is
//! closed: a client that holds connections open cannot keep others out. A peer that
//! keeps all of its own busy makes only itself wait.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::{Notify, Semaphore};

/// How much there may be of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time.
    pub(super) most: usize,
    /// Connections of one peer at a time.
    pub(super) of_peer: usize,
    /// Connections that wait for room at a time.
    pub(super) waiting: usize,
    /// Connections of one peer that wait for room at a time.
    pub(super) waiting_of_peer: usize,
    /// Bytes that are held for one peer at a time.
    pub(super) bytes_of_peer: usize,
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<Open>,
    /// Something has been closed, or has become idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, State>,
    peers: BTreeMap<IpAddr, Peer>,
    waiting: usize,
}

#[derive(Debug)]
struct State {
    peer: IpAddr,
    /// Since when it waits for a request; `None` while one is answered.
    idle_since: Option<Instant>,
    close: Arc<Notify>,
}

/// What one peer has; it is forgotten with its last connection.
#[derive(Debug)]
struct Peer {
    /// Connections that have not been dropped, also those that make room.
    held: usize,
    /// Connections that count.
    open: usize,
    waiting: usize,
    bytes: Arc<Semaphore>,
}

impl Connections {
    /// None yet.
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default(), changed: Notify::new() })
    }

    /// A place to wait for room; none when too many wait already, of this peer or of all.
    pub(super) fn arrive(self: &Arc<Self>, peer: IpAddr) -> Option<Arrival> {
        let peer = peer.to_canonical();
        let mut open = self.lock();
        let bytes = self.limits.bytes_of_peer;
        let all = open.waiting;
        let own = open.peers.entry(peer).or_insert_with(|| Peer {
            held: 0,
            open: 0,
            waiting: 0,
            bytes: Arc::new(Semaphore::new(bytes)),
        });
        if all >= self.limits.waiting || own.waiting >= self.limits.waiting_of_peer {
            open.forget(peer);
            return None;
        }
        own.waiting += 1;
        open.waiting += 1;
        Some(Arrival { peer, all: Arc::clone(self) })
    }

    fn try_enter(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<Connection> {
        let mut open = self.lock();
        let open = &mut *open;
        let is_full = open.connections.len() >= self.limits.most;
        let own_are_many = open.peers.get(&peer)?.open >= self.limits.of_peer;
        if is_full || own_are_many {
            let may_go = |state: &State| !own_are_many || state.peer == peer;
            let idle = |(id, state): (&u64, &State)| {
                state.idle_since.filter(|_| may_go(state)).map(|since| (since, *id))
            };
            let (_, oldest) = open.connections.iter().filter_map(idle).min()?;
            if let Some(state) = open.remove(oldest) {
                state.close.notify_one();
            }
        }
        let id = open.next;
        open.next += 1;
        let close = Arc::new(Notify::new());
        let state = State { peer, idle_since: Some(now), close: Arc::clone(&close) };
        open.connections.insert(id, state);
        let own = open.peers.get_mut(&peer)?;
        own.open += 1;
        own.held += 1;
        let bytes = Arc::clone(&own.bytes);
        Some(Connection { id, peer, close, bytes, all: Arc::clone(self) })
    }

    // Nothing panics while the lock is held, and what it guards is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Stops counting a connection.
    fn remove(&mut self, id: u64) -> Option<State> {
        let state = self.connections.remove(&id)?;
        if let Some(peer) = self.peers.get_mut(&state.peer) {
            peer.open -= 1;
        }
        Some(state)
    }

    /// Forgets a peer that has nothing any more.
    fn forget(&mut self, peer: IpAddr) {
        if self.peers.get(&peer).is_some_and(|own| own.held == 0 && own.waiting == 0) {
            self.peers.remove(&peer);
        }
    }
}

/// A connection that waits for room; it counts as waiting until it is dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    peer: IpAddr,
    all: Arc<Connections>,
}

impl Arrival {
    /// Waits until there is room; closes an idle connection for it if need be, one of
    /// the peer's own when the peer has too many.
    pub(super) async fn enter(self, now: impl Fn() -> Instant) -> Connection {
        loop {
            let mut changed = std::pin::pin!(self.all.changed.notified());
            changed.as_mut().enable();
            if let Some(connection) = self.all.try_enter(self.peer, now()) {
                return connection;
            }
            changed.await;
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.waiting -= 1;
        if let Some(own) = open.peers.get_mut(&self.peer) {
            own.waiting -= 1;
        }
        open.forget(self.peer);
    }
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    peer: IpAddr,
    close: Arc<Notify>,
    bytes: Arc<Semaphore>,
    all: Arc<Connections>,
}

impl Connection {
    /// Waits until the connection has to make room.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// The bytes that its peer may have held, as permits.
    pub(super) fn bytes_of_peer(&self) -> &Semaphore {
        &self.bytes
    }

    /// Notes that a request is being answered.
    pub(super) fn busy(&self) {
        self.set(None);
    }

    /// Notes that the connection waits for its next request.
    pub(super) fn idle(&self, now: Instant) {
        self.set(Some(now));
        self.all.changed.notify_waiters();
    }

    fn set(&self, idle_since: Option<Instant>) {
        if let Some(state) = self.all.lock().connections.get_mut(&self.id) {
            state.idle_since = idle_since;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.remove(self.id);
        if let Some(own) = open.peers.get_mut(&self.peer) {
            own.held -= 1;
        }
        open.forget(self.peer);
        drop(open);
        self.all.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FEW: Limits =
        Limits { most: 2, of_peer: 2, waiting: 8, waiting_of_peer: 2, bytes_of_peer: 8 };

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    async fn enter(all: &Arc<Connections>, from: u8, now: Instant) -> Connection {
        all.arrive(peer(from)).expect("few wait").enter(|| now).await
    }

    #[tokio::test]
    async fn the_one_that_was_idle_for_longest_makes_room() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let all = Connections::new(FEW);
        let first = enter(&all, 1, at(0)).await;
        let second = enter(&all, 1, at(1)).await;
        first.busy();
        first.idle(at(2));
        let third = enter(&all, 2, at(3)).await;
        second.closed().await;
        assert!(futures::poll!(std::pin::pin!(first.closed())).is_pending());

        first.busy();
        third.busy();
        let mut fourth = std::pin::pin!(enter(&all, 1, at(4)));
        assert!(futures::poll!(&mut fourth).is_pending(), "nobody is closed in mid-answer");
        first.idle(at(5));
        let _fourth = fourth.await;
        first.closed().await;
    }

    #[tokio::test]
    async fn one_that_ends_makes_room() {
        let all = Connections::new(Limits { most: 1, ..FEW });
        let first = enter(&all, 1, Instant::now()).await;
        first.busy();
        let mut second = std::pin::pin!(enter(&all, 2, Instant::now()));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        second.await;
        assert!(all.lock().peers.is_empty(), "a peer without connections is forgotten");
    }

    #[tokio::test]
    async fn a_peer_that_keeps_its_own_busy_makes_only_itself_wait() {
        let now = Instant::now();
        let all = Connections::new(Limits { most: 4, ..FEW });
        let (first, second) = (enter(&all, 1, now).await, enter(&all, 1, now).await);
        first.busy();
        second.busy();
        let mut own = std::pin::pin!(enter(&all, 1, now));
        assert!(futures::poll!(&mut own).is_pending());
        let other = enter(&all, 2, now).await;
        second.idle(now);
        own.await;
        second.closed().await;
        assert!(futures::poll!(std::pin::pin!(other.closed())).is_pending(), "the other is idle");
    }

    #[tokio::test]
    async fn too_many_that_wait_are_turned_away() {
        let all = Connections::new(FEW);
        let waiting = (all.arrive(peer(1)), all.arrive(peer(1)));
        assert!(all.arrive(peer(1)).is_none() && all.arrive(peer(2)).is_some());
        drop(waiting);
        assert!(all.arrive(peer(1)).is_some());
        assert!(all.lock().peers.is_empty());
    }
}

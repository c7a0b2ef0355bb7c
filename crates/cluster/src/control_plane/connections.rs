//! The open connections of a server, of which there are at most so many, and at most so
//! many of one peer.
//!
//! Where there is no room for one more, the peer that has the most connections loses one:
//! the one that has been idle for longest, or the oldest busy one when that leaves it
//! with no fewer than the newcomer. So peers that hold connections open, or keep them
//! busy, cannot keep out a peer that has fewer. A peer that keeps as many as it may have
//! busy makes only itself wait. The places to wait in are shared in the same way.

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
    /// Bytes of large reviews that are held for one peer at a time.
    pub(super) bytes_of_peer: usize,
    /// Bytes of small reviews that are held for one peer at a time.
    pub(super) small_of_peer: usize,
    /// Reviews of one peer that are judged, or wait for that, at a time.
    pub(super) turns_of_peer: usize,
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
    /// Those who wait for room, and what tells them to go.
    waiting: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
}

#[derive(Debug)]
struct State {
    peer: IpAddr,
    /// Since when it waits for a request; `None` in its handshake, and while a request is
    /// answered.
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
    may: Arc<Allowance>,
}

/// What all connections of one peer may take together.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Bytes of large reviews.
    pub(super) bytes: Semaphore,
    /// Bytes of small reviews.
    pub(super) small: Semaphore,
    /// Turns, or places in the queue for them.
    pub(super) turns: Arc<Semaphore>,
}

impl Allowance {
    fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            bytes: Semaphore::new(limits.bytes_of_peer),
            small: Semaphore::new(limits.small_of_peer),
            turns: Arc::new(Semaphore::new(limits.turns_of_peer)),
        })
    }
}

impl Connections {
    /// None yet.
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default(), changed: Notify::new() })
    }

    /// A place to wait for room; none when the peer has as many as it may have, or when
    /// all are taken and no other peer has more of them.
    pub(super) fn arrive(self: &Arc<Self>, peer: IpAddr) -> Option<Arrival> {
        let peer = peer.to_canonical();
        let mut open = self.lock();
        let own = open.peers.get(&peer).map_or(0, |own| own.waiting);
        if own >= self.limits.waiting_of_peer {
            return None;
        }
        if open.waiting.len() >= self.limits.waiting {
            let other = open.waiting_most().filter(|(_, theirs)| *theirs > own + 1)?.0;
            open.send_away_newest(other);
        }
        let may = || Allowance::new(&self.limits);
        let own = open.peers.entry(peer).or_insert_with(|| Peer {
            held: 0,
            open: 0,
            waiting: 0,
            may: may(),
        });
        own.waiting += 1;
        let id = open.next;
        open.next += 1;
        let sent_away = Arc::new(Notify::new());
        open.waiting.insert(id, (peer, Arc::clone(&sent_away)));
        Some(Arrival { id, peer, sent_away, all: Arc::clone(self) })
    }

    fn try_enter(self: &Arc<Self>, peer: IpAddr) -> Option<Connection> {
        let mut open = self.lock();
        let open = &mut *open;
        let own = open.peers.get(&peer)?.open;
        let victim = match () {
            () if own >= self.limits.of_peer => Some(open.idlest(peer)?),
            () if open.connections.len() >= self.limits.most => Some(open.dispensable(peer, own)?),
            () => None,
        };
        if let Some(state) = victim.and_then(|victim| open.remove(victim)) {
            state.close.notify_one();
        }
        let id = open.next;
        open.next += 1;
        let close = Arc::new(Notify::new());
        let state = State { peer, idle_since: None, close: Arc::clone(&close) };
        open.connections.insert(id, state);
        let own = open.peers.get_mut(&peer)?;
        own.open += 1;
        own.held += 1;
        let may = Arc::clone(&own.may);
        Some(Connection { id, peer, close, may, all: Arc::clone(self) })
    }

    // Nothing panics while the lock is held, and what it guards is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The connection that makes room for one more of `peer`, which has `own`: of the peers
    /// that have the most, no fewer than `peer` will have, the first that can spare one.
    fn dispensable(&self, peer: IpAddr, own: usize) -> Option<u64> {
        let others = self.peers.iter().filter(|(other, state)| **other == peer || state.open > own);
        let mut greedy: Vec<(usize, IpAddr)> =
            others.map(|(other, state)| (state.open, *other)).collect();
        greedy.sort_unstable_by_key(|(open, _)| std::cmp::Reverse(*open));
        greedy.into_iter().find_map(|(open, other)| {
            let busy = || self.oldest(other).filter(|_| open > own + 1 && other != peer);
            self.idlest(other).or_else(busy)
        })
    }

    /// The connection of `peer` that has been idle for longest.
    fn idlest(&self, peer: IpAddr) -> Option<u64> {
        let own = self.connections.iter().filter(|(_, state)| state.peer == peer);
        let idle = own.filter_map(|(id, state)| Some((state.idle_since?, *id)));
        idle.min().map(|(_, id)| id)
    }

    fn oldest(&self, peer: IpAddr) -> Option<u64> {
        self.connections.iter().find(|(_, state)| state.peer == peer).map(|(id, _)| *id)
    }

    /// The peer with the most that wait, and how many these are.
    fn waiting_most(&self) -> Option<(IpAddr, usize)> {
        let all = self.peers.iter().map(|(peer, state)| (*peer, state.waiting));
        all.max_by_key(|(_, waiting)| *waiting)
    }

    /// Ends the wait of the last that has come of `peer`.
    fn send_away_newest(&mut self, peer: IpAddr) {
        let newest = self.waiting.iter().rev().find(|(_, (other, _))| *other == peer);
        let Some((id, sent_away)) = newest.map(|(id, (_, sent_away))| (*id, Arc::clone(sent_away)))
        else {
            return;
        };
        sent_away.notify_one();
        self.stop_waiting(id);
    }

    fn stop_waiting(&mut self, id: u64) {
        let Some((peer, _)) = self.waiting.remove(&id) else { return };
        if let Some(own) = self.peers.get_mut(&peer) {
            own.waiting -= 1;
        }
        self.forget(peer);
    }

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

/// A connection that waits for room; it counts as waiting until it is dropped, or is sent
/// away.
#[derive(Debug)]
pub(super) struct Arrival {
    id: u64,
    peer: IpAddr,
    sent_away: Arc<Notify>,
    all: Arc<Connections>,
}

impl Arrival {
    /// Waits until there is room, which another connection may have to make; none when
    /// others need the place to wait in more.
    pub(super) async fn enter(self) -> Option<Connection> {
        loop {
            let mut changed = std::pin::pin!(self.all.changed.notified());
            changed.as_mut().enable();
            if let Some(connection) = self.all.try_enter(self.peer) {
                return Some(connection);
            }
            tokio::select! {
                () = changed => {}
                () = self.sent_away.notified() => return None,
            }
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.all.lock().stop_waiting(self.id);
    }
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    peer: IpAddr,
    close: Arc<Notify>,
    may: Arc<Allowance>,
    all: Arc<Connections>,
}

impl Connection {
    /// Waits until the connection has to make room.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// What its peer may take.
    pub(super) fn allowance(&self) -> &Allowance {
        &self.may
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

    use futures::FutureExt;

    use super::*;

    const FEW: Limits = Limits {
        most: 2,
        of_peer: 2,
        waiting: 8,
        waiting_of_peer: 2,
        bytes_of_peer: 8,
        small_of_peer: 8,
        turns_of_peer: 1,
    };

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    async fn enter(all: &Arc<Connections>, from: u8) -> Connection {
        all.arrive(peer(from)).expect("few wait").enter().await.expect("it is not sent away")
    }

    /// One that waits for a request after its handshake.
    async fn idle(all: &Arc<Connections>, from: u8, since: Instant) -> Connection {
        let connection = enter(all, from).await;
        connection.idle(since);
        connection
    }

    fn is_closed(connection: &Connection) -> bool {
        connection.closed().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_one_that_was_idle_for_longest_makes_room() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let all = Connections::new(FEW);
        let first = idle(&all, 1, at(0)).await;
        let second = idle(&all, 1, at(1)).await;
        first.busy();
        first.idle(at(2));
        let third = enter(&all, 2).await;
        assert!(is_closed(&second) && !is_closed(&first));

        first.busy();
        third.busy();
        let mut fourth = std::pin::pin!(enter(&all, 1));
        assert!(futures::poll!(&mut fourth).is_pending(), "the other has no more than this one");
        first.idle(at(5));
        let _fourth = fourth.await;
        assert!(is_closed(&first));
    }

    #[tokio::test]
    async fn one_that_ends_makes_room() {
        let all = Connections::new(Limits { most: 1, ..FEW });
        let first = enter(&all, 1).await;
        let mut second = std::pin::pin!(enter(&all, 2));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        second.await;
        assert!(all.lock().peers.is_empty(), "a peer without connections is forgotten");
    }

    #[tokio::test]
    async fn a_peer_that_keeps_its_own_busy_makes_only_itself_wait() {
        let now = Instant::now();
        let all = Connections::new(Limits { most: 4, ..FEW });
        let (_first, second) = (enter(&all, 1).await, enter(&all, 1).await);
        let mut own = std::pin::pin!(enter(&all, 1));
        assert!(futures::poll!(&mut own).is_pending());
        let other = idle(&all, 2, now).await;
        second.idle(now);
        own.await;
        assert!(is_closed(&second) && !is_closed(&other), "the other is idle");
    }

    #[tokio::test]
    async fn peers_that_keep_all_busy_do_not_keep_out_one_that_has_fewer() {
        let now = Instant::now();
        let all = Connections::new(Limits { most: 8, of_peer: 4, waiting_of_peer: 8, ..FEW });
        let mut greedy = Vec::new();
        for from in [1, 1, 1, 1, 2, 2, 2, 2] {
            greedy.push(enter(&all, from).await);
        }
        let mut waiting = Vec::new();
        for from in [1, 2, 1, 2, 1, 2, 1, 2] {
            let mut more = Box::pin(all.arrive(peer(from)).expect("few wait").enter());
            assert!(futures::poll!(&mut more).is_pending(), "they have no fewer than the others");
            waiting.push(more);
        }
        // All places to wait in are taken, too.
        let honest = all.arrive(peer(3)).expect("a place to wait in").enter();
        let honest = honest.now_or_never().flatten().expect("room at once");
        assert_eq!(greedy.iter().filter(|one| is_closed(one)).count(), 1);
        for one in &greedy {
            assert!(futures::poll!(std::pin::pin!(enter(&all, 1))).is_pending(), "{one:?}");
        }
        assert!(!is_closed(&honest), "in its handshake it makes room for nobody");
        honest.idle(now);
        let ended: Vec<_> = waiting.iter_mut().map(|more| more.now_or_never()).collect();
        let sent_away = ended.iter().filter(|ended| matches!(ended, Some(None))).count();
        assert_eq!(sent_away, 1, "one has left its place to wait in");
        assert!(!is_closed(&honest), "nor when it is idle, since others have more");
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

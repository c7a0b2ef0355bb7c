//! The open connections, and those that wait to be.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use tokio::sync::{oneshot, watch};

use super::{Allowance, Limits};

/// The open connections, and those that wait to be, by peer.
///
/// Invariant: `ranks` has an entry for each peer with an open connection but the machine
/// itself, which is the peer with a loopback address. Nothing waits for which there is room.
#[derive(Debug, Default)]
pub(super) struct Open {
    next: u64,
    connections: BTreeMap<u64, State>,
    peers: BTreeMap<IpAddr, Peer>,
    ranks: BTreeSet<Rank>,
    /// The queue.
    waiting: BTreeMap<u64, Queued>,
}

/// Which peer makes room first: the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    open: usize,
    /// The lower this is, the longer one of its connections has been idle.
    idle: Reverse<u64>,
    peer: IpAddr,
}

/// The place among the idle of a peer without idle connections.
const BUSY: Reverse<u64> = Reverse(u64::MAX);

#[derive(Debug)]
struct State {
    peer: IpAddr,
    /// Whether its handshake is over.
    established: bool,
    requests: usize,
    /// Its place among the idle ones; `None` in its handshake, and while a request is
    /// answered.
    idle: Option<u64>,
    close: watch::Sender<bool>,
}

/// One that waits; it is sent away when this is dropped.
#[derive(Debug)]
struct Queued {
    peer: IpAddr,
    enters: oneshot::Sender<Entered>,
}

/// What one peer has; it is forgotten with its last connection.
#[derive(Debug)]
struct Peer {
    /// Connections that have not been dropped, also those that make room.
    held: usize,
    busy: BTreeSet<u64>,
    /// Those of the busy that are in their handshake; the first is the oldest.
    greeting: BTreeSet<u64>,
    /// The first has been idle for longest.
    idle: BTreeMap<u64, u64>,
    waiting: usize,
    may: Arc<Allowance>,
}

impl Peer {
    fn new(limits: &Limits) -> Self {
        Self {
            held: 0,
            busy: BTreeSet::new(),
            greeting: BTreeSet::new(),
            idle: BTreeMap::new(),
            waiting: 0,
            may: Arc::new(Allowance::new(limits)),
        }
    }

    fn open(&self) -> usize {
        self.busy.len() + self.idle.len()
    }

    fn idlest(&self) -> Option<u64> {
        self.idle.first_key_value().map(|(_, id)| *id)
    }

    /// The connection that makes room among those of the machine itself, whose programs do
    /// not answer for each other: the oldest in its handshake, where most of those without
    /// a request are in theirs; else the idlest.
    fn least_known(&self) -> Option<u64> {
        let oldest = || self.greeting.first().copied();
        match self.greeting.len() > self.idle.len() {
            true => oldest(),
            false => self.idlest().or_else(oldest),
        }
    }
}

/// Where a connection that has just come is.
pub(super) enum Arrived {
    Entered(Entered),
    Queued { id: u64, entered: oneshot::Receiver<Entered> },
}

/// A connection that has just been let in.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) id: u64,
    pub(super) close: watch::Receiver<bool>,
    pub(super) may: Arc<Allowance>,
}

impl Open {
    /// How many there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether nothing is known of any peer.
    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        self.peers.is_empty() && self.ranks.is_empty() && self.waiting.is_empty()
    }

    /// Lets in a connection of `peer`, or puts it at the end of the queue.
    pub(super) fn arrive(&mut self, peer: IpAddr, limits: &Limits) -> Option<Arrived> {
        let own = self.peers.entry(peer).or_insert_with(|| Peer::new(limits));
        // For those of its peer that wait there is no room, and it comes behind them.
        let entered = if own.waiting == 0 { self.enter(peer, limits) } else { None };
        let arrived = match entered {
            Some(entered) => Some(Arrived::Entered(entered)),
            None => self.queue(peer, limits),
        };
        self.forget(peer);
        arrived
    }

    fn queue(&mut self, peer: IpAddr, limits: &Limits) -> Option<Arrived> {
        let own = self.peers.get(&peer).map_or(0, |own| own.waiting);
        if own >= limits.waiting_of_peer {
            return None;
        }
        // The machine itself waits for its own connections only, and in places of its own.
        if !peer.is_loopback() && self.waiting.len() >= limits.waiting {
            let other = self.waiting_most().filter(|(_, theirs)| *theirs > own + 1)?.0;
            self.send_away_newest(other);
        }
        self.peers.get_mut(&peer)?.waiting += 1;
        let (id, (enters, entered)) = (self.id(), oneshot::channel());
        self.waiting.insert(id, Queued { peer, enters });
        Some(Arrived::Queued { id, entered })
    }

    /// Lets in those that wait and for which there is room now, the first of the peer with the
    /// fewest connections first. Where one of a peer has to wait, so have those behind it.
    pub(super) fn let_in(&mut self, limits: &Limits) {
        if self.waiting.is_empty() {
            return;
        }
        let open =
            |peers: &BTreeMap<IpAddr, Peer>, peer: IpAddr| peers.get(&peer).map_or(0, Peer::open);
        let mut first: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for (id, queued) in &self.waiting {
            first.entry(queued.peer).or_insert(*id);
        }
        let heads = first.iter().map(|(peer, id)| (open(&self.peers, *peer), *id, *peer));
        let mut heads: BTreeSet<(usize, u64, IpAddr)> = heads.collect();
        while let Some((_, id, peer)) = heads.pop_first() {
            let Some(entered) = self.enter(peer, limits) else { continue };
            let unsent = match self.take_waiting(id) {
                Some(queued) => queued.enters.send(entered).err(),
                None => Some(entered),
            };
            // Where nothing waits for it, it is not kept.
            if let Some(Entered { id, .. }) = unsent {
                self.dropped(id, peer);
            }
            let mut behind = self.waiting.range(id..).filter(|(_, queued)| queued.peer == peer);
            if let Some((next, _)) = behind.next() {
                heads.insert((open(&self.peers, peer), *next, peer));
            }
        }
    }

    /// Lets in a connection of `peer`, perhaps in place of another.
    fn enter(&mut self, peer: IpAddr, limits: &Limits) -> Option<Entered> {
        let own = self.peers.get(&peer)?;
        let most = if peer.is_loopback() { limits.of_machine } else { limits.of_peer };
        let is_full = || self.others() >= limits.connections && !peer.is_loopback();
        let victim = match () {
            () if own.open() >= most && peer.is_loopback() => Some(own.least_known()?),
            () if own.open() >= most => Some(own.idlest()?),
            () if is_full() => Some(self.dispensable(own)?),
            () => None,
        };
        if let Some(state) = victim.and_then(|victim| self.remove(victim)) {
            state.close.send_replace(true);
        }
        let id = self.id();
        let (close, closed) = watch::channel(false);
        let state = State { peer, established: false, requests: 0, idle: None, close };
        let may = self.change(peer, |own| {
            own.held += 1;
            own.busy.insert(id);
            own.greeting.insert(id);
            Arc::clone(&own.may)
        })?;
        self.connections.insert(id, state);
        Some(Entered { id, close: closed, may })
    }

    /// Connections of all but the machine itself.
    fn others(&self) -> usize {
        let machine = self.peers.get(&IpAddr::from(Ipv4Addr::LOCALHOST));
        self.connections.len() - machine.map_or(0, Peer::open)
    }

    /// The connection that makes room for one more of the peer that has `own`.
    fn dispensable(&self, own: &Peer) -> Option<u64> {
        let one_more = own.open() + 1;
        let most = self.ranks.last().filter(|rank| rank.open > one_more);
        if let Some(greediest) = most.and_then(|rank| self.peers.get(&rank.peer)) {
            return greediest.idlest().or_else(|| greediest.busy.first().copied());
        }
        // No peer has so many that it would still have as many as the newcomer. One that
        // has more can spare what is idle.
        let last = self.ranks.last().filter(|rank| rank.open == one_more && rank.idle != BUSY);
        let equal = last.and_then(|rank| self.peers.get(&rank.peer)?.idlest());
        equal.or_else(|| own.idlest())
    }

    /// The peer with the most that wait, and how many these are.
    fn waiting_most(&self) -> Option<(IpAddr, usize)> {
        let others = self.peers.iter().filter(|(peer, _)| !peer.is_loopback());
        let all = others.map(|(peer, state)| (*peer, state.waiting));
        all.max_by_key(|(_, waiting)| *waiting)
    }

    /// Ends the wait of the last that has come of `peer`.
    fn send_away_newest(&mut self, peer: IpAddr) {
        let newest = self.waiting.iter().rev().find(|(_, queued)| queued.peer == peer);
        if let Some(id) = newest.map(|(id, _)| *id) {
            self.stop_waiting(id);
        }
    }

    /// Takes a connection out of the queue, if it is there.
    pub(super) fn stop_waiting(&mut self, id: u64) {
        if let Some(Queued { peer, .. }) = self.take_waiting(id) {
            self.forget(peer);
        }
    }

    fn take_waiting(&mut self, id: u64) -> Option<Queued> {
        let queued = self.waiting.remove(&id)?;
        if let Some(own) = self.peers.get_mut(&queued.peer) {
            own.waiting -= 1;
        }
        Some(queued)
    }

    /// Notes that the handshake of connection `id` is over.
    pub(super) fn established(&mut self, id: u64) {
        self.update(id, |state| state.established = true);
    }

    /// Notes that connection `id` has one more request.
    pub(super) fn begun(&mut self, id: u64) {
        self.update(id, |state| state.requests += 1);
    }

    /// Notes that connection `id` has one request less.
    pub(super) fn ended(&mut self, id: u64) {
        self.update(id, |state| state.requests -= 1);
    }

    fn update(&mut self, id: u64, change: impl FnOnce(&mut State)) {
        let ticket = self.id();
        let Some(state) = self.connections.get_mut(&id) else { return };
        change(state);
        if state.established
            && let Some(own) = self.peers.get_mut(&state.peer)
        {
            own.greeting.remove(&id);
        }
        let is_idle = state.established && state.requests == 0;
        if is_idle == state.idle.is_some() {
            return;
        }
        let (peer, before) = (state.peer, state.idle);
        state.idle = is_idle.then_some(ticket);
        self.change(peer, |own| match before {
            None => {
                own.busy.remove(&id);
                own.idle.insert(ticket, id);
            }
            Some(before) => {
                own.idle.remove(&before);
                own.busy.insert(id);
            }
        });
    }

    /// Ends connection `id`, which still has to be dropped.
    pub(super) fn close(&mut self, id: u64) {
        if let Some(state) = self.connections.get(&id) {
            state.close.send_replace(true);
        }
    }

    /// Notes that connection `id` of `peer` has been dropped.
    pub(super) fn dropped(&mut self, id: u64, peer: IpAddr) {
        self.remove(id);
        self.change(peer, |own| own.held -= 1);
        self.forget(peer);
    }

    /// Stops counting a connection.
    fn remove(&mut self, id: u64) -> Option<State> {
        let state = self.connections.remove(&id)?;
        self.change(state.peer, |own| {
            own.busy.remove(&id);
            own.greeting.remove(&id);
            state.idle.and_then(|ticket| own.idle.remove(&ticket));
        });
        Some(state)
    }

    fn change<T>(&mut self, peer: IpAddr, change: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let own = self.peers.get_mut(&peer)?;
        let rank = |own: &Peer| {
            let idle = own.idle.first_key_value().map_or(BUSY, |(place, _)| Reverse(*place));
            Rank { open: own.open(), idle, peer }
        };
        self.ranks.remove(&rank(own));
        let done = change(own);
        if own.open() > 0 && !peer.is_loopback() {
            self.ranks.insert(rank(own));
        }
        Some(done)
    }

    /// Forgets a peer that has nothing any more.
    fn forget(&mut self, peer: IpAddr) {
        if self.peers.get(&peer).is_some_and(|own| own.held == 0 && own.waiting == 0) {
            self.peers.remove(&peer);
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

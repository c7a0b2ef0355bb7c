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
    /// The queue of each peer of which some wait: those that came first are first. One is sent
    /// away when its end of the channel is dropped.
    waiting: BTreeMap<IpAddr, BTreeMap<u64, oneshot::Sender<Entered>>>,
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

/// Where there is room for one more connection.
#[derive(Clone, Copy)]
enum Room {
    Free,
    /// In place of this one.
    Of(u64),
}

/// What one peer has; it is forgotten with its last connection.
#[derive(Debug)]
struct Peer {
    /// Connections that have not been dropped, also those that make room.
    held: usize,
    busy: BTreeSet<u64>,
    /// Those of the busy that are in their handshake; the first is the oldest.
    greeting: BTreeSet<u64>,
    /// Those that were let in out of the queue and have had no request yet.
    fresh: BTreeSet<u64>,
    /// The first has been idle for longest.
    idle: BTreeMap<u64, u64>,
    may: Arc<Allowance>,
}

impl Peer {
    fn new(limits: &Limits) -> Self {
        Self {
            held: 0,
            busy: BTreeSet::new(),
            greeting: BTreeSet::new(),
            fresh: BTreeSet::new(),
            idle: BTreeMap::new(),
            may: Arc::new(Allowance::new(limits)),
        }
    }

    fn open(&self) -> usize {
        self.busy.len() + self.idle.len()
    }

    fn idlest(&self) -> Option<u64> {
        self.idle.first_key_value().map(|(_, id)| *id)
    }

    /// The connection that makes room for one of this peer that waits. One that has waited
    /// itself is let alone until it has been of use, or a place that becomes free would end all
    /// but the last of those that wait for it.
    fn spare(&self) -> Option<u64> {
        self.idle.values().find(|id| !self.fresh.contains(id)).copied()
    }

    /// The connection that makes room for a newcomer among those of the machine itself, whose
    /// programs do not answer for each other: the oldest in its handshake, where most of those
    /// without a request are in theirs; else the idlest.
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
        self.peers.entry(peer).or_insert_with(|| Peer::new(limits));
        let makes_room = if peer.is_loopback() { Peer::least_known } else { Peer::idlest };
        let room = self.room(peer, limits, makes_room);
        let arrived = match room.and_then(|room| self.enter(peer, room)) {
            Some(entered) if self.waiting(peer) == 0 => Some(Arrived::Entered(entered)),
            entered => {
                // What it can take is for the first of its peer, and it comes behind the last.
                if let Some(entered) = entered {
                    self.give_to_first(entered, peer);
                }
                self.queue(peer, limits)
            }
        };
        self.forget(peer);
        arrived
    }

    fn queue(&mut self, peer: IpAddr, limits: &Limits) -> Option<Arrived> {
        let own = self.waiting(peer);
        if own >= limits.waiting_of_peer {
            return None;
        }
        // The machine itself waits for its own connections only, and in places of its own.
        let all = || self.others_waiting().map(|(_, many)| many).sum::<usize>();
        if !peer.is_loopback() && all() >= limits.waiting {
            let most = self.others_waiting().max_by_key(|(_, many)| *many);
            let (other, _) = most.filter(|(_, theirs)| *theirs > own + 1)?;
            self.send_away_newest(other);
        }
        let (id, (enters, entered)) = (self.id(), oneshot::channel());
        self.waiting.entry(peer).or_default().insert(id, enters);
        Some(Arrived::Queued { id, entered })
    }

    /// Lets in those that wait and for which there is room now, the first of the peer with the
    /// fewest connections first. Where one of a peer has to wait, so have those behind it.
    pub(super) fn let_in(&mut self, limits: &Limits) {
        let mut heads: BTreeSet<_> =
            self.waiting.keys().filter_map(|peer| self.head(*peer)).collect();
        while let Some((_, _, peer)) = heads.pop_first() {
            let room = self.room(peer, limits, Peer::spare);
            let Some(entered) = room.and_then(|room| self.enter(peer, room)) else { continue };
            self.give_to_first(entered, peer);
            heads.extend(self.head(peer));
        }
    }

    /// Hands a connection over to the first of `peer` that waits.
    fn give_to_first(&mut self, entered: Entered, peer: IpAddr) {
        if let Some(own) = self.peers.get_mut(&peer) {
            own.fresh.insert(entered.id);
        }
        let first = self.waiting.get(&peer).and_then(|queue| queue.first_key_value());
        let enters = first.map(|(id, _)| *id).and_then(|id| self.take_waiting(id, peer));
        let unsent = match enters {
            Some(enters) => enters.send(entered).err(),
            None => Some(entered),
        };
        // Where nothing waits for it, it is not kept.
        if let Some(Entered { id, .. }) = unsent {
            self.dropped(id, peer);
        }
    }

    /// The first of `peer` that waits, by which it is let in sooner or later than others.
    fn head(&self, peer: IpAddr) -> Option<(usize, u64, IpAddr)> {
        let (id, _) = self.waiting.get(&peer)?.first_key_value()?;
        Some((self.peers.get(&peer).map_or(0, Peer::open), *id, peer))
    }

    /// The room that there is for one more connection of `peer`, of which one may make room.
    fn room(
        &self,
        peer: IpAddr,
        limits: &Limits,
        makes_room: fn(&Peer) -> Option<u64>,
    ) -> Option<Room> {
        let own = self.peers.get(&peer)?;
        let most = if peer.is_loopback() { limits.of_machine } else { limits.of_peer };
        if own.open() >= most {
            return makes_room(own).map(Room::Of);
        }
        if self.others() >= limits.connections && !peer.is_loopback() {
            return self.dispensable(own).or_else(|| makes_room(own)).map(Room::Of);
        }
        Some(Room::Free)
    }

    /// Lets in a connection of `peer`.
    fn enter(&mut self, peer: IpAddr, room: Room) -> Option<Entered> {
        if let Room::Of(victim) = room
            && let Some(state) = self.remove(victim)
        {
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

    /// The connection of another peer that makes room for one more of the peer that has `own`.
    fn dispensable(&self, own: &Peer) -> Option<u64> {
        let one_more = own.open() + 1;
        let most = self.ranks.last().filter(|rank| rank.open > one_more);
        if let Some(greediest) = most.and_then(|rank| self.peers.get(&rank.peer)) {
            return greediest.idlest().or_else(|| greediest.busy.first().copied());
        }
        // No peer has so many that it would still have as many as the newcomer. One that
        // has more can spare what is idle.
        let last = self.ranks.last().filter(|rank| rank.open == one_more && rank.idle != BUSY);
        last.and_then(|rank| self.peers.get(&rank.peer)?.idlest())
    }

    /// How many of `peer` wait.
    fn waiting(&self, peer: IpAddr) -> usize {
        self.waiting.get(&peer).map_or(0, BTreeMap::len)
    }

    /// The peers but the machine itself of which some wait, and how many these are.
    fn others_waiting(&self) -> impl Iterator<Item = (IpAddr, usize)> {
        let others = self.waiting.iter().filter(|(peer, _)| !peer.is_loopback());
        others.map(|(peer, queue)| (*peer, queue.len()))
    }

    /// Ends the wait of the last that has come of `peer`.
    fn send_away_newest(&mut self, peer: IpAddr) {
        let newest = self.waiting.get(&peer).and_then(|queue| queue.last_key_value());
        if let Some(id) = newest.map(|(id, _)| *id) {
            self.stop_waiting(id, peer);
        }
    }

    /// Takes a connection of `peer` out of the queue, if it is there.
    pub(super) fn stop_waiting(&mut self, id: u64, peer: IpAddr) {
        if self.take_waiting(id, peer).is_some() {
            self.forget(peer);
        }
    }

    fn take_waiting(&mut self, id: u64, peer: IpAddr) -> Option<oneshot::Sender<Entered>> {
        let queue = self.waiting.get_mut(&peer)?;
        let enters = queue.remove(&id)?;
        if queue.is_empty() {
            self.waiting.remove(&peer);
        }
        Some(enters)
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
        if let Some(own) = self.peers.get_mut(&state.peer) {
            if state.established {
                own.greeting.remove(&id);
            }
            if state.requests > 0 {
                own.fresh.remove(&id);
            }
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
            own.fresh.remove(&id);
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
        if self.peers.get(&peer).is_some_and(|own| own.held == 0) && self.waiting(peer) == 0 {
            self.peers.remove(&peer);
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

//! What the peers of a server may hold: connections, places in the queue for one, turns,
//! and bytes of request bodies.
//!
//! Sockets and the meaning of requests are not known here. Where there is no room for one
//! more connection, the peer that has the most loses one: the one that has been idle for
//! longest, or the oldest busy one when that leaves the peer with no fewer than the
//! newcomer. So peers that hold connections open, or keep them busy, cannot keep out a
//! peer that has fewer. A peer that keeps as many as it may have busy makes only itself
//! wait. The programs of the machine itself are one peer and strangers to each other: among
//! their connections, one in its handshake makes room for a newcomer as well. The places in the
//! queue are shared in the same way. Those of one peer are let in in the order in which they
//! came, and of several peers the one with the fewest open connections is the first. One that
//! has been let in out of the queue makes no room for those behind it before its first request,
//! unless one more of its peer comes: for that, the first of them is let in.

mod open;
mod connection;
mod body;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, oneshot};

pub use body::{Bodies, Gathered, ReadError};
pub use connection::{Busy, Connection, Turn};
use open::{Arrived, Entered, Open};

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of all peers but the machine itself.
    pub connections: usize,
    /// Connections of one peer.
    pub of_peer: usize,
    /// Connections of the machine itself, whose programs all are one peer. They are
    /// beside those of the others, which cannot keep them out.
    pub of_machine: usize,
    /// Connections that wait for room.
    pub waiting: usize,
    /// Connections of one peer that wait for room.
    pub waiting_of_peer: usize,
    /// Requests that are worked on at a time.
    pub turns: usize,
    /// Requests of one peer that are worked on, or wait for that.
    pub turns_of_peer: usize,
    /// Request bodies.
    pub bodies: Bodies,
}

/// The peers of a server.
#[derive(Debug)]
pub struct Peers {
    limits: Limits,
    open: Mutex<Open>,
    turns: Arc<Semaphore>,
    /// Bytes of large bodies.
    bytes: Arc<Semaphore>,
}

/// What all connections of one peer may take together.
#[derive(Debug)]
struct Allowance {
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Allowance {
    fn new(limits: &Limits) -> Self {
        Self {
            large: semaphore(limits.bodies.large_of_peer),
            small: semaphore(limits.bodies.small_of_peer),
            turns: semaphore(limits.turns_of_peer),
        }
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

impl Peers {
    /// A server without peers.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
            turns: semaphore(limits.turns),
            bytes: semaphore(limits.bodies.shared),
        })
    }

    /// Lets a connection of `peer` in where there is room, or where another can make it at
    /// once, unless others of its peer wait; else gives it a place in the queue. None when its
    /// peer has as many places there as it may have, or when all are taken and no other peer
    /// has more of them.
    ///
    /// So that a burst needs no place in the queue for what there is room for, this is called
    /// where connections are accepted, and not by the task of the connection.
    pub fn arrive(self: &Arc<Self>, peer: IpAddr) -> Option<Arrival> {
        let peer = match peer.to_canonical() {
            own if own.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            other => other,
        };
        let arrived = self.lock().arrive(peer, &self.limits)?;
        let all = Arc::clone(self);
        Some(Arrival(match arrived {
            Arrived::Entered(entered) => ArrivalState::Inside(Connection::new(entered, peer, all)),
            Arrived::Queued { id, entered } => {
                ArrivalState::Queue(Waiting { id, peer, entered, all })
            }
        }))
    }

    /// Bytes of large bodies that may still be taken.
    pub fn free_bytes(&self) -> usize {
        self.bytes.available_permits()
    }

    /// Requests that may still be worked on.
    pub fn free_turns(&self) -> usize {
        self.turns.available_permits()
    }

    /// Open connections of all peers.
    pub fn connections(&self) -> usize {
        self.lock().connections()
    }

    /// Makes a change after which there may be room for some of those that wait, and lets
    /// them in.
    fn and_let_in(&self, change: impl FnOnce(&mut Open)) {
        let mut open = self.lock();
        change(&mut open);
        open.let_in(&self.limits);
    }

    // Nothing panics while the lock is held, and what it guards is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that has arrived: it counts as open, or as waiting, until this is dropped.
#[derive(Debug)]
pub struct Arrival(ArrivalState);

#[derive(Debug)]
enum ArrivalState {
    Inside(Connection),
    Queue(Waiting),
}

/// A place in the queue.
#[derive(Debug)]
struct Waiting {
    id: u64,
    peer: IpAddr,
    /// Ends without a connection when others need the place more.
    entered: oneshot::Receiver<Entered>,
    all: Arc<Peers>,
}

impl Arrival {
    /// Ready at once for a connection that has been let in. One in the queue waits until there
    /// is room, which another connection may have to make; none when others need the place
    /// in the queue more.
    pub async fn enter(self) -> Option<Connection> {
        match self.0 {
            ArrivalState::Inside(connection) => Some(connection),
            ArrivalState::Queue(waiting) => waiting.enter().await,
        }
    }
}

impl Waiting {
    async fn enter(mut self) -> Option<Connection> {
        let entered = (&mut self.entered).await.ok()?;
        Some(Connection::new(entered, self.peer, Arc::clone(&self.all)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.lock().stop_waiting(self.id, self.peer);
        // It may have been let in after it was last looked at.
        if let Ok(entered) = self.entered.try_recv() {
            drop(Connection::new(entered, self.peer, Arc::clone(&self.all)));
        }
    }
}

//! One connection of a peer, its requests, and their turns.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Allowance, Peers, open::Entered};

/// One open connection; it counts until all clones, and all that it is [`Busy`] with, are
/// dropped.
#[derive(Clone, Debug)]
pub struct Connection(Arc<OpenConnection>);

#[derive(Debug)]
struct OpenConnection {
    id: u64,
    peer: IpAddr,
    close: watch::Receiver<bool>,
    may: Arc<Allowance>,
    all: Arc<Peers>,
}

/// A request, or what has become of it; its connection is busy until this is dropped.
#[derive(Debug)]
pub struct Busy(Connection);

/// The right to work on a request.
#[derive(Debug)]
pub struct Turn {
    _own: OwnedSemaphorePermit,
    _shared: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(entered: Entered, peer: IpAddr, all: Arc<Peers>) -> Self {
        let Entered { id, close, may } = entered;
        Self(Arc::new(OpenConnection { id, peer, close, may, all }))
    }

    /// Notes that its handshake is over. Before that it makes room for no other peer, but for
    /// other programs of the machine itself: every server has to say when a handshake is
    /// over, or connections that are in use make room for new ones.
    pub fn established(&self) {
        self.0.all.and_let_in(|open| open.established(self.0.id));
    }

    /// Notes that a request is being answered.
    pub fn begin(&self) -> Busy {
        self.0.all.lock().begun(self.0.id);
        Busy(self.clone())
    }

    /// Where it comes from; one address for all of the machine itself.
    pub fn peer(&self) -> IpAddr {
        self.0.peer
    }

    /// Asks for the end of the connection.
    pub fn close(&self) {
        self.0.all.lock().close(self.0.id);
    }

    /// Waits until the connection has to end, for another or for what it did.
    pub async fn closed(&self) {
        // Without a sender it has made room already, or has been dropped.
        let _ = self.0.close.clone().wait_for(|close| *close).await;
    }

    /// The next turn. A peer has few places in the queue, so that the requests of another
    /// wait for few of its requests, however many it has sent.
    pub async fn turn(&self) -> Turn {
        let own = take(&self.0.may.turns, 1).await;
        Turn { _own: own, _shared: take(&self.0.all.turns, 1).await }
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.0.all
    }

    pub(super) fn allowance(&self) -> &Allowance {
        &self.0.may
    }
}

/// Waits for permits of a semaphore, of which none is ever closed.
pub(super) async fn take(of: &Arc<tokio::sync::Semaphore>, permits: usize) -> OwnedSemaphorePermit {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    let taken = Arc::clone(of).acquire_many_owned(permits).await;
    taken.expect("the semaphores of peers are never closed")
}

impl Busy {
    /// Its connection.
    pub fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.all.and_let_in(|open| open.ended(self.0.0.id));
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.and_let_in(|open| open.dropped(self.id, self.peer));
    }
}

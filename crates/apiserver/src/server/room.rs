//! What peers may take of the server: connections, and bytes of bodies under way.
//!
//! It knows no sockets and no requests.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest body that is read, as by kube-apiserver.
pub const LONGEST: usize = 3 << 20;
/// The longest body that is small: it takes nothing of what all peers share.
const SMALL: usize = 256 << 10;

/// Bytes of large bodies that are under way at a time, of all peers.
const BYTES: usize = 64 << 20;
/// The same of one peer.
const BYTES_OF_PEER: usize = 4 * LONGEST;
/// Bytes of small bodies that are under way at a time, of one peer.
const SMALL_OF_PEER: usize = 8 * SMALL;

/// Connections of one peer.
const CONNECTIONS: usize = 256;
/// Connections of the machine itself, whose programs all have one address.
const OWN_CONNECTIONS: usize = 1024;

/// What is left for peers.
#[derive(Debug)]
pub struct Room {
    bytes: Arc<Semaphore>,
    peers: Mutex<HashMap<IpAddr, Peer>>,
}

/// What one peer has; it is forgotten with its last connection.
#[derive(Debug)]
struct Peer {
    connections: usize,
    bytes: Arc<Semaphore>,
    small: Arc<Semaphore>,
}

/// A connection; it counts until it is dropped.
#[derive(Debug)]
pub struct Place {
    peer: IpAddr,
    bytes: Arc<Semaphore>,
    small: Arc<Semaphore>,
    room: Arc<Room>,
}

/// What a body takes, until it is dropped.
#[derive(Debug)]
pub struct Held {
    _own: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// All of it.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { bytes: Arc::new(Semaphore::new(BYTES)), peers: Mutex::default() })
    }

    /// A place for one more connection of `peer`; none when it has too many.
    pub fn connect(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let most = if peer.is_loopback() { OWN_CONNECTIONS } else { CONNECTIONS };
        let mut peers = self.lock();
        let own = peers.entry(peer).or_insert_with(|| Peer {
            connections: 0,
            bytes: Arc::new(Semaphore::new(BYTES_OF_PEER)),
            small: Arc::new(Semaphore::new(SMALL_OF_PEER)),
        });
        if own.connections >= most {
            return None;
        }
        own.connections += 1;
        let (bytes, small) = (Arc::clone(&own.bytes), Arc::clone(&own.small));
        Some(Place { peer, bytes, small, room: Arc::clone(self) })
    }

    // Nothing panics while the lock is held, and what it guards is whole at any time.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until a body of `length`, at most [`LONGEST`], may be read.
    pub async fn hold(&self, length: usize) -> Option<Held> {
        let permits = u32::try_from(length).ok()?;
        let share = async |of: &Arc<Semaphore>| Arc::clone(of).acquire_many_owned(permits).await;
        if length <= SMALL {
            return Some(Held { _own: share(&self.small).await.ok()?, _shared: None });
        }
        let own = share(&self.bytes).await.ok()?;
        let shared = share(&self.room.bytes).await.ok()?;
        Some(Held { _own: own, _shared: Some(shared) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.room.lock();
        if let Some(own) = peers.get_mut(&self.peer) {
            own.connections -= 1;
            if own.connections == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_peer_has_so_many_connections() {
        let room = Room::new();
        let mut places: Vec<_> = (0..CONNECTIONS).map_while(|_| room.connect(peer(1))).collect();
        assert_eq!(places.len(), CONNECTIONS);
        assert!(room.connect(peer(1)).is_none() && room.connect(peer(2)).is_some());
        places.pop();
        assert!(room.connect(peer(1)).is_some());
        places.clear();
        assert!(room.lock().is_empty(), "peers that have gone are forgotten");
    }

    #[test]
    fn bodies_under_way_have_so_many_bytes_together() {
        let room = Room::new();
        let (mut held, mut bytes) = (Vec::new(), 0);
        let places: Vec<_> = (0..100).filter_map(|last| room.connect(peer(last))).collect();
        for place in &places {
            let before = bytes;
            while let Some(one) = place.hold(LONGEST).now_or_never() {
                held.push(one.expect("it is as long as it may be"));
                bytes += LONGEST;
            }
            assert!(bytes - before <= BYTES_OF_PEER, "one peer has no more than its share");
        }
        assert!(bytes <= BYTES && bytes > BYTES - LONGEST, "{bytes}");
        let other = room.connect(peer(200)).expect("a place");
        assert!(other.hold(LONGEST).now_or_never().is_none());
        assert!(other.hold(SMALL).now_or_never().is_some(), "small ones wait for no others");
        held.clear();
        assert!(other.hold(LONGEST).now_or_never().is_some());
    }
}

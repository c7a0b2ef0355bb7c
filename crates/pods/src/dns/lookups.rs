//! How many names the host is asked for at a time, in all and for one pod.
//!
//! Each takes a thread of the terminal's process for as long as the host's name servers
//! take, which may be long. Names of the cluster need none.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Fewer than the threads that a runtime has for what blocks.
const MOST: usize = 256;
const OF_PEER: usize = 32;

/// The names that the host is being asked for, by the asker's address.
#[derive(Clone, Default)]
pub(crate) struct Lookups(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One of them; it counts until this is dropped.
pub(super) struct Lookup {
    all: Lookups,
    peer: IpAddr,
}

impl Lookups {
    /// Begins one, unless there are too many, or the peer has too many.
    pub(super) fn begin(&self, peer: IpAddr) -> Option<Lookup> {
        let mut running = self.lock();
        let all: usize = running.values().sum();
        let own = running.get(&peer).copied().unwrap_or(0);
        if all >= MOST || own >= OF_PEER {
            return None;
        }
        running.insert(peer, own + 1);
        Some(Lookup { all: self.clone(), peer })
    }

    // Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut running = self.all.lock();
        match running.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(running.remove(&self.peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(number: u8) -> IpAddr {
        [10, 244, 0, number].into()
    }

    #[test]
    fn a_pod_that_asks_for_many_names_leaves_room_for_others() {
        let lookups = Lookups::default();
        let of_first: Vec<_> = (0..100).map_while(|_| lookups.begin(pod(2))).collect();
        assert_eq!(of_first.len(), OF_PEER);
        assert!(lookups.begin(pod(3)).is_some());
        let all: Vec<_> = (3..100).flat_map(|one| (0..9).map_while(move |_| Some(one))).collect();
        let all: Vec<_> = all.into_iter().map_while(|one| lookups.begin(pod(one))).collect();
        assert_eq!(of_first.len() + all.len(), MOST);
        drop((of_first, all));
        assert!(lookups.lock().is_empty(), "askers are forgotten");
    }
}

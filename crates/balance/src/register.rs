//! All state of backends, endpoints and shares, by name.
//!
//! Tables are compiled against it and hold what they found in it. What no table
//! holds is kept for a while, so that a backend that is gone and comes back, or an
//! endpoint that is not ready for a moment, goes on where it was.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use crate::{breaker::Counts, endpoint::EndpointState, outliers::micros, weights::Turn};

/// How long state is kept that no table holds.
const KEPT: Duration = Duration::from_secs(10 * 60);

/// All state of a process, by name.
///
/// It is locked while tables are compiled, and when a backend is used for the first time.
#[derive(Debug, Default)]
pub struct Register {
    backends: Mutex<HashMap<Arc<str>, Entry<BackendState>>>,
    turns: Mutex<HashMap<Shares, Entry<Turn>>>,
}

/// What is remembered of a backend.
#[derive(Debug, Default)]
pub struct BackendState {
    pub(crate) turn: Turn,
    endpoints: Mutex<HashMap<SocketAddr, Entry<EndpointState>>>,
    /// Moments are counted from here.
    epoch: OnceLock<Instant>,
    /// Until when the last of its endpoints is left out; zero when none ever was.
    pub(crate) last_ejected_until: AtomicU64,
    /// When the last of its endpoints was first chosen from.
    pub(crate) last_added: AtomicU64,
    ejecting: Mutex<()>,
    /// Set once something of it has a limit.
    counts: OnceLock<Arc<Counts>>,
}

/// What tells shares from others.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shares {
    name: Arc<str>,
    content: u64,
}

/// A state, and since when no table holds it.
#[derive(Debug)]
struct Entry<T> {
    state: Arc<T>,
    unused_since: Option<Instant>,
}

impl<T> Default for Entry<T>
where
    T: Default,
{
    fn default() -> Self {
        Self { state: Arc::default(), unused_since: None }
    }
}

impl<T> Entry<T> {
    fn take(&mut self) -> Arc<T> {
        self.unused_since = None;
        Arc::clone(&self.state)
    }

    /// Whether it is still used, or was not long ago.
    fn is_kept(&mut self, now: Instant) -> bool {
        if Arc::strong_count(&self.state) > 1 {
            self.unused_since = None;
            return true;
        }
        let since = *self.unused_since.get_or_insert(now);
        now.saturating_duration_since(since) < KEPT
    }
}

impl Register {
    /// The state of the backend called `name`.
    pub fn backend(&self, name: &str) -> Arc<BackendState> {
        let mut backends = lock(&self.backends);
        match backends.get_mut(name) {
            Some(entry) => entry.take(),
            None => backends.entry(Arc::from(name)).or_default().take(),
        }
    }

    /// The turn of the shares with this `content` under the rules called `name`. The
    /// place of a rule among others is not part of it.
    pub fn turn(&self, name: &str, content: u64) -> Arc<Turn> {
        let shares = Shares { name: Arc::from(name), content };
        lock(&self.turns).entry(shares).or_default().take()
    }

    /// How many endpoints it knows, for each backend that was used.
    pub fn remembered(&self) -> usize {
        lock(&self.backends).values().map(|entry| lock(&entry.state.endpoints).len()).sum()
    }

    /// Drops what no table has held for ten minutes. To be called every minute or so.
    pub fn sweep(&self, now: Instant) {
        let mut backends = lock(&self.backends);
        backends.retain(|_, entry| {
            lock(&entry.state.endpoints).retain(|_, endpoint| endpoint.is_kept(now));
            entry.is_kept(now)
        });
        lock(&self.turns).retain(|_, entry| entry.is_kept(now));
    }
}

impl BackendState {
    /// `now` in microseconds since a time of its own.
    pub(crate) fn moment(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(*self.epoch.get_or_init(|| now)))
    }

    /// What it counts for limits, from when it first had some.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        self.counts.get_or_init(Arc::default)
    }

    /// Nothing of it has a limit any more: what waits for a connection gets one.
    pub fn lift_limits(&self) {
        if let Some(counts) = self.counts.get() {
            counts.connections.set_most(u32::MAX);
        }
    }

    /// Keeps others from leaving out endpoints meanwhile, so that they are counted exactly.
    pub(crate) fn ejecting(&self) -> MutexGuard<'_, ()> {
        lock(&self.ejecting)
    }

    /// Exchanges under way with the endpoint at `address`, through whatever table.
    pub fn in_flight(&self, address: SocketAddr) -> u32 {
        lock(&self.endpoints).get(&address).map_or(0, |entry| entry.state.in_flight())
    }

    /// The state of the endpoint at `address`.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> Arc<EndpointState> {
        lock(&self.endpoints).entry(address).or_default().take()
    }
}

/// A thread that panicked with the lock left nothing half-done: each change is one
/// call of the map.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_table_holds_is_kept_for_a_while_and_then_dropped() {
        let register = Register::default();
        let now = Instant::now();
        let address = ([10, 0, 0, 1], 80).into();
        let backend = register.backend("a");
        let endpoint = Arc::downgrade(&backend.endpoint(address));
        let turn = Arc::downgrade(&register.turn("r", 1));
        register.sweep(now);
        register.sweep(now + KEPT / 2);
        assert!(endpoint.upgrade().is_some() && turn.upgrade().is_some());
        let held = backend.endpoint(address);
        register.sweep(now + KEPT);
        assert!(endpoint.upgrade().is_some(), "it is held");
        assert!(turn.upgrade().is_none());
        drop(held);
        register.sweep(now + KEPT);
        register.sweep(now + KEPT * 2);
        assert!(endpoint.upgrade().is_none());
        assert!(Arc::ptr_eq(&backend, &register.backend("a")));
        let weak = Arc::downgrade(&backend);
        drop(backend);
        register.sweep(now + KEPT * 2);
        register.sweep(now + KEPT * 3);
        assert!(weak.upgrade().is_none());
    }
}

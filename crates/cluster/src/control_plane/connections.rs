//! The open connections of a server, of which there are at most so many.
//!
//! Where there is no room for one more, the one that has been idle for longest is
//! closed: a client that holds connections open cannot keep others out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<Open>,
    /// Something has been closed, or has become idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, State>,
}

#[derive(Debug)]
struct State {
    /// Since when it waits for a request; `None` while one is answered.
    idle_since: Option<Instant>,
    close: Arc<Notify>,
}

impl Connections {
    /// None yet, and at most so many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default(), changed: Notify::new() })
    }

    /// Adds one, as soon as there is room; closes an idle one for it if need be.
    pub(super) async fn enter(self: &Arc<Self>, now: impl Fn() -> Instant) -> Connection {
        loop {
            let changed = self.changed.notified();
            if let Some(connection) = self.try_enter(now()) {
                return connection;
            }
            changed.await;
        }
    }

    fn try_enter(self: &Arc<Self>, now: Instant) -> Option<Connection> {
        let mut open = self.lock();
        if open.connections.len() >= self.most {
            let idle = |(id, state): (&u64, &State)| Some((state.idle_since?, *id));
            let (_, oldest) = open.connections.iter().filter_map(idle).min()?;
            if let Some(state) = open.connections.remove(&oldest) {
                state.close.notify_one();
            }
        }
        let id = open.next;
        open.next += 1;
        let close = Arc::new(Notify::new());
        let state = State { idle_since: Some(now), close: Arc::clone(&close) };
        open.connections.insert(id, state);
        Some(Connection { id, close, all: Arc::clone(self) })
    }

    // Nothing panics while the lock is held, and what it guards is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    close: Arc<Notify>,
    all: Arc<Connections>,
}

impl Connection {
    /// Waits until the connection has to make room.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Notes that a request is being answered.
    pub(super) fn busy(&self) {
        self.set(None);
    }

    /// Notes that the connection waits for its next request.
    pub(super) fn idle(&self, now: Instant) {
        self.set(Some(now));
        self.all.changed.notify_one();
    }

    fn set(&self, idle_since: Option<Instant>) {
        if let Some(state) = self.all.lock().connections.get_mut(&self.id) {
            state.idle_since = idle_since;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.lock().connections.remove(&self.id);
        self.all.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_one_that_was_idle_for_longest_makes_room() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let all = Connections::new(2);
        let first = all.enter(|| at(0)).await;
        let second = all.enter(|| at(1)).await;
        first.busy();
        first.idle(at(2));
        let third = all.enter(|| at(3)).await;
        second.closed().await;
        assert!(futures::poll!(std::pin::pin!(first.closed())).is_pending());

        first.busy();
        third.busy();
        let mut fourth = std::pin::pin!(all.enter(|| at(4)));
        assert!(futures::poll!(&mut fourth).is_pending(), "nobody is closed in mid-answer");
        first.idle(at(5));
        let _fourth = fourth.await;
        first.closed().await;
    }

    #[tokio::test]
    async fn one_that_ends_makes_room() {
        let all = Connections::new(1);
        let first = all.enter(Instant::now).await;
        first.busy();
        let mut second = std::pin::pin!(all.enter(Instant::now));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        second.await;
    }
}

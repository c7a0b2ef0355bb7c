//! The open connections of one worker: which are idle, and which are to end.
//!
//! Looking costs a connection nothing while none is to end: two flags of its own, and a
//! waker that is left once.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll, Waker},
    time::Instant,
};

use crate::{
    connection::downstream::IdleTimer,
    worker::{Counts, StillOpen},
};

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct OpenConnections {
    draining: Rc<Cell<bool>>,
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Rc<Entry>>>,
}

/// A connection that has no exchange under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleConnection {
    /// Its number among those of its worker.
    pub number: u64,
    /// The end of its last exchange.
    pub since: Instant,
}

/// One connection.
#[derive(Debug)]
struct Entry {
    draining: Rc<Cell<bool>>,
    shed: Cell<bool>,
    /// Held while it is being closed.
    still_open: RefCell<Option<StillOpen>>,
    waker: RefCell<Option<Waker>>,
    idle_timer: Rc<IdleTimer>,
    /// Its listener's count of connections.
    of: Option<Arc<AtomicUsize>>,
}

/// A connection's own view of whether it is to end; it counts until this is dropped.
#[derive(Debug)]
pub struct ConnectionGuard {
    connections: Rc<OpenConnections>,
    entry: Rc<Entry>,
    number: u64,
    counts: Option<Rc<Counts>>,
}

impl OpenConnections {
    /// Ends all connections as they become idle, those that are still to come included.
    pub fn start(&self) {
        self.draining.set(true);
        self.open.borrow().values().for_each(|entry| entry.wake());
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// Counts a connection, one of the listener that counts its own in `of`.
    pub fn enter(self: &Rc<Self>, of: Option<&Arc<AtomicUsize>>) -> ConnectionGuard {
        let number = self.next.get();
        self.next.set(number + 1);
        let entry = Rc::new(Entry {
            draining: Rc::clone(&self.draining),
            shed: Cell::new(false),
            still_open: RefCell::default(),
            waker: RefCell::default(),
            idle_timer: Rc::default(),
            of: of.map(Arc::clone),
        });
        self.open.borrow_mut().insert(number, Rc::clone(&entry));
        ConnectionGuard { connections: Rc::clone(self), entry, number, counts: None }
    }

    /// The `count` connections that have had no exchange for the longest time, since `before`
    /// at the latest, in no order, of the listener `of` where that is given.
    pub fn idlest(
        &self,
        count: usize,
        of: Option<&Arc<AtomicUsize>>,
        before: Instant,
    ) -> Vec<IdleConnection> {
        let is_of = |entry: &Entry| match (of, &entry.of) {
            (Some(wanted), Some(of)) => Arc::ptr_eq(wanted, of),
            (Some(_), None) => false,
            (None, _) => true,
        };
        let open = self.open.borrow();
        let mut idle: Vec<_> = open
            .iter()
            .filter(|(_, entry)| !entry.shed.get() && is_of(entry))
            .filter_map(|(number, entry)| {
                Some(IdleConnection { number: *number, since: entry.idle_timer.silent_since()? })
            })
            .filter(|idle| idle.since <= before)
            .collect();
        if idle.len() > count && count > 0 {
            idle.select_nth_unstable_by_key(count - 1, |one| one.since);
        }
        idle.truncate(count);
        idle
    }

    /// Closes these connections, but for those that have been used since; until they have ended
    /// they hold `still_open`.
    pub fn shed(&self, idle: &[IdleConnection], still_open: &StillOpen) {
        let open = self.open.borrow();
        for one in idle {
            let entry = open.get(&one.number);
            if let Some(entry) = entry.filter(|it| it.idle_timer.silent_since() == Some(one.since))
            {
                entry.shed.set(true);
                entry.still_open.replace(Some(still_open.clone()));
                entry.wake();
            }
        }
    }
}

impl Entry {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whether `flag` is set; the task is woken when one of the flags is.
    fn poll(&self, flag: &Cell<bool>, context: &mut Context<'_>) -> bool {
        if flag.get() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        false
    }
}

impl ConnectionGuard {
    /// Whether the connection is to end as soon as it is idle; its task, the one that
    /// polled last, is woken when that changes.
    pub fn poll(&self, context: &mut Context<'_>) -> bool {
        self.entry.poll(&self.entry.draining, context)
    }

    /// Ready when the connection is to end as soon as it is idle.
    pub async fn draining(&self) {
        poll_fn(|context| ready_if(self.poll(context))).await;
    }

    /// Ready when the connection is to be closed at once, because there are too many.
    pub fn shed(&self) -> impl Future<Output = ()> + use<> {
        let entry = Rc::clone(&self.entry);
        poll_fn(move |context| ready_if(entry.poll(&entry.shed, context)))
    }

    /// Adds the counts that the connection is part of, and that this keeps.
    pub fn counted(mut self, counts: Rc<Counts>) -> Self {
        self.counts = Some(counts);
        self
    }

    /// What the connection is counted in, for what outlives it.
    pub fn counts(&self) -> Option<Rc<Counts>> {
        self.counts.clone()
    }

    /// Since when the connection has had no exchange.
    pub fn idle_timer(&self) -> Rc<IdleTimer> {
        Rc::clone(&self.entry.idle_timer)
    }
}

fn ready_if(condition: bool) -> Poll<()> {
    if condition { Poll::Ready(()) } else { Poll::Pending }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.number);
        if let (Some(counts), Some(still_open)) = (&self.counts, self.entry.still_open.take()) {
            counts.hold(still_open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn every_connection_is_woken_once_draining_begins() {
        let connections = Rc::new(OpenConnections::default());
        let told = async |guard: ConnectionGuard| guard.draining().await;
        let (one, two) = (connections.enter(None), connections.enter(None));
        assert_eq!(connections.count(), 2);
        let start = async { connections.start() };
        tokio::join!(told(one), told(two), start);
        assert_eq!(connections.count(), 0);
        told(connections.enter(None)).await;
    }

    #[tokio::test]
    async fn the_idlest_connections_are_closed_and_busy_ones_are_not() {
        let connections = Rc::new(OpenConnections::default());
        let (one, other) = (Arc::default(), Arc::default());
        let guards: Vec<ConnectionGuard> = (0..6).map(|_| connections.enter(Some(&one))).collect();
        let now = Instant::now();
        for (at, guard) in guards.iter().enumerate() {
            let timer = guard.idle_timer();
            timer.begin();
            // The later ones have been idle for longer; the last one is busy.
            let ago = Duration::from_secs(at as u64);
            if at < 5 {
                timer.end(now.checked_sub(ago).unwrap());
            }
        }
        assert_eq!(connections.idlest(2, Some(&other), now), [], "another listener has none");
        let long_ago = now.checked_sub(Duration::from_secs(60)).unwrap();
        assert_eq!(connections.idlest(2, Some(&one), long_ago), [], "all were used since");
        let idle = connections.idlest(2, Some(&one), now);
        // One of the two is used before it is closed.
        let used = guards[4].idle_timer();
        used.begin();
        used.end(now);
        let (still_open, mut ended) = tokio::sync::mpsc::channel(1);
        connections.shed(&idle, &still_open);
        drop(still_open);
        let shed: Vec<bool> = guards.iter().map(|guard| guard.entry.shed.get()).collect();
        assert_eq!(shed, [false, false, false, true, false, false]);
        guards[3].shed().await;
        assert_eq!(
            connections.idlest(10, None, now).len(),
            4,
            "not the busy one, nor one that is closed"
        );
        let mut guards = guards;
        assert!(ended.try_recv() == Err(tokio::sync::mpsc::error::TryRecvError::Empty));
        guards.remove(3);
        assert_eq!(ended.recv().await, None, "the closed one has ended");
    }
}

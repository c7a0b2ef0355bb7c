//! How many connections to a backend are open, and who gets the next one.
//!
//! Connections belong to pools: each worker has one for each endpoint. What needs a connection
//! while as many are open as may be waits here, in order, and gets either the right to open one
//! or, where its own pool has one that is free again, that one. A pool with free connections is
//! asked for them as long as something waits, in whatever pool. The lock is held for a few map
//! operations, by what opens, closes or waits; a request that finds a free connection reads one
//! number.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use crate::{breaker::Overflow, register::lock};

/// How often a pool may keep a connection for what waits in itself while something else has
/// waited for longer.
const MOST_PASSED: u32 = 8;

/// The connections to a backend, of all workers.
#[derive(Debug)]
pub struct Connections {
    /// How many requests wait for which no connection is about to be closed.
    wanted: AtomicUsize,
    pools: AtomicU64,
    /// How many have no request.
    free: AtomicUsize,
    queue: Mutex<Queue>,
}

/// One of the pools of connections to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId {
    number: u64,
    /// Whether it may have one connection whatever the limit: no other has one for its requests.
    has_first: bool,
}

/// The right to have one connection open, until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    pool: PoolId,
}

/// What ends the wait for a connection.
#[derive(Debug)]
pub enum Grant {
    /// One may be opened.
    Open(ConnectionPermit),
    /// The pool has kept one for the request.
    Kept,
}

/// What a pool does with a connection that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing waits: it keeps it.
    Free,
    /// It keeps it for a request that waits in this pool, and that is woken.
    Kept,
    /// It closes it, since what waits for longest is elsewhere.
    Close,
}

/// A wait for a connection; one that is dropped leaves the queue.
#[derive(Debug)]
pub struct Waiting {
    connections: Arc<Connections>,
    ticket: u64,
    pool: PoolId,
}

#[derive(Debug)]
struct Queue {
    most: u32,
    open: u32,
    /// How many are open of each pool that may have its first whatever the limit.
    of_first: HashMap<PoolId, u32>,
    next: u64,
    /// What waits, in order.
    waiting: BTreeMap<u64, Waiter>,
    /// The same by pool.
    by_pool: BTreeSet<(PoolId, u64)>,
    /// What need not wait any more, and has not looked yet.
    granted: HashMap<u64, Granted>,
    /// Pools that have free connections, and learn that something waits.
    watching: HashMap<PoolId, Waker>,
    /// How many of them get what pools are about to close.
    promised: usize,
    /// How often the first in the queue was passed over.
    passed: u32,
}

impl Queue {
    /// How many wait for which no connection is about to be closed.
    fn wanted(&self) -> usize {
        self.waiting.len().saturating_sub(self.promised)
    }

    /// Whether `pool` may open one whatever the limit.
    fn may_have_first(&self, pool: PoolId) -> bool {
        pool.has_first && !self.of_first.contains_key(&pool)
    }

    /// One more is open.
    fn count(&mut self, pool: PoolId) {
        self.open += 1;
        if pool.has_first {
            *self.of_first.entry(pool).or_default() += 1;
        }
    }

    /// One is not open any more.
    fn discount(&mut self, pool: PoolId) {
        self.open = self.open.saturating_sub(1);
        if let Some(open) = self.of_first.get_mut(&pool) {
            *open -= 1;
            if *open == 0 {
                self.of_first.remove(&pool);
            }
        }
    }

    /// The first that waits in `pool`.
    fn first_of(&self, pool: PoolId) -> Option<u64> {
        self.by_pool.range((pool, 0)..=(pool, u64::MAX)).next().map(|(_, ticket)| *ticket)
    }
}

#[derive(Debug)]
struct Waiter {
    pool: PoolId,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    Open,
    Kept,
}

impl Default for Connections {
    fn default() -> Self {
        let queue = Queue {
            most: u32::MAX,
            open: 0,
            of_first: HashMap::new(),
            next: 0,
            waiting: BTreeMap::new(),
            by_pool: BTreeSet::new(),
            granted: HashMap::new(),
            watching: HashMap::new(),
            promised: 0,
            passed: 0,
        };
        Self {
            wanted: AtomicUsize::new(0),
            pools: AtomicU64::new(0),
            free: AtomicUsize::new(0),
            queue: Mutex::new(queue),
        }
    }
}

impl Connections {
    /// A name for one more pool.
    pub fn pool(&self) -> PoolId {
        PoolId { number: self.pools.fetch_add(1, SeqCst), has_first: false }
    }

    /// A name for one more pool whose connections are shared by its requests. As long as it has
    /// none open it may open one whatever the limit.
    pub fn shared_pool(&self) -> PoolId {
        PoolId { has_first: true, ..self.pool() }
    }

    /// At most so many may be open from now on. Those that are too many stay until they are free.
    pub(crate) fn set_most(&self, most: u32) {
        let mut queue = lock(&self.queue);
        if queue.most == most {
            return;
        }
        queue.most = most;
        let woken = self.grant(&mut queue);
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
    }

    /// How many are open.
    pub fn open_now(&self) -> u32 {
        lock(&self.queue).open
    }

    /// Whether something waits for a connection.
    pub fn are_wanted(&self) -> bool {
        self.wanted.load(SeqCst) > 0
    }

    /// The right to open one of `pool` at once, if there is room and nothing waits for it.
    pub fn open(self: &Arc<Self>, pool: PoolId) -> Option<ConnectionPermit> {
        let mut queue = lock(&self.queue);
        let has_room = queue.waiting.is_empty() && queue.open < queue.most;
        if !has_room && !queue.may_have_first(pool) {
            return None;
        }
        queue.count(pool);
        Some(ConnectionPermit { connections: Arc::clone(self), pool })
    }

    /// So many more, or fewer, connections have no request. Those that wait for them do not wait
    /// for the end of another request.
    pub fn freed(&self, before: usize, after: usize) {
        match after.checked_sub(before) {
            Some(more) => self.free.fetch_add(more, SeqCst),
            None => self.free.fetch_sub(before - after, SeqCst),
        };
    }

    /// How many wait.
    pub fn queued(&self) -> usize {
        lock(&self.queue).waiting.len()
    }

    /// Waits for a connection of `pool`, unless `most` wait for the end of other requests.
    pub fn wait(self: &Arc<Self>, pool: PoolId, most: u32) -> Result<Waiting, Overflow> {
        let mut queue = lock(&self.queue);
        let at_hand = queue.promised + self.free.load(SeqCst);
        let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(at_hand);
        if queue.open >= queue.most && queue.waiting.len() >= most {
            return Err(Overflow);
        }
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.insert(ticket, Waiter { pool, waker: None });
        queue.by_pool.insert((pool, ticket));
        let mut woken = self.grant(&mut queue);
        woken.extend(self.grant_first(&mut queue, pool));
        self.publish(&queue);
        if queue.wanted() > 0 {
            woken.extend(queue.watching.drain().map(|(_, waker)| waker));
        }
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
        Ok(Waiting { connections: Arc::clone(self), ticket, pool })
    }

    /// What `pool` does with a connection that has no request any more.
    pub fn offer(&self, pool: PoolId) -> Offer {
        let mut queue = lock(&self.queue);
        let first = queue.waiting.keys().next().copied().filter(|_| queue.wanted() > 0);
        let Some(first) = first else {
            return match queue.open > queue.most {
                true => Offer::Close,
                false => Offer::Free,
            };
        };
        let own = queue.first_of(pool);
        let passes = own.is_some_and(|own| own != first);
        let own = own.filter(|_| queue.open <= queue.most);
        let Some(own) = own.filter(|_| !passes || queue.passed < MOST_PASSED) else {
            queue.promised += 1;
            self.publish(&queue);
            return Offer::Close;
        };
        queue.passed = if passes { queue.passed + 1 } else { 0 };
        let waker = self.take(&mut queue, own, Granted::Kept);
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
        Offer::Kept
    }

    /// Whether a connection that has no request, and cannot be kept for one that waits, is closed:
    /// for what waits for longest, or since more are open than may be.
    pub fn gives_up(&self) -> bool {
        let mut queue = lock(&self.queue);
        let is_wanted = queue.wanted() > 0;
        if is_wanted {
            queue.promised += 1;
            self.publish(&queue);
        }
        is_wanted || queue.open > queue.most
    }

    /// Ready while something waits for a connection. To be polled by a pool that has some that
    /// are free.
    pub fn poll_wanted(&self, pool: PoolId, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = lock(&self.queue);
        if queue.wanted() > 0 {
            return Poll::Ready(());
        }
        queue.watching.insert(pool, context.waker().clone());
        Poll::Pending
    }

    /// `pool` is no more.
    pub fn forget(&self, pool: PoolId) {
        lock(&self.queue).watching.remove(&pool);
    }

    /// Lets in what waits as far as there is room; whom to wake.
    fn grant(&self, queue: &mut Queue) -> Vec<Waker> {
        let mut woken = Vec::new();
        while queue.open < queue.most
            && let Some((&first, &Waiter { pool, .. })) = queue.waiting.first_key_value()
        {
            queue.count(pool);
            queue.passed = 0;
            woken.extend(self.take(queue, first, Granted::Open));
        }
        woken
    }

    /// Lets in the first that waits in `pool` where that may have one whatever the limit.
    fn grant_first(&self, queue: &mut Queue, pool: PoolId) -> Option<Waker> {
        let first = queue.first_of(pool).filter(|_| queue.may_have_first(pool))?;
        queue.count(pool);
        self.take(queue, first, Granted::Open)
    }

    /// Takes `ticket` out of the queue; whom to wake.
    fn take(&self, queue: &mut Queue, ticket: u64, granted: Granted) -> Option<Waker> {
        let waiter = queue.waiting.remove(&ticket)?;
        queue.by_pool.remove(&(waiter.pool, ticket));
        queue.granted.insert(ticket, granted);
        self.publish(queue);
        waiter.waker
    }

    /// One of `pool` is not open any more; whom to wake.
    fn release(&self, queue: &mut Queue, pool: PoolId) -> Vec<Waker> {
        queue.discount(pool);
        queue.promised = queue.promised.saturating_sub(1);
        let mut woken = self.grant(queue);
        woken.extend(self.grant_first(queue, pool));
        self.publish(queue);
        // Where more are open than may be, what waits gets none of this.
        if queue.wanted() > 0 {
            woken.extend(queue.watching.drain().map(|(_, waker)| waker));
        }
        woken
    }

    fn publish(&self, queue: &Queue) {
        self.wanted.store(queue.wanted(), SeqCst);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut queue = lock(&self.connections.queue);
        let woken = self.connections.release(&mut queue, self.pool);
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Waiting {
    /// Leaves the queue; whether its pool has kept a connection for it that it did not take.
    pub fn leave(&mut self) -> bool {
        let mut queue = lock(&self.connections.queue);
        let mut woken = Vec::new();
        let kept = match queue.granted.remove(&self.ticket) {
            Some(Granted::Kept) => true,
            Some(Granted::Open) => {
                woken = self.connections.release(&mut queue, self.pool);
                false
            }
            None => {
                if queue.waiting.remove(&self.ticket).is_some() {
                    queue.by_pool.remove(&(self.pool, self.ticket));
                    self.connections.publish(&queue);
                }
                false
            }
        };
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
        kept
    }
}

impl Future for Waiting {
    type Output = Grant;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Grant> {
        let connections = &self.connections;
        let mut queue = lock(&connections.queue);
        match queue.granted.remove(&self.ticket) {
            Some(Granted::Kept) => return Poll::Ready(Grant::Kept),
            Some(Granted::Open) => {
                let connections = Arc::clone(connections);
                let permit = ConnectionPermit { connections, pool: self.pool };
                return Poll::Ready(Grant::Open(permit));
            }
            None => {}
        }
        let Some(waiter) = queue.waiting.get_mut(&self.ticket) else { return Poll::Pending };
        let before = waiter.waker.replace(context.waker().clone());
        drop(queue);
        // What a waker does when it is dropped is not known here.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;

//! Connections of backends that have limits: who may open one, what waits for one, and when one
//! is not used any more.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, timeout},
};
use weft_balance::{ConnectionPermit, Connections, Grant, Offer, Permit, PoolId, Waiting};
use weft_decide::ConnectionPolicy;

use super::{ConnectionPool, IDLE_LIMIT, Idle, PoolError};
use crate::http::http2::client::Client;

/// How long a connection that was kept for a request may take until the request can be sent.
const NOT_READY: Duration = Duration::from_secs(1);

/// What a pool has beside its connections where its backend has settings for them.
pub struct Limited {
    policy: Arc<ConnectionPolicy>,
    /// Set where the number of connections is limited.
    counted: Option<Counted>,
}

/// A pool among all that share a limit.
struct Counted {
    connections: Arc<Connections>,
    /// The pool's connections of HTTP/1, and what waits for them.
    http1: PoolId,
    /// The same of HTTP/2.
    http2: PoolId,
    /// Connections that are kept for requests that wait.
    kept: RefCell<Vec<Idle>>,
    /// Wakes the watcher: a connection has no request any more.
    freed: Rc<Notify>,
    /// Wakes what waits for a stream.
    stream_freed: Rc<Notify>,
    watcher: RefCell<Option<AbortHandle>>,
}

/// A connection that a request has waited for, or the right to open one.
pub enum Turn {
    /// One that is open.
    Kept(Box<Idle>),
    /// One may be opened.
    Open(Room),
}

/// The right to open a connection.
#[derive(Default)]
pub struct Room {
    /// Without one, connections are not limited.
    pub permit: Option<ConnectionPermit>,
    /// Counts the request until it has a connection, where nothing else limits them.
    pub pending: Option<Permit>,
}

impl From<ConnectionPermit> for Room {
    fn from(permit: ConnectionPermit) -> Self {
        Self { permit: Some(permit), pending: None }
    }
}

/// A connection of no pool that serves nothing yet; it is at hand for what waits.
struct Spare {
    connections: Arc<Connections>,
    pool: PoolId,
}

impl Spare {
    fn of(connections: &Arc<Connections>) -> Self {
        connections.freed(0, 1);
        Self { connections: Arc::clone(connections), pool: connections.pool() }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.connections.freed(1, 0);
        self.connections.forget(self.pool);
    }
}

/// A request that waits. If it leaves, a connection that is kept for it finds another use.
struct Place<'p> {
    waiting: Waiting,
    pool: &'p ConnectionPool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.waiting.leave()
            && let Some(idle) = self.pool.take_kept()
        {
            self.pool.hand_on(idle);
        }
    }
}

impl Limited {
    /// What a pool of a backend with this `policy` has.
    pub fn new(policy: Arc<ConnectionPolicy>) -> Self {
        let counted = policy.breaker.connections().map(|connections| Counted {
            connections: Arc::clone(connections),
            http1: connections.pool(),
            http2: connections.shared_pool(),
            kept: RefCell::default(),
            freed: Rc::default(),
            stream_freed: Rc::default(),
            watcher: RefCell::default(),
        });
        Self { policy, counted }
    }

    /// What the connections go by.
    pub fn policy(&self) -> &ConnectionPolicy {
        &self.policy
    }

    /// How long a connection without a request is kept; without end if none.
    pub fn kept_idle(&self) -> Option<Duration> {
        Some(self.policy.data.idle.unwrap_or(IDLE_LIMIT)).filter(|limit| !limit.is_zero())
    }

    /// Whether the number of connections is limited.
    pub fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    /// Whether requests wait for a connection of any pool.
    pub fn are_wanted(&self) -> bool {
        self.counted.as_ref().is_some_and(|counted| counted.connections.are_wanted())
    }

    /// Counts a request that has no connection yet.
    pub fn pending(&self) -> Result<Option<Permit>, PoolError> {
        self.policy.breaker.pending().map_err(|_| PoolError::Overflow)
    }

    /// The right to open a connection of HTTP/1 at once, if nothing has to wait for it. What waits
    /// for as long as a connection takes to be made is counted where their number is not limited.
    pub fn open_http1(&self) -> Result<Option<Room>, PoolError> {
        self.open(|counted| counted.http1)
    }

    /// The same of HTTP/2. The first of a pool always may be: a connection is of one worker.
    pub fn open_http2(&self) -> Result<Option<Room>, PoolError> {
        self.open(|counted| counted.http2)
    }

    fn open(&self, pool: impl Fn(&Counted) -> PoolId) -> Result<Option<Room>, PoolError> {
        match &self.counted {
            None => Ok(Some(Room { permit: None, pending: self.pending()? })),
            Some(counted) => Ok(counted.connections.open(pool(counted)).map(Room::from)),
        }
    }

    /// Whether a connection that was `made` then, and has served so many requests, serves more.
    pub fn is_worn_out(&self, made: Instant, served: u32) -> bool {
        let data = &self.policy.data;
        data.max_requests_per_connection.is_some_and(|most| served >= most)
            || data.max_duration.is_some_and(|most| made.elapsed() >= most)
    }

    /// A stream has ended: what waits for one looks again.
    pub fn stream_freed(&self) {
        if let Some(counted) = &self.counted {
            counted.stream_freed.notify_one();
            counted.freed.notify_one();
        }
    }

    /// A connection of HTTP/2 was made: as many that wait look as it has streams. Perhaps nothing
    /// uses it.
    pub fn http2_made(&self, client: &Client) {
        if let Some(counted) = &self.counted {
            client.wake_by_room(&counted.stream_freed);
            counted.freed.notify_one();
        }
    }

    /// Waits for the right to open a connection of HTTP/2; for nothing where they are not limited.
    pub fn wait_http2(&self) -> Result<Option<Waiting>, PoolError> {
        self.counted.as_ref().map(|counted| self.wait(counted, counted.http2)).transpose()
    }

    fn wait(&self, counted: &Counted, pool: PoolId) -> Result<Waiting, PoolError> {
        let most = self.policy.breaker.most_pending();
        counted.connections.wait(pool, most).map_err(|_| PoolError::Overflow)
    }

    /// So many connections have no request now.
    pub fn count_idle(&self, before: usize, after: usize) {
        if let Some(counted) = &self.counted {
            counted.connections.freed(before, after);
        }
    }

    /// Waits until a stream has ended; for ever where connections are not limited.
    pub async fn next_stream(&self) {
        match &self.counted {
            Some(counted) => counted.stream_freed.notified().await,
            None => pending().await,
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let Some(counted) = &self.counted else { return };
        if let Some(watcher) = counted.watcher.take() {
            watcher.abort();
        }
        counted.connections.forget(counted.http1);
    }
}

impl ConnectionPool {
    /// Waits for at most `limit` for a connection of HTTP/1, or for the right to open one.
    pub async fn turn(&self, limit: Duration) -> Result<Turn, PoolError> {
        let Some(limited) = &self.limited else { return Ok(Turn::Open(Room::default())) };
        if let Some(room) = limited.open_http1()? {
            return Ok(Turn::Open(room));
        }
        let Some(counted) = &limited.counted else { return Ok(Turn::Open(Room::default())) };
        Box::pin(self.wait_turn((limited, counted), limit)).await
    }

    async fn wait_turn(
        &self,
        (limited, counted): (&Limited, &Counted),
        limit: Duration,
    ) -> Result<Turn, PoolError> {
        let due = Instant::now() + limit;
        loop {
            let waiting = limited.wait(counted, counted.http1)?;
            let mut place = Place { waiting, pool: self };
            let left = due.saturating_duration_since(Instant::now());
            match timeout(left, &mut place.waiting).await {
                Err(_) => return Err(PoolError::Overflow),
                Ok(Grant::Open(permit)) => return Ok(Turn::Open(permit.into())),
                Ok(Grant::Kept) => {
                    let Some(mut idle) = self.take_kept() else { continue };
                    // Its task has perhaps not seen yet that the last exchange is over.
                    if timeout(NOT_READY, idle.client.ready()).await == Ok(true) {
                        return Ok(Turn::Kept(Box::new(idle)));
                    }
                    idle.client.abort();
                }
            }
        }
    }

    /// The right to open a connection at once, for what is relayed as it is.
    pub fn open_now(&self) -> Result<Option<ConnectionPermit>, PoolError> {
        let counted = self.limited.as_ref().and_then(|limited| limited.counted.as_ref());
        let Some(counted) = counted else { return Ok(None) };
        counted.connections.open(counted.http1).map(Some).ok_or(PoolError::Overflow)
    }

    /// Whether the number of connections is limited.
    pub fn is_counted(&self) -> bool {
        self.limited.as_ref().is_some_and(Limited::is_counted)
    }

    /// Waits until a connection that was opened, and serves nothing yet, is to be closed for what
    /// waits for one; for ever where connections are not limited.
    pub async fn wanted(&self) {
        let counted = self.limited.as_ref().and_then(|limited| limited.counted.as_ref());
        let Some(counted) = counted else { return pending().await };
        let spare = Spare::of(&counted.connections);
        loop {
            poll_fn(|context| spare.connections.poll_wanted(spare.pool, context)).await;
            if spare.connections.gives_up() {
                return;
            }
        }
    }

    /// A connection has no request any more, and may serve another.
    pub fn hand_on(&self, idle: Idle) {
        let Some(limited) = &self.limited else { return self.insert_idle(idle) };
        if idle.client.has_ended() || limited.is_worn_out(idle.made, idle.served) {
            return;
        }
        let Some(counted) = &limited.counted else { return self.insert_idle(idle) };
        match counted.connections.offer(counted.http1) {
            Offer::Kept => counted.kept.borrow_mut().push(idle),
            Offer::Close => idle.client.abort(),
            Offer::Free => {
                self.insert_idle(idle);
                counted.freed.notify_one();
            }
        }
    }

    fn take_kept(&self) -> Option<Idle> {
        self.limited.as_ref()?.counted.as_ref()?.kept.borrow_mut().pop()
    }

    /// Gives up free connections as long as requests wait for one elsewhere.
    fn reclaim(&self) {
        let Some(limited) = &self.limited else { return };
        // Until it is said what becomes of it, it is at hand for what waits.
        limited.count_idle(0, 1);
        while limited.are_wanted()
            && let Some(idle) = self.take_idle()
        {
            self.hand_on(idle);
        }
        limited.count_idle(1, 0);
        let Some(counted) = &limited.counted else { return };
        while limited.are_wanted() && self.http2.close_unused(|| counted.connections.gives_up()) {}
    }

    /// Whether a connection has no request.
    fn has_free(&self) -> bool {
        !self.idle.borrow().is_empty() || self.http2.has_unused()
    }

    /// Begins to watch for requests that wait elsewhere while connections of this pool are free.
    pub fn watch(self: &Rc<Self>) {
        let Some(counted) = self.limited.as_ref().and_then(|limited| limited.counted.as_ref())
        else {
            return;
        };
        let (pool, freed) = (Rc::downgrade(self), Rc::clone(&counted.freed));
        let (connections, id) = (Arc::clone(&counted.connections), counted.http1);
        let watcher = tokio::task::spawn_local(async move {
            loop {
                freed.notified().await;
                while pool.upgrade().is_some_and(|pool| pool.has_free()) {
                    poll_fn(|context| connections.poll_wanted(id, context)).await;
                    if let Some(pool) = pool.upgrade() {
                        pool.reclaim();
                    }
                    // What the closed ones leave is seen once their tasks have run.
                    tokio::task::yield_now().await;
                }
            }
        });
        counted.watcher.replace(Some(watcher.abort_handle()));
    }
}

#[cfg(test)]
mod tests;

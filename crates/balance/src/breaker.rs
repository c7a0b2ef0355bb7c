//! How many requests, further tries and connections a backend may have at once.
//!
//! The counts are the register's: all workers and all tables share them, so that a limit is
//! exact. What has no limit is not counted.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use weft_config::ConnectionPool;

use crate::{connections::Connections, register::BackendState};

/// Requests that wait for a connection at once, where connections are limited and nothing is said
/// of those that wait.
const MOST_PENDING: u32 = 16_384;

/// The limits of a backend, and what counts towards them.
#[derive(Debug)]
pub struct CircuitBreaker {
    limits: ConnectionPool,
    counts: Arc<Counts>,
}

/// What is counted of a backend.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: AtomicU32,
    pending: AtomicU32,
    retries: AtomicU32,
    pub(crate) connections: Arc<Connections>,
}

/// As many are under way as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// Counts one until this is dropped.
#[derive(Debug)]
pub struct Permit {
    counts: Arc<Counts>,
    of: Counted,
}

/// What a permit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Request,
    Pending,
    Retry,
}

impl Counts {
    fn of(&self, counted: Counted) -> &AtomicU32 {
        match counted {
            Counted::Request => &self.requests,
            Counted::Pending => &self.pending,
            Counted::Retry => &self.retries,
        }
    }

    fn take(self: &Arc<Self>, of: Counted, most: u32) -> Result<Permit, Overflow> {
        let one_more = |count: u32| (count < most).then(|| count + 1);
        match self.of(of).fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Ok(Permit { counts: Arc::clone(self), of }),
            Err(_) => Err(Overflow),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counts.of(self.of).fetch_sub(1, Relaxed);
    }
}

impl CircuitBreaker {
    /// The breaker of the backend that `state` is of. What waits for a connection goes by the new
    /// limit at once.
    pub fn new(limits: &ConnectionPool, state: &BackendState) -> Self {
        let counts = Arc::clone(state.counts());
        counts.connections.set_most(limits.max_connections.unwrap_or(u32::MAX));
        Self { limits: limits.clone(), counts }
    }

    /// The connections, where they are limited.
    pub fn connections(&self) -> Option<&Arc<Connections>> {
        self.limits.max_connections.map(|_| &self.counts.connections)
    }

    /// Counts a request that is sent; nothing where nothing depends on the count.
    pub fn request(&self) -> Result<Option<Permit>, Overflow> {
        match (self.limits.max_requests, self.limits.retry_budget) {
            (None, None) => Ok(None),
            (most, _) => self.counts.take(Counted::Request, most.unwrap_or(u32::MAX)).map(Some),
        }
    }

    /// How many requests may wait for a connection at once.
    pub fn most_pending(&self) -> u32 {
        self.limits.max_pending.unwrap_or(MOST_PENDING)
    }

    /// Counts a request that waits until its connection is made, where connections are not
    /// limited; nothing where nothing depends on the count.
    pub fn pending(&self) -> Result<Option<Permit>, Overflow> {
        let most = match (self.limits.max_pending, self.limits.retry_budget) {
            (Some(most), _) => most,
            (None, Some(_)) => u32::MAX,
            (None, None) => return Ok(None),
        };
        self.counts.take(Counted::Pending, most).map(Some)
    }

    /// Counts a further try of a request; nothing where tries are not limited.
    pub fn retry(&self) -> Result<Option<Permit>, Overflow> {
        let most = match (self.limits.retry_budget, self.limits.max_retries) {
            (Some(budget), _) => {
                let [requests, pending, ..] = self.under_way();
                let under_way = f64::from(requests) + f64::from(pending);
                // A cast that does not fit ends at the largest number.
                budget.least.max((under_way * budget.percent / 100.0) as u32)
            }
            (None, Some(most)) => most,
            (None, None) => return Ok(None),
        };
        self.counts.take(Counted::Retry, most).map(Some)
    }

    /// Requests under way, requests that wait, further tries under way and connections.
    pub fn under_way(&self) -> [u32; 4] {
        let Counts { requests, pending, retries, connections } = &*self.counts;
        let queued = u32::try_from(connections.queued()).unwrap_or(u32::MAX);
        let pending = pending.load(Relaxed).saturating_add(queued);
        [requests.load(Relaxed), pending, retries.load(Relaxed), connections.open_now()]
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use weft_config::RetryBudget;

    use super::*;
    use crate::Register;

    fn breaker(limits: ConnectionPool) -> CircuitBreaker {
        CircuitBreaker::new(&limits, &Register::default().backend("b"))
    }

    #[test]
    fn four_threads_are_let_in_as_often_as_the_limit_says() {
        let limits = ConnectionPool { max_requests: Some(10), ..ConnectionPool::default() };
        let breaker = &breaker(limits);
        for _ in 0..200 {
            let held: Vec<Permit> = thread::scope(|scope| {
                let tries = || (0..10).filter_map(|_| breaker.request().ok().flatten());
                let threads: Vec<_> =
                    (0..4).map(|_| scope.spawn(move || tries().collect::<Vec<_>>())).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!((held.len(), breaker.under_way()), (10, [10, 0, 0, 0]));
            drop(held);
            assert_eq!(breaker.under_way(), [0; 4]);
        }
    }

    #[test]
    fn what_has_no_limit_is_not_counted() {
        let breaker = breaker(ConnectionPool::default());
        assert!(breaker.request().unwrap().is_none());
        assert!(breaker.pending().unwrap().is_none());
        assert!(breaker.retry().unwrap().is_none());
        assert!(breaker.connections().is_none());
    }

    #[test]
    fn a_budget_is_a_share_of_the_requests_and_never_less_than_its_least() {
        let budget = RetryBudget { percent: 20.0, least: 3 };
        let limits = ConnectionPool {
            retry_budget: Some(budget),
            max_retries: Some(1),
            ..ConnectionPool::default()
        };
        let breaker = breaker(limits);
        let retries = || std::iter::from_fn(|| breaker.retry().ok()).take(100).collect::<Vec<_>>();
        assert_eq!(retries().len(), 3);
        let _requests: Vec<_> = (0..40).map(|_| breaker.request().unwrap()).collect();
        let _pending: Vec<_> = (0..10).map(|_| breaker.pending().unwrap()).collect();
        assert_eq!(retries().len(), 10);
    }

    #[test]
    fn counts_outlive_the_table_that_they_were_made_with() {
        let register = Register::default();
        let limits = ConnectionPool { max_requests: Some(1), ..ConnectionPool::default() };
        let breaker = || CircuitBreaker::new(&limits, &register.backend("b"));
        let held = breaker().request();
        assert_eq!(breaker().request().unwrap_err(), Overflow);
        drop(held);
        assert!(breaker().request().is_ok());
    }
}

//! Connections that are opened, waited for, handed on and given up in any order.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::Wake,
};

use super::*;
use crate::Rng;

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn connections(most: u32) -> Arc<Connections> {
    let connections = Arc::new(Connections::default());
    connections.set_most(most);
    connections
}

/// The right to open one of another pool.
fn open(connections: &Arc<Connections>) -> Option<ConnectionPermit> {
    connections.open(connections.pool())
}

fn wait(connections: &Arc<Connections>, pool: PoolId) -> Waiting {
    connections.wait(pool, u32::MAX).expect("any number may wait")
}

fn poll(waiting: &mut Waiting, woken: &Arc<Woken>) -> Poll<Grant> {
    let waker = Waker::from(Arc::clone(woken));
    Pin::new(waiting).poll(&mut Context::from_waker(&waker))
}

fn is_open(polled: &Poll<Grant>) -> bool {
    matches!(polled, Poll::Ready(Grant::Open(_)))
}

#[test]
fn no_more_are_open_than_may_be_and_the_next_in_the_queue_is_woken() {
    let (connections, woken) = (connections(1), Arc::<Woken>::default());
    let pool = connections.pool();
    let held = open(&connections).expect("there is room for one");
    assert!(open(&connections).is_none());
    let (mut first, mut second) = (wait(&connections, pool), wait(&connections, pool));
    assert!(poll(&mut first, &woken).is_pending() && poll(&mut second, &woken).is_pending());
    drop(held);
    assert_eq!(woken.0.load(Relaxed), 1);
    let granted = poll(&mut first, &woken);
    assert!(is_open(&granted) && poll(&mut second, &woken).is_pending());
    drop(granted);
    assert!(is_open(&poll(&mut second, &woken)));
    assert_eq!((connections.open_now(), connections.are_wanted()), (0, false));
}

#[test]
fn what_leaves_before_it_has_looked_passes_its_turn_on() {
    let (connections, woken) = (connections(1), Arc::<Woken>::default());
    let pool = connections.pool();
    let held = open(&connections);
    let (first, mut second) = (wait(&connections, pool), wait(&connections, pool));
    assert!(poll(&mut second, &woken).is_pending());
    drop(held);
    drop(first);
    assert!(is_open(&poll(&mut second, &woken)));
    assert_eq!(connections.open_now(), 0);
}

#[test]
fn a_free_connection_is_kept_for_its_own_pool_or_closed_for_another() {
    let (connections, woken) = (connections(1), Arc::<Woken>::default());
    let (own, other) = (connections.pool(), connections.pool());
    assert_eq!(connections.offer(own), Offer::Free);
    let _held = open(&connections);
    let mut here = wait(&connections, own);
    let _next = wait(&connections, own);
    assert_eq!(connections.offer(other), Offer::Close);
    assert_eq!(connections.offer(own), Offer::Kept);
    assert!(matches!(poll(&mut here, &woken), Poll::Ready(Grant::Kept)));
    let mut left = wait(&connections, own);
    let _next = wait(&connections, own);
    assert_eq!([(); 2].map(|()| connections.offer(own)), [Offer::Kept; 2]);
    assert!(left.leave(), "its pool must find another use for it");
}

#[test]
fn so_many_may_wait_for_other_requests_and_more_for_connections_that_have_none() {
    let connections = connections(2);
    let pool = connections.pool();
    let _open = [open(&connections), open(&connections)];
    let one = connections.wait(pool, 1).expect("one may wait");
    assert_eq!(connections.wait(pool, 1).err(), Some(Overflow));
    drop(one);
    assert_eq!(connections.wait(pool, 0).err(), Some(Overflow));
    connections.freed(0, 1);
    let _for_the_free_one = connections.wait(pool, 0).expect("one is free elsewhere");
    assert_eq!(connections.wait(pool, 0).err(), Some(Overflow));
    // It is about to be closed.
    connections.freed(1, 0);
    assert_eq!(connections.offer(connections.pool()), Offer::Close);
    assert_eq!(connections.wait(pool, 0).err(), Some(Overflow));
    let _for_another = connections.wait(pool, 1).expect("one may wait");
}

#[test]
fn a_busy_pool_does_not_keep_its_connections_for_itself_for_ever() {
    let connections = connections(1);
    let (own, other) = (connections.pool(), connections.pool());
    let _held = open(&connections);
    let _elsewhere = wait(&connections, other);
    let mut waiting = Vec::new();
    let offers = (0..=MOST_PASSED).map(|_| {
        waiting.push(wait(&connections, own));
        connections.offer(own)
    });
    let offers: Vec<_> = offers.collect();
    assert_eq!(offers.iter().position(|offer| *offer == Offer::Close), Some(MOST_PASSED as usize));
}

#[test]
fn a_pool_with_free_connections_learns_that_one_is_wanted_once() {
    let (connections, woken) = (connections(1), Arc::<Woken>::default());
    let (idle, other) = (connections.pool(), connections.pool());
    let _held = open(&connections);
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert!(connections.poll_wanted(idle, &mut context).is_pending());
    let _first = wait(&connections, other);
    let _second = wait(&connections, other);
    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(connections.poll_wanted(idle, &mut context).is_ready());
}

#[test]
fn for_each_that_waits_one_connection_is_closed() {
    let (connections, woken) = (connections(2), Arc::<Woken>::default());
    let (idle, other) = (connections.pool(), connections.pool());
    let (one, two) = (open(&connections), open(&connections));
    let mut waiting = wait(&connections, other);
    assert!(poll(&mut waiting, &woken).is_pending());
    assert_eq!([(); 2].map(|()| connections.offer(idle)), [Offer::Close, Offer::Free]);
    assert!(!connections.are_wanted());
    drop(one);
    let granted = poll(&mut waiting, &woken);
    assert!(is_open(&granted));
    let mut next = wait(&connections, other);
    assert!(poll(&mut next, &woken).is_pending() && connections.are_wanted());
    drop(two);
    assert!(is_open(&poll(&mut next, &woken)));
}

#[test]
fn a_limit_that_is_raised_lets_in_what_waits_and_one_that_is_lowered_closes_what_is_free() {
    let (connections, woken) = (connections(1), Arc::<Woken>::default());
    let pool = connections.pool();
    let _first = open(&connections);
    let mut waiting = wait(&connections, pool);
    assert!(poll(&mut waiting, &woken).is_pending());
    connections.set_most(2);
    let granted = poll(&mut waiting, &woken);
    assert!(is_open(&granted) && woken.0.load(Relaxed) == 1);
    connections.set_most(1);
    assert_eq!(connections.offer(pool), Offer::Close);
}

#[test]
fn while_more_are_open_than_may_be_the_end_of_one_asks_for_the_next() {
    let connections = connections(2);
    let [here, there, elsewhere] = [(); 3].map(|()| connections.pool());
    let (one, _two) = (open(&connections), open(&connections));
    connections.set_most(1);
    let woken = [(); 2].map(|()| Arc::<Woken>::default());
    let is_wanted = |pool, woken: &Arc<Woken>| {
        let waker = Waker::from(Arc::clone(woken));
        connections.poll_wanted(pool, &mut Context::from_waker(&waker)).is_ready()
    };
    assert!(!is_wanted(here, &woken[0]) && !is_wanted(there, &woken[1]));
    let mut waiting = wait(&connections, elsewhere);
    assert!(poll(&mut waiting, &Arc::default()).is_pending());
    assert_eq!(woken.each_ref().map(|one| one.0.load(Relaxed)), [1, 1]);
    assert_eq!(connections.offer(here), Offer::Close);
    assert!(!is_wanted(there, &woken[1]));
    drop(one);
    assert_eq!(woken[1].0.load(Relaxed), 2);
    assert!(is_wanted(there, &woken[1]) && poll(&mut waiting, &Arc::default()).is_pending());
}

#[test]
fn a_shared_pool_may_have_its_first_whatever_the_limit_and_no_second() {
    let (connections, woken) = (connections(1), Arc::<Woken>::default());
    let (here, there) = (connections.shared_pool(), connections.shared_pool());
    let held = connections.open(here).expect("there is room");
    let first = connections.open(there).expect("it has none");
    assert!(connections.open(here).is_none() && connections.open(there).is_none());
    let [mut one, mut two] = [(); 2].map(|()| wait(&connections, there));
    assert!(poll(&mut one, &woken).is_pending() && poll(&mut two, &woken).is_pending());
    drop(first);
    let granted = poll(&mut one, &woken);
    assert!(is_open(&granted), "it has none again");
    assert!(poll(&mut two, &woken).is_pending() && connections.open_now() == 2);
    drop((held, granted));
    assert!(is_open(&poll(&mut two, &woken)));
    assert_eq!((connections.open_now(), connections.are_wanted()), (0, false));
}

/// What one pool has.
#[derive(Default)]
struct Model {
    busy: Vec<ConnectionPermit>,
    free: Vec<ConnectionPermit>,
    kept: Vec<ConnectionPermit>,
    waiting: Vec<Waiting>,
}

impl Model {
    /// A connection has no request any more.
    fn finish(&mut self, permit: ConnectionPermit, connections: &Connections, id: PoolId) {
        match connections.offer(id) {
            Offer::Free => self.free.push(permit),
            Offer::Kept => self.kept.push(permit),
            Offer::Close => drop(permit),
        }
    }
}

/// Any order of requests, ends, departures and broken connections: never too many at once, what
/// waits gets a connection as long as others end, and all counts return to nothing.
#[test]
fn whatever_happens_in_whatever_order_the_limit_is_kept_and_nothing_is_lost() {
    let woken = Arc::<Woken>::default();
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let most = 1 + rng.below(4) as u32;
        let connections = connections(most);
        // A shared one is one more than may be at most, while it has no other.
        let ids = [connections.pool(), connections.pool(), connections.shared_pool()];
        let mut pools = ids.map(|id| (id, Model::default()));
        let most = most + 1;
        for _ in 0..400 {
            let (id, pool) = &mut pools[rng.below(3)];
            match rng.below(6) {
                0 | 1 => match pool.free.pop().filter(|_| !connections.are_wanted()) {
                    Some(permit) => pool.busy.push(permit),
                    None => match connections.open(*id) {
                        Some(permit) => pool.busy.push(permit),
                        None => pool.waiting.push(wait(&connections, *id)),
                    },
                },
                2 => {
                    if let Some(permit) = pool.busy.pop() {
                        pool.finish(permit, &connections, *id);
                    }
                }
                3 => drop(pool.busy.pop()),
                4 if !pool.waiting.is_empty() => {
                    let at = rng.below(pool.waiting.len());
                    if pool.waiting.swap_remove(at).leave() {
                        let permit = pool.kept.pop().expect("one was kept for it");
                        pool.finish(permit, &connections, *id);
                    }
                }
                _ => settle(&connections, &mut pools, &woken),
            }
            let has =
                |(_, pool): &(PoolId, Model)| pool.busy.len() + pool.free.len() + pool.kept.len();
            assert!(pools.iter().map(has).sum::<usize>() <= most as usize, "seed {seed}");
            assert!(connections.open_now() <= most, "seed {seed}");
        }
        // Each that has a connection ends, until nobody waits.
        for _ in 0..2_000 {
            settle(&connections, &mut pools, &woken);
            for (id, pool) in &mut pools {
                if let Some(permit) = pool.busy.pop() {
                    pool.finish(permit, &connections, *id);
                }
            }
        }
        assert!(pools.iter().all(|(_, pool)| pool.waiting.is_empty()), "seed {seed}");
        drop(pools);
        assert_eq!((connections.open_now(), connections.are_wanted()), (0, false), "seed {seed}");
        let queue = lock(&connections.queue);
        assert!(queue.granted.is_empty() && queue.by_pool.is_empty(), "seed {seed}");
        assert!(queue.of_first.is_empty() && queue.promised == 0, "seed {seed}");
    }
}

/// Does what tasks do once they are woken.
fn settle(connections: &Arc<Connections>, pools: &mut [(PoolId, Model)], woken: &Arc<Woken>) {
    for (id, pool) in &mut *pools {
        let waker = Waker::from(Arc::clone(woken));
        while !pool.free.is_empty()
            && connections.poll_wanted(*id, &mut Context::from_waker(&waker)).is_ready()
        {
            let permit = pool.free.pop().expect("there is one");
            pool.finish(permit, connections, *id);
        }
    }
    for (_, pool) in pools {
        let Model { busy, kept, waiting, .. } = pool;
        waiting.retain_mut(|waiting| match poll(waiting, woken) {
            Poll::Pending => true,
            Poll::Ready(Grant::Open(permit)) => {
                busy.push(permit);
                false
            }
            Poll::Ready(Grant::Kept) => {
                busy.push(kept.pop().expect("one was kept for it"));
                false
            }
        });
    }
}

//! Closing the idlest connections when there are too many, whichever workers have them.
//!
//! A round asks every worker for its idlest connections, closes the idlest of them all, and
//! waits until they have ended. Those of one listener, or those of the whole process, have one
//! round at a time, and a pause after it.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::Notified, mpsc},
    time::{Instant, timeout},
};

use crate::{worker::Handle, worker::open_connections::IdleConnection};

/// How long the workers may take to say which of their connections are idle, and to close
/// some.
const PATIENCE: Duration = Duration::from_secs(1);
/// After a round no other begins for so many times as long as it took, since it looks at all
/// connections of every worker.
const PAUSE_FACTOR: u32 = 10;
/// The longest and the shortest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Closes idle connections of `workers`.
pub struct Shedding {
    workers: Arc<Vec<Handle>>,
    rounds: Rc<RefCell<Vec<Round>>>,
    /// Told at the end of each round.
    ended: Rc<Notify>,
}

/// A round that is under way, or the pause after one.
struct Round {
    of: Option<Arc<AtomicUsize>>,
    pause: Option<Pause>,
}

/// What follows a round.
#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    /// Whether the round found fewer idle connections than it was to close.
    is_short: bool,
}

impl Round {
    fn is_of(&self, of: Option<&Arc<AtomicUsize>>) -> bool {
        self.of.as_ref().map(Arc::as_ptr) == of.map(Arc::as_ptr)
    }
}

impl Shedding {
    /// Nothing is to be closed yet.
    pub fn new(workers: Arc<Vec<Handle>>) -> Self {
        Self { workers, rounds: Rc::default(), ended: Rc::default() }
    }

    /// Ready at the end of the next round, whosever it is.
    pub fn round_ends(&self) -> Notified<'_> {
        self.ended.notified()
    }

    /// Begins to close the `count` connections that have had no exchange for the longest
    /// time, of the listener that counts its connections in `of` where that is given. Whether
    /// connections are being closed; one that `is_urgent` does not wait for the end of a pause
    /// after a round that found enough.
    pub fn shed(&self, count: usize, of: Option<&Arc<AtomicUsize>>, is_urgent: bool) -> bool {
        let now = Instant::now();
        let mut rounds = self.rounds.borrow_mut();
        rounds.retain(|round| round.pause.is_none_or(|pause| now < pause.until));
        if let Some(at) = rounds.iter().position(|round| round.is_of(of)) {
            match rounds[at].pause {
                None => return true,
                Some(pause) if pause.is_short || !is_urgent => return false,
                Some(_) => drop(rounds.swap_remove(at)),
            }
        }
        rounds.push(Round { of: of.cloned(), pause: None });
        let (workers, rounds) = (Arc::clone(&self.workers), Rc::clone(&self.rounds));
        let (of, ended) = (of.cloned(), Rc::clone(&self.ended));
        tokio::task::spawn_local(async move {
            let found =
                timeout(PATIENCE, close_idlest(&workers, (count, now.into_std()), of.as_ref()))
                    .await;
            let length = (now.elapsed() * PAUSE_FACTOR).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            // Nothing is known of workers that are too busy to answer.
            let is_short = found.is_ok_and(|found| found < count);
            let pause = Pause { until: Instant::now() + length, is_short };
            let mut rounds = rounds.borrow_mut();
            rounds.retain(|round| !round.is_of(of.as_ref()));
            rounds.push(Round { of, pause: Some(pause) });
            ended.notify_waiters();
        });
        true
    }
}

/// Closes the `count` idlest connections, waits until they have ended, and says how many
/// there were. Those that have come or were used after the beginning of the round are spared.
async fn close_idlest(
    workers: &[Handle],
    (count, before): (usize, std::time::Instant),
    of: Option<&Arc<AtomicUsize>>,
) -> usize {
    // Each worker is asked before the first answer is waited for.
    let (mut asked, mut idle) = (Vec::new(), Vec::new());
    for worker in workers {
        asked.push(worker.idlest(count, of, before).await);
    }
    for answer in asked {
        idle.push(answer.await.unwrap_or_default());
    }
    let chosen = idlest(idle, count);
    let found = chosen.iter().map(Vec::len).sum();
    let (open, mut all_ended) = mpsc::channel(1);
    for (worker, chosen) in workers.iter().zip(chosen) {
        worker.shed(chosen, &open).await;
    }
    drop(open);
    // Nothing is ever sent: it ends with the last of the connections.
    all_ended.recv().await;
    found
}

/// The `count` idlest of all, by worker.
fn idlest(idle: Vec<Vec<IdleConnection>>, count: usize) -> Vec<Vec<IdleConnection>> {
    let mut chosen = vec![Vec::new(); idle.len()];
    let of_worker = |(worker, list): (usize, Vec<IdleConnection>)| {
        list.into_iter().map(move |one| (one, worker))
    };
    let mut all: Vec<_> = idle.into_iter().enumerate().flat_map(of_worker).collect();
    all.sort_unstable_by_key(|(one, _)| one.since);
    for (one, worker) in all.into_iter().take(count) {
        chosen[worker].push(one);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_of_all_workers_are_chosen() {
        let now = std::time::Instant::now();
        let idle =
            |number, seconds| IdleConnection { number, since: now - Duration::from_secs(seconds) };
        let (a, b, c, d) = (idle(1, 9), idle(2, 7), idle(1, 8), idle(5, 1));
        let all = || vec![vec![b, a], vec![], vec![d, c]];
        assert_eq!(idlest(all(), 2), [vec![a], vec![], vec![c]]);
        assert_eq!(idlest(all(), 9), [vec![a, b], vec![], vec![c, d]]);
        assert_eq!(idlest(all(), 0), [vec![], vec![], vec![]]);
    }
}

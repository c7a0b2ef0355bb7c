//! Closing the idlest connections when there are too many, whichever workers have them.
//!
//! A round asks every worker for its idlest connections, and closes the idlest of them all.
//! Those of one listener, or those of the whole process, have one round at a time.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use crate::{worker::Handle, worker::open_connections::IdleConnection};

/// How long a worker may take to say which of its connections are idle.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long no idle connections are looked for after too few were found.
const PAUSE: Duration = Duration::from_millis(100);

/// Closes idle connections of `workers`.
pub struct Shedding {
    workers: Arc<Vec<Handle>>,
    rounds: Rc<RefCell<Vec<Round>>>,
}

/// A round that is under way, or the pause after one that found too few.
struct Round {
    of: Option<Arc<AtomicUsize>>,
    /// The end of the pause.
    until: Option<Instant>,
}

impl Round {
    fn is_of(&self, of: Option<&Arc<AtomicUsize>>) -> bool {
        self.of.as_ref().map(Arc::as_ptr) == of.map(Arc::as_ptr)
    }
}

impl Shedding {
    /// Nothing is to be closed yet.
    pub fn new(workers: Arc<Vec<Handle>>) -> Self {
        Self { workers, rounds: Rc::default() }
    }

    /// Begins to close the `count` connections that have had no exchange for the longest
    /// time, of the listener that counts its connections in `of` where that is given.
    pub fn shed(&self, count: usize, of: Option<&Arc<AtomicUsize>>) {
        let now = Instant::now();
        let mut rounds = self.rounds.borrow_mut();
        rounds.retain(|round| round.until.is_none_or(|until| now < until));
        if rounds.iter().any(|round| round.is_of(of)) {
            return;
        }
        rounds.push(Round { of: of.cloned(), until: None });
        // Asked for at once: connections that come later are not among those that are closed.
        let asked: Vec<_> = self.workers.iter().map(|one| one.idlest(count, of)).collect();
        let (workers, rounds) = (Arc::clone(&self.workers), Rc::clone(&self.rounds));
        let of = of.cloned();
        tokio::task::spawn_local(async move {
            let mut idle = Vec::with_capacity(asked.len());
            for answer in asked {
                let answer = timeout_at(now + PATIENCE, answer).await;
                idle.push(answer.ok().and_then(Result::ok).unwrap_or_default());
            }
            let chosen = idlest(idle, count);
            let found: usize = chosen.iter().map(Vec::len).sum();
            for (worker, chosen) in workers.iter().zip(chosen) {
                worker.shed(chosen);
            }
            let mut rounds = rounds.borrow_mut();
            rounds.retain(|round| !round.is_of(of.as_ref()));
            if found < count {
                rounds.push(Round { of, until: Some(Instant::now() + PAUSE) });
            }
        });
    }
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

//! When to work on what has come in.
//!
//! The first change is worked on at once. Those that follow are gathered until
//! there is a pause, and never longer than a bound. Time is an argument.

use std::time::{Duration, Instant};

/// A pause this long ends the gathering.
const PAUSE: Duration = Duration::from_millis(10);
/// No change waits longer.
const BOUND: Duration = Duration::from_millis(100);

/// Decides when to work.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// When the oldest and the newest waiting change came.
    waiting: Option<(Instant, Instant)>,
    /// When work was last done.
    worked: Option<Instant>,
}

impl Gather {
    /// A change has come.
    pub(crate) fn came(&mut self, now: Instant) {
        let oldest = self.waiting.map_or(now, |(oldest, _)| oldest);
        self.waiting = Some((oldest, now));
    }

    /// When to work, if there is anything to work on.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (oldest, newest) = self.waiting?;
        let quiet = self.worked.is_none_or(|worked| oldest >= worked + PAUSE);
        Some(if quiet { oldest } else { (newest + PAUSE).min(oldest + BOUND) })
    }

    /// Everything that has come has been worked on.
    pub(crate) fn worked(&mut self, now: Instant) {
        self.waiting = None;
        self.worked = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes at these milliseconds lead to work at those.
    #[track_caller]
    fn check(changes: &[u64], expected: &[u64]) {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut gather = Gather::default();
        let mut worked = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            gather.came(at(*change));
            let next = changes.get(index + 1).map(|next| at(*next));
            while let Some(due) = gather.due().filter(|due| next.is_none_or(|next| *due < next)) {
                worked.push((due - start).as_millis() as u64);
                gather.worked(due);
            }
        }
        assert_eq!(worked, expected);
    }

    #[test]
    fn a_lone_change_is_worked_on_at_once() {
        check(&[0, 50, 100], &[0, 50, 100]);
    }

    #[test]
    fn followers_wait_for_a_pause() {
        check(&[0, 1, 5, 9], &[0, 19]);
    }

    #[test]
    fn nothing_waits_longer_than_the_bound() {
        let steady: Vec<u64> = (0..30).map(|step| step * 8).collect();
        check(&steady, &[0, 108, 212, 242]);
    }
}

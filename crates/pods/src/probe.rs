//! When a container is asked how it is, and what its answers come to.
//!
//! Pure: the time is an argument. One thing differs from a cluster on purpose:
//! until a probe has succeeded once, it is also tried between its periods, soon
//! after the start and then less and less often. Those tries can only succeed;
//! failures are counted once a period, as the pod's author meant them.

mod action;

use std::time::{Duration, Instant};

pub(crate) use action::{ProbeTarget, attempt, perform};

use crate::spec::Probe;

/// The first of the early tries comes this long after the start.
const FIRST_STEP: Duration = Duration::from_millis(10);
/// Early tries come no less often than this.
const LONGEST_STEP: Duration = Duration::from_millis(250);

/// What a probe's answers have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeStatus {
    /// Too few answers to say.
    Unknown,
    /// As often in a row as asked, it was well.
    Success,
    /// As often in a row as asked, it was not.
    Failure,
}

/// One probe of one run of a container.
#[derive(Debug)]
pub(crate) struct Schedule {
    period: Duration,
    successes_wanted: u32,
    failures_wanted: u32,
    verdict: ProbeStatus,
    successes: u32,
    failures: u32,
    /// When a try counts next.
    counted_at: Instant,
    /// When the next early try is due, and the pause after it.
    early: Option<(Instant, Duration)>,
}

impl Schedule {
    /// A schedule for a container that started at `start`.
    pub(crate) fn new(probe: &Probe, start: Instant) -> Self {
        let period = Duration::from_secs(probe.period_seconds.unwrap_or(10).max(1));
        let first = start + Duration::from_secs(probe.initial_delay_seconds);
        Self {
            period,
            successes_wanted: probe.success_threshold.unwrap_or(1).max(1),
            failures_wanted: probe.failure_threshold.unwrap_or(3).max(1),
            verdict: ProbeStatus::Unknown,
            successes: 0,
            failures: 0,
            counted_at: first + period,
            early: Some((first, FIRST_STEP)),
        }
    }

    /// When to try next.
    pub(crate) fn due(&self) -> Instant {
        match self.early {
            Some((early, _)) => early.min(self.counted_at),
            None => self.counted_at,
        }
    }

    /// Whether a failure of a try that began at `began` counts.
    pub(crate) fn counts(&self, began: Instant) -> bool {
        began >= self.counted_at
    }

    /// The answer of a try that began at `began` and ended at `now`.
    pub(crate) fn answered(&mut self, well: bool, began: Instant, now: Instant) -> ProbeStatus {
        let counts = self.counts(began);
        if counts {
            self.counted_at = began + self.period;
        }
        if well {
            self.successes += 1;
            self.failures = 0;
            if self.successes >= self.successes_wanted {
                self.verdict = ProbeStatus::Success;
                self.early = None;
                self.counted_at = began + self.period;
                return self.verdict;
            }
        } else if counts {
            self.failures += 1;
            self.successes = 0;
            if self.failures >= self.failures_wanted {
                self.verdict = ProbeStatus::Failure;
            }
        } else {
            self.successes = 0;
        }
        if let Some((_, step)) = self.early {
            // A probe that is expensive is tried the less often.
            let step = step.max(4 * (now - began));
            self.early = Some((now + step, (step * 3 / 2).min(LONGEST_STEP.max(step))));
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(initial: u64, period: u64, successes: u32, failures: u32) -> Probe {
        Probe {
            initial_delay_seconds: initial,
            period_seconds: Some(period),
            success_threshold: Some(successes),
            failure_threshold: Some(failures),
            ..Probe::default()
        }
    }

    /// Runs a container that becomes well after `well` milliseconds, and gives
    /// the time of the first verdict.
    #[track_caller]
    fn check(probe: &Probe, well: u64, expected: (ProbeStatus, std::ops::Range<u64>)) {
        let start = Instant::now();
        let mut schedule = Schedule::new(probe, start);
        loop {
            let now = schedule.due();
            let is_well = now - start >= Duration::from_millis(well);
            let verdict = schedule.answered(is_well, now, now);
            let passed = u64::try_from((now - start).as_millis()).unwrap();
            if verdict != ProbeStatus::Unknown {
                assert_eq!(verdict, expected.0);
                assert!(expected.1.contains(&passed), "after {passed} ms");
                return;
            }
        }
    }

    #[test]
    fn a_quick_start_is_noticed_long_before_the_period_is_over() {
        check(&probe(0, 10, 1, 3), 0, (ProbeStatus::Success, 0..1));
        check(&probe(0, 10, 1, 3), 25, (ProbeStatus::Success, 25..60));
        check(&probe(0, 10, 1, 3), 2_000, (ProbeStatus::Success, 2_000..2_300));
    }

    #[test]
    fn failures_are_counted_once_a_period() {
        check(&probe(0, 2, 1, 3), 100_000, (ProbeStatus::Failure, 6_000..6_001));
        check(&probe(5, 2, 1, 1), 100_000, (ProbeStatus::Failure, 7_000..7_001));
    }

    #[test]
    fn nothing_is_tried_before_the_initial_delay() {
        check(&probe(5, 10, 1, 3), 0, (ProbeStatus::Success, 5_000..5_001));
    }

    #[test]
    fn after_a_success_it_is_asked_once_a_period_and_can_fail() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&probe(0, 10, 1, 2), start);
        assert_eq!(schedule.answered(true, start, start), ProbeStatus::Success);
        for expected in [ProbeStatus::Success, ProbeStatus::Failure] {
            let now = schedule.due();
            assert_eq!((now - start).as_secs() % 10, 0);
            assert_eq!(schedule.answered(false, now, now), expected);
        }
    }
}

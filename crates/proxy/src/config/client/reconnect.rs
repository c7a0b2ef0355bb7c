//! How long to wait before connecting to the control plane again.
//!
//! A control plane that restarts loses the streams of all proxies at once. Each waits for a
//! random part of an interval that doubles, so that they come back spread over it. Clocks and
//! randomness are arguments.

use std::time::Duration;

use weft_balance::Rng;

/// The shortest pause: a failure at once never makes a loop that only connects.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest pause after the first failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// Failures one after the other, and the pauses between them.
#[derive(Debug)]
pub struct Reconnect {
    failures: u32,
    rng: Rng,
}

impl Reconnect {
    /// No failure yet.
    pub fn new(rng: Rng) -> Self {
        Self { failures: 0, rng }
    }

    /// A stream lasted for so long: after [`LONGEST`], what failed before counts no more.
    pub fn lasted(&mut self, time: Duration) {
        if time > LONGEST {
            self.failures = 0;
        }
    }

    /// The pause after one more failure.
    pub fn failed(&mut self) -> Duration {
        let pause = pause(self.failures, &mut self.rng);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// The pause after `failures` and one more, anywhere between [`SHORTEST`] and an interval that
/// doubles up to [`LONGEST`].
fn pause(failures: u32, rng: &mut Rng) -> Duration {
    let interval = FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST);
    let random = usize::try_from(interval.saturating_sub(SHORTEST).as_micros());
    SHORTEST + Duration::from_micros(rng.below(random.unwrap_or(usize::MAX)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_anywhere_within_an_interval_that_doubles_up_to_ten_seconds() {
        let mut rng = Rng::new(7);
        for (failures, millis) in
            [(0, 100), (1, 200), (2, 400), (6, 6400), (7, 10_000), (8, 10_000), (u32::MAX, 10_000)]
        {
            let most = Duration::from_millis(millis);
            let mut all: Vec<Duration> = (0..1000).map(|_| pause(failures, &mut rng)).collect();
            all.sort_unstable();
            assert!(all[0] >= SHORTEST && all[999] < most, "{failures}: {all:?}");
            // Full jitter: each quarter of the interval has its share.
            for quarter in 0..4 {
                let within = |pause: &&Duration| {
                    (most * quarter / 4..most * (quarter + 1) / 4).contains(*pause)
                };
                let count = all.iter().filter(within).count();
                assert!((125..375).contains(&count), "{failures}: {count} in {quarter}");
            }
        }
    }

    #[test]
    fn proxies_that_lose_their_streams_at_once_do_not_come_back_at_once() {
        let after = |failures| {
            let pauses = (0..1000).map(|seed| {
                let mut proxy = Reconnect::new(Rng::new(seed));
                (0..failures).map(|_| proxy.failed()).sum::<Duration>().as_millis() / 100
            });
            let mut counts = std::collections::BTreeMap::<u128, usize>::new();
            pauses.for_each(|tenth| *counts.entry(tenth).or_default() += 1);
            counts.into_values().max().unwrap()
        };
        assert!(after(8) < 50, "{} of 1000 within a tenth of a second", after(8));
    }

    #[test]
    fn a_stream_that_lasted_begins_anew() {
        let mut proxy = Reconnect::new(Rng::new(1));
        for _ in 0..20 {
            proxy.failed();
        }
        proxy.lasted(LONGEST);
        assert_eq!(proxy.failures, 20);
        proxy.lasted(LONGEST + SHORTEST);
        assert!(proxy.failed() < FIRST);
    }
}

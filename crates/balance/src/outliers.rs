//! Endpoints that fail are left out for a while.
//!
//! Counting is atomics; the lock is taken when an endpoint has failed often enough. Nothing runs
//! in the background: whether an endpoint is left out follows from the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use weft_config::OutlierDetection;

use crate::{endpoint::EndpointState, endpoint::Reported, register::BackendState};

/// The longest that an endpoint is left out, unless the first time is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// When endpoints of one pool are left out.
#[derive(Debug)]
pub(crate) struct Outliers {
    settings: OutlierDetection,
    members: Box<[Arc<EndpointState>]>,
    backend: Arc<BackendState>,
}

/// What is remembered of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Streaks {
    /// Answers of 500 and more in a row.
    errors: AtomicU32,
    /// Those of 502, 503 and 504.
    gateway_errors: AtomicU32,
    /// Exchanges in a row that got no answer, where they are counted separately.
    local: AtomicU32,
    /// How often it was left out, less one for each interval in which it was not.
    ejections: AtomicU32,
    /// Until when it is left out.
    until: AtomicU64,
}

impl Streaks {
    /// Whether the endpoint is left out at `moment`.
    pub(crate) fn is_ejected(&self, moment: u64) -> bool {
        self.until.load(Relaxed) > moment
    }
}

impl Outliers {
    pub(crate) fn new(
        settings: &OutlierDetection,
        members: impl Iterator<Item = Arc<EndpointState>>,
        backend: &Arc<BackendState>,
    ) -> Self {
        let backend = Arc::clone(backend);
        Self { settings: settings.clone(), members: members.collect(), backend }
    }

    /// The moment of `now`, if endpoints may be left out at it.
    pub(crate) fn moment(&self, now: Instant) -> Option<u64> {
        let latest = self.backend.last_ejected_until.load(Relaxed);
        if latest == 0 {
            return None;
        }
        Some(self.backend.moment(now)).filter(|moment| *moment < latest)
    }

    /// Whether so few endpoints are left at `moment` that all of them are used.
    pub(crate) fn panics(&self, moment: u64) -> bool {
        let least = usize::from(self.settings.min_health_percent);
        least > 0 && (self.members.len() - self.ejected(moment)) * 100 < least * self.members.len()
    }

    fn ejected(&self, moment: u64) -> usize {
        self.members.iter().filter(|member| member.streaks.is_ejected(moment)).count()
    }

    /// Counts how an exchange with the endpoint of `state` ended.
    pub(crate) fn report(&self, state: &EndpointState, reported: Reported, now: Instant) {
        let streaks = &state.streaks;
        // What was under way when it was left out does not count for the time after.
        if self.moment(now).is_some_and(|moment| streaks.is_ejected(moment)) {
            return;
        }
        let status = match (reported, self.settings.local_failures) {
            (Reported::Answered(status), _) => {
                clear(&streaks.local);
                status
            }
            // A connection says nothing of what is answered over it.
            (Reported::Connected, Some(_)) => return clear(&streaks.local),
            (Reported::Connected, None) => 200,
            (_, Some(limit)) => {
                if reaches(&streaks.local, limit) {
                    self.eject(streaks, now);
                }
                return;
            }
            // Envoy makes answers of them: 503 and 504.
            (_, None) => 503,
        };
        if status < 500 {
            clear(&streaks.gateway_errors);
            return clear(&streaks.errors);
        }
        let by_gateway = match (502..=504).contains(&status) {
            true => reaches(&streaks.gateway_errors, self.settings.gateway_errors),
            false => {
                clear(&streaks.gateway_errors);
                false
            }
        };
        if reaches(&streaks.errors, self.settings.errors) || by_gateway {
            self.eject(streaks, now);
        }
    }

    /// Whether one more may be left out at `moment`.
    fn has_room(&self, moment: u64) -> bool {
        let most = usize::from(self.settings.max_ejection_percent) * self.members.len();
        (self.ejected(moment) + 1) * 100 <= most
    }

    /// Leaves the endpoint of `streaks` out, unless that would be too many, as in Envoy: of a few
    /// endpoints, a small share is nothing.
    fn eject(&self, streaks: &Streaks, now: Instant) {
        // The share that may be left out is used up for long times: no lock is taken then.
        if !self.has_room(self.backend.moment(now)) {
            return;
        }
        let _others_wait = self.backend.ejecting();
        let moment = self.backend.moment(now);
        if streaks.is_ejected(moment) || !self.has_room(moment) {
            return;
        }
        let interval = micros(self.settings.interval).max(1);
        let well = (moment - streaks.until.load(Relaxed)) / interval;
        let before = streaks.ejections.load(Relaxed);
        let times =
            before.saturating_sub(u32::try_from(well).unwrap_or(u32::MAX)).saturating_add(1);
        let base = self.settings.base_ejection_time;
        let until = moment + micros(base.saturating_mul(times).min(LONGEST.max(base)));
        streaks.ejections.store(times, Relaxed);
        streaks.until.store(until, Relaxed);
        self.backend.last_ejected_until.fetch_max(until, Relaxed);
        [&streaks.errors, &streaks.gateway_errors, &streaks.local].into_iter().for_each(clear);
    }
}

/// Adds one; whether that makes `limit`, where there is one. Then it begins again.
fn reaches(streak: &AtomicU32, limit: u32) -> bool {
    if limit == 0 || streak.fetch_add(1, Relaxed) + 1 < limit {
        return false;
    }
    streak.store(0, Relaxed);
    true
}

/// Most exchanges succeed: the line is not written to without need.
fn clear(streak: &AtomicU32) {
    if streak.load(Relaxed) != 0 {
        streak.store(0, Relaxed);
    }
}

/// A time in microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

#[cfg(test)]
mod tests;

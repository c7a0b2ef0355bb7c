//! One endpoint of a backend, how busy it is, and how its exchanges ended.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use weft_config::Endpoint as Data;

use crate::outliers::{Outliers, Streaks};

/// One endpoint of a backend. Its state is shared by every table and worker, and its data by
/// every backend that has it.
#[derive(Debug)]
pub struct Endpoint {
    /// Where and who it is.
    pub data: Arc<Data>,
    state: Arc<EndpointState>,
}

/// What is remembered of an endpoint of a backend.
///
/// On cache lines of its own (two, since processors fetch them in pairs), so that
/// endpoints of one backend do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct EndpointState {
    /// Exchanges under way.
    in_flight: AtomicU32,
    /// Exchanges that failed since the last one that did not.
    failures: AtomicU32,
    /// The moment after which it was first chosen from; zero before.
    since: AtomicU64,
    /// What leaves it out.
    pub(crate) streaks: Streaks,
}

impl EndpointState {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// It is chosen from at `moment`; whether for the first time.
    pub(crate) fn begin(&self, moment: u64) -> bool {
        self.since.compare_exchange(0, moment.saturating_add(1), Relaxed, Relaxed).is_ok()
    }

    /// When it was first chosen from.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }
}

/// How an exchange with an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reported {
    /// It answered with this status.
    Answered(u16),
    /// A connection was made, over which nothing is said of what becomes of it.
    Connected,
    /// No connection could be made.
    Unreachable,
    /// The connection or the stream ended before the answer.
    Reset,
    /// It took too long.
    TimedOut,
    /// What it spoke is not the protocol.
    Malformed,
}

impl Endpoint {
    pub(crate) fn new(data: Arc<Data>, state: Arc<EndpointState>) -> Self {
        Self { data, state }
    }

    /// Exchanges under way.
    pub fn in_flight(&self) -> u32 {
        self.state.in_flight()
    }

    /// Exchanges that failed since the last one that did not.
    pub fn failures(&self) -> u32 {
        self.state.failures.load(Relaxed)
    }

    /// Whether it is left out at `moment`.
    pub(crate) fn is_ejected(&self, moment: u64) -> bool {
        self.state.streaks.is_ejected(moment)
    }

    /// What is remembered of it.
    pub(crate) fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }

    /// Counts an exchange that begins at `now`; how it ends is said to `outliers`.
    pub(crate) fn pick(
        self: &Arc<Self>,
        now: Instant,
        outliers: Option<Arc<Outliers>>,
    ) -> SelectedEndpoint {
        self.state.in_flight.fetch_add(1, Relaxed);
        SelectedEndpoint { endpoint: Arc::clone(self), began: now, outliers }
    }

    fn report(&self, reported: Reported) {
        match reported.is_failure() {
            true => {
                self.state.failures.fetch_add(1, Relaxed);
            }
            // Most exchanges succeed: the line is not written to without need.
            false if self.failures() == 0 => {}
            false => self.state.failures.store(0, Relaxed),
        }
    }
}

impl Reported {
    /// Whether the endpoint is to blame: it gave no answer, or one of 500 or more.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Answered(status) => status >= 500,
            Self::Connected => false,
            _ => true,
        }
    }
}

/// An endpoint that was selected for one exchange, which counts as in flight until this is
/// dropped.
pub struct SelectedEndpoint {
    endpoint: Arc<Endpoint>,
    began: Instant,
    outliers: Option<Arc<Outliers>>,
}

impl SelectedEndpoint {
    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// How long the exchange takes so far.
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Reports at `now` how the exchange ended, or that its answer began. One that is never
    /// reported, because its client left, says nothing about the endpoint.
    pub fn report(&self, reported: Reported, now: Instant) {
        self.endpoint.report(reported);
        if let Some(outliers) = &self.outliers {
            outliers.report(&self.endpoint.state, reported, now);
        }
    }
}

impl Drop for SelectedEndpoint {
    fn drop(&mut self) {
        self.endpoint.state.in_flight.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for SelectedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SelectedEndpoint({})", self.endpoint.data.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_share_no_cache_line() {
        assert_eq!((align_of::<EndpointState>(), size_of::<EndpointState>()), (128, 128));
    }

    #[test]
    fn a_failure_is_no_answer_or_one_of_the_server() {
        for (reported, failure) in [
            (Reported::Answered(200), false),
            (Reported::Answered(404), false),
            (Reported::Answered(503), true),
            (Reported::Unreachable, true),
            (Reported::TimedOut, true),
        ] {
            assert_eq!(reported.is_failure(), failure, "{reported:?}");
        }
    }
}

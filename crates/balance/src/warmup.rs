//! New endpoints get their share little by little.
//!
//! An endpoint is new from when it is first chosen from. Nothing runs in the background: its share
//! follows from the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use weft_config::Warmup;

use crate::{Endpoint, Rng, outliers::micros, register::BackendState};

/// How often another endpoint is tried in place of one that has not its whole share.
const TRIES: usize = 64;

/// How the endpoints of one pool get their share.
#[derive(Debug)]
pub(crate) struct Warming {
    settings: Warmup,
    /// Whether it is known since when each endpoint is there.
    known: AtomicBool,
}

/// What the shares of a pool's endpoints are at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    settings: Warmup,
    moment: u64,
    /// The largest.
    most: f64,
}

impl Warming {
    pub(crate) fn new(settings: Warmup) -> Self {
        Self { settings, known: AtomicBool::new(false) }
    }

    /// The shares at `now`; none when all are whole or alike.
    pub(crate) fn shares(
        &self,
        endpoints: &[Arc<Endpoint>],
        state: &BackendState,
        now: Instant,
    ) -> Option<Shares> {
        let moment = state.moment(now);
        if !self.known.load(Relaxed)
            && !self.known.swap(true, Relaxed)
            && endpoints.iter().filter(|one| one.state().begin(moment)).count() > 0
        {
            state.last_added.fetch_max(moment, Relaxed);
        }
        let until = state.last_added.load(Relaxed).saturating_add(micros(self.settings.duration));
        if moment >= until {
            return None;
        }
        let shares = Shares { settings: self.settings, moment, most: 1.0 };
        let all = endpoints.iter().map(|one| shares.of(one));
        let (least, most) = all
            .fold((1.0_f64, 0.0_f64), |(least, most), share| (least.min(share), most.max(share)));
        (least < most).then_some(Shares { most, ..shares })
    }
}

impl Shares {
    /// The share of `endpoint`, at most 1.
    fn of(&self, endpoint: &Endpoint) -> f64 {
        let age = self.moment.saturating_sub(endpoint.state().since());
        let whole = micros(self.settings.duration).max(1);
        let share = (age as f64 / whole as f64).min(1.0).powf(1.0 / self.settings.aggression);
        share.max(self.settings.percent / 100.0).clamp(f64::MIN_POSITIVE, 1.0)
    }

    /// An endpoint that `next` gives, by their shares.
    pub(crate) fn pick<'p>(
        &self,
        rng: &mut Rng,
        mut next: impl FnMut(&mut Rng) -> Option<&'p Arc<Endpoint>>,
    ) -> Option<&'p Arc<Endpoint>> {
        const PARTS: usize = 1 << 20;
        let mut last = None;
        for _ in 0..TRIES {
            let endpoint = next(rng)?;
            if (rng.below(PARTS) as f64) < self.of(endpoint) / self.most * PARTS as f64 {
                return Some(endpoint);
            }
            last = Some(endpoint);
        }
        last
    }
}

#[cfg(test)]
mod tests;

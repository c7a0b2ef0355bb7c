//! What the control plane counts, under Istio's names where they mean the same.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use weft_process::metrics::{Exposition, Histogram, Kind, labels};

/// Upper ends in seconds.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];

/// Counters and gauges of the control plane.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) proxies: AtomicUsize,
    pub(crate) answers: AtomicUsize,
    pub(crate) answer_bytes: AtomicUsize,
    pub(crate) services: AtomicUsize,
    pub(crate) virtual_services: AtomicUsize,
    pub(crate) pushes: AtomicU64,
    pub(crate) rejects: AtomicU64,
    pub(crate) changes: AtomicU64,
    pub(crate) refused_streams: AtomicU64,
    pub(crate) shadow_runs: AtomicU64,
    pub(crate) shadow_differences: AtomicU64,
    convergence: Mutex<Convergence>,
}

#[derive(Debug, Default)]
struct Convergence {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Metrics {
    /// A proxy took this long to have a change in force.
    pub(crate) fn converged(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().take_while(|bound| seconds > **bound).count();
        // Numbers cannot be left half written, so a poisoned lock is as good.
        let mut convergence = self.convergence.lock().unwrap_or_else(|error| error.into_inner());
        convergence.counts[bucket] += 1;
        convergence.sum += seconds;
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = Exposition::default();
        let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
        text.family("pilot_info", Kind::Gauge, "Version of the control plane.");
        text.sample("pilot_info", &version, 1.0);
        text.family("pilot_xds", Kind::Gauge, "Proxies connected.");
        text.sample("pilot_xds", &version, self.proxies.load(Relaxed) as f64);
        let gauges = [
            ("pilot_services", &self.services, "Services known."),
            ("pilot_virt_services", &self.virtual_services, "VirtualServices known."),
            ("weft_answers", &self.answers, "Different answers that proxies subscribe to."),
            (
                "weft_answer_bytes",
                &self.answer_bytes,
                "Bytes of those about hosts and addresses; shared parts count once.",
            ),
        ];
        for (name, gauge, help) in gauges {
            text.family(name, Kind::Gauge, help);
            text.sample(name, "", gauge.load(Relaxed) as f64);
        }
        let counters = [
            ("pilot_xds_pushes", &self.pushes, "Responses sent to proxies."),
            (
                "pilot_total_xds_rejects",
                &self.rejects,
                "Responses of which proxies refused a part.",
            ),
            ("pilot_inbound_updates", &self.changes, "Changes of objects received."),
            (
                "weft_refused_streams_total",
                &self.refused_streams,
                "Streams rejected or closed by the control plane.",
            ),
            (
                "weft_shadow_runs_total",
                &self.shadow_runs,
                "Checks of a sample of remembered values.",
            ),
            (
                "weft_shadow_differences_total",
                &self.shadow_differences,
                "Remembered values that differ from what the objects say; each is a bug in Weft.",
            ),
        ];
        for (name, counter, help) in counters {
            text.family(name, Kind::Counter, help);
            text.sample(name, "", counter.load(Relaxed) as f64);
        }
        let name = "pilot_proxy_convergence_time";
        let help = "Seconds from a change to its acknowledgement by a proxy.";
        text.family(name, Kind::Histogram, help);
        let convergence = self.convergence.lock().unwrap_or_else(|error| error.into_inner());
        let Convergence { counts, sum } = &*convergence;
        text.histogram(name, "", &Histogram { bounds: &BOUNDS, counts, sum: *sum });
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_istios_names_and_the_numbers() {
        let metrics = Metrics::default();
        count(&metrics.rejects);
        metrics.proxies.store(3, Relaxed);
        metrics.converged(Duration::from_millis(20));
        let text = metrics.text();
        let version = env!("CARGO_PKG_VERSION");
        for line in [
            "pilot_total_xds_rejects 1".to_owned(),
            format!("pilot_xds{{version=\"{version}\"}} 3"),
            "pilot_proxy_convergence_time_bucket{le=\"0.025\"} 1".to_owned(),
            "pilot_proxy_convergence_time_count 1".to_owned(),
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }
}

//! The ports for people, probes and Prometheus.

pub mod server;
pub mod handlers;
pub mod application_probes;
pub mod application_metrics;

//! The ports for people, probes and Prometheus.

pub mod ports;
pub mod pages;
pub mod application_probes;
pub mod application_metrics;

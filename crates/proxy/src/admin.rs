//! The ports of the proxy itself: health, metrics, probes, draining.

pub mod ports;
pub mod probes;
pub mod fetch;
pub mod drain;

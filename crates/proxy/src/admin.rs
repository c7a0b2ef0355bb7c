//! The ports for people, probes and Prometheus, and the orderly end.

pub mod ports;
pub mod view;
pub mod probes;
pub mod fetch;
pub mod drain;

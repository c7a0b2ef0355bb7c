//! What is recorded of an exchange: the outcome, the access log, metrics.

pub mod outcome;
pub mod access_log;
pub mod metrics;

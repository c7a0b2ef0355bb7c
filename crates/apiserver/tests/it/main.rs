//! The API server over real TLS, with a node that runs nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod client;
mod fake;
mod hostile;
mod kubectl;
mod sessions;
mod watches;
mod webhooks;
mod writes;

//! The API server over real TLS, with a node that runs nothing.

mod client;
mod fake;
mod kubectl;
mod sessions;
mod watches;
mod webhooks;

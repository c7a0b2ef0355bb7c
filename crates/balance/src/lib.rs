//! Which endpoint, and which share: state that outlives tables.
//!
//! Everything that has memory lives in one [`Register`], as atomics that all
//! workers share, and is found by the names of backend and endpoint. A table that
//! is replaced, a rule that moves, an answer that is dropped and asked for again
//! lose none of it. Sockets, clocks and tables are unknown here: time and
//! randomness are arguments.

mod rng;
mod weights;
mod endpoint;
mod outliers;
mod connections;
mod breaker;
mod groups;
mod warmup;
mod pool;
mod register;

pub use breaker::{CircuitBreaker, Overflow, Permit};
pub use connections::{ConnectionPermit, Connections, Grant, Offer, PoolId, Waiting};
pub use endpoint::{Endpoint, Reported, SelectedEndpoint};
pub use groups::Groups;
pub use pool::{Ask, Pool};
pub use register::{BackendState, Register};
pub use rng::Rng;
pub use weights::{Turn, Weights};

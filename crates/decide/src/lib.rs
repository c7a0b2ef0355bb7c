//! Facts about a request become a decision, stage by stage: connection, route, try.
//!
//! The engine, the command line and the tests call the same functions. Nothing
//! here knows sockets, bodies, clocks or randomness: all of them are arguments.

mod backend;
mod candidates;
mod conditions;
mod connection;
mod failure;
mod host;
pub mod path;
pub mod protocol;
mod quick;
mod record;
mod reply;
pub mod retry;
mod route;
mod routing;
mod server;
mod shards;
mod table;

pub use backend::{CompiledBackend, Pick};
pub use conditions::Request;
pub use connection::{Connection, Relay, Scope, Tcp};
pub use failure::{Blame, Failure, NoAnswer, Reset};
pub use host::of_authority;
pub use record::{Note, Record, Verdict};
pub use reply::{Flag, Flags, Reply};
pub use route::{CompiledRoute, CompiledRule};
pub use routing::{Forward, Routed};
pub use table::{Rejected, Table, Unanswered};
pub use weft_balance::{InFlight, Member, Rng};

#[cfg(test)]
mod tests;

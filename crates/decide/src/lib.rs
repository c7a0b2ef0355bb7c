//! Facts about a request become a decision, stage by stage.
//!
//! The engine, the command line and the tests call the same functions. Nothing
//! here knows sockets, bodies, clocks or randomness: all of them are arguments.

pub mod arrive;
mod stage;
mod hello;
mod connection;
mod routing;
pub mod retry;
mod failure;
mod record;
mod reply;
pub mod path;
pub mod protocol;
mod table;
mod places;
mod server;
mod route;
mod candidates;
mod conditions;
mod change;
mod cors;
mod fault;
mod mirror;
mod affinity;
mod backend;
mod locality;
mod endpoint_set;
mod shards;
mod quick;

pub use affinity::Affinity;
pub use arrive::{Arrival, Arrived, Direction, NextHop, Scheme, of_authority};
pub use backend::{CompiledBackend, ConnectionPolicy, Pick};
pub use change::AnswerChanges;
pub use connection::{Connection, Scope, Tcp};
pub use failure::{Blame, Broke, Failure, NoAnswer, Reset};
pub use hello::ClientHello;
pub use record::{Note, Record, Verdict};
pub use reply::{ByRule, Flag, Flags, Reply, Text};
pub use route::{BadRule, CompiledRoute, CompiledRule, NO_CONDITIONS};
pub use routing::Routed;
pub use stage::{Admitted, Answer, Answers, Authenticated, Question, Step};
pub use table::{Rejected, Table, Unanswered};
pub use weft_balance::{
    Ask, Endpoint, Overflow, Permit, Register, Reported, Rng, SelectedEndpoint,
};

#[cfg(test)]
mod tests;

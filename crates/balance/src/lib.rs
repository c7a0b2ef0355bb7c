//! Which endpoint, and which share: state that outlives tables.
//!
//! Everything that has memory is an atomic shared by all workers and carried over
//! when a table is replaced. Sockets, clocks and tables are unknown here, and
//! randomness is an argument.

mod rng;
mod member;
mod pool;
mod weights;

pub use member::{InFlight, Member};
pub use pool::Pool;
pub use rng::Rng;
pub use weights::Weights;

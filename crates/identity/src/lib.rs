//! Who is who: names of workloads, and the root that vouches for them.
//!
//! Everything is a value or text: no files, no tasks, no clock, no addresses of
//! an authority. Time is an argument.

mod account;
mod root;
mod spiffe;

pub use account::{Account, NotAnAccount};
pub use root::{Root, RootError, Served, secret_key};
pub use spiffe::{NotASpiffeId, SpiffeId};

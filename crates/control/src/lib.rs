//! The control plane: takes changes of objects in, and keeps proxies up to date.
//!
//! One task owns the translator; every proxy has a task with its end of the
//! stream. Where objects come from, and how tokens are checked, is decided by
//! the program that starts it: nothing here knows Kubernetes or files.

mod options;
mod admission;
mod inputs;
mod run;
mod world_task;
mod answers;
mod gather;
mod revisions;
mod session;
mod convert;
mod handle;
mod pages;
mod metrics;
mod stand_ins;

pub use handle::{Acknowledgement, Handle};
pub use inputs::{Authenticate, Authenticating, Caller, Change, Refused};
pub use options::Options;
pub use run::run;
pub use weft_identity::{Account, Root, RootError, Served, secret_key};
pub use weft_translate::{Installation, unreadable_patterns};
pub use weft_wire::{server::Limits, tls};

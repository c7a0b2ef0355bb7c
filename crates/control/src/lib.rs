//! The control plane: takes changes of objects in, and keeps proxies up to date.
//!
//! One task owns the translator; every proxy has a task with its end of the
//! stream. Where objects come from, and how tokens are checked, is decided by
//! the program that starts it: nothing here knows Kubernetes or files.

mod options;
mod admission;
mod authentication;
mod run;
mod world_task;
mod subscriptions;
mod debounce;
mod revisions;
mod budget;
mod delta_stream;
mod wire_messages;
mod handle;
mod monitoring;
mod metrics;
mod client_features;

pub use authentication::{Authenticate, Authenticating, Caller, Change, Refused};
pub use handle::{Acknowledgement, Handle};
pub use options::Options;
pub use run::run;
pub use weft_identity::{Account, Root, RootError, Served, secret_key};
pub use weft_translate::{Installation, unreadable_patterns};
pub use weft_wire::{server::Limits, tls};

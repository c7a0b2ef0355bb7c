//! The control plane: objects come in, proxies are told.
//!
//! One task owns the translator; every proxy has a task with its end of the
//! stream. Where objects come from, and how tokens are checked, is decided by
//! whoever starts it: nothing here knows Kubernetes or files.

mod acknowledge;
mod answers;
mod brain;
mod caller;
mod change;
mod convert;
mod gather;
mod handle;
mod ledger;
mod metrics;
mod options;
mod pages;
mod run;
mod session;

pub use acknowledge::Acknowledgement;
pub use caller::{Authenticate, Authenticating, Caller, Refused};
pub use change::Change;
pub use handle::Handle;
pub use options::Options;
pub use run::run;
pub use weft_identity::{Account, Root, RootError, Served, secret_key};
pub use weft_wire::{server::Limits, tls};

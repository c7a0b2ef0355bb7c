//! A Kubernetes API over objects in memory, small enough to start in milliseconds.
//!
//! It owns the [`Store`], speaks HTTPS to kubectl and client libraries, calls
//! admission webhooks, and runs the controllers' steps. What runs pods is behind
//! the port [`Node`]; that there is a mesh is known to nobody here.

mod authority;
mod defaults;
mod node;
mod registry;
mod resource;
mod status;
mod store;
mod validate;

pub use authority::{AUDIENCE, Authority, AuthorityError, Claims, MASTERS, TokenRequest};
pub use node::{
    DIAL_DEADLINE, Dial, ExecIo, Io, LogOptions, Node, NodeError, PodRef, TerminalSize,
};
pub use registry::Registry;
pub use resource::{Custom, Origin, Resource};
pub use status::{Cause, Status};
pub use store::{
    Change, Deleted, Deletion, Event, List, Mode, Part, Propagation, Store, Watch, timestamp,
};

//! A Kubernetes API over objects in memory, small enough to start in milliseconds.
//!
//! It owns the [`Store`], speaks HTTPS to kubectl and client libraries, calls
//! admission webhooks, and runs the controllers' steps. What runs pods is behind
//! the port [`Node`]; that there is a mesh is not known here.

mod access;
mod admission;
mod authority;
mod bootstrap;
mod controllers;
mod defaults;
mod discovery;
mod form;
mod media;
mod node;
mod openapi;
mod patch;
mod query;
mod registry;
mod resource;
mod schema;
mod selector;
mod server;
mod size;
mod status;
mod store;
mod structs;
mod table;
mod target;
mod unserved;
mod validate;
mod writer;

pub use authority::{Authority, AuthorityError, Claims, MASTERS, TokenRequest};
pub use controllers::events::{Happening, Tone, record};
pub use node::{
    DIAL_DEADLINE, Dial, ExecIo, Io, LogOptions, Node, NodeError, PodRef, TerminalSize,
};
pub use registry::Registry;
pub use resource::{Builtin, Custom, Origin, Resource};
pub use server::Server;
pub use status::{Cause, Status};
pub use store::{
    Change, Deleted, Deletion, Event, List, Mode, Part, Propagation, Store, Watch, timestamp,
};

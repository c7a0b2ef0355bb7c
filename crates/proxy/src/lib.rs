//! The engine: it accepts connections, asks `decide`, and moves bytes.
//!
//! It knows resources and tables. What users write, Kubernetes, and what kind of
//! proxy it is are unknown here: listeners make the difference.

mod options;
mod proxy;
mod worker;
mod listen;
mod connection;
mod http;
mod upstream;
mod telemetry;
mod config;
mod admin;
mod io;

pub use listen::status::{ListenerState, ListenerStatus};
pub use options::{Application, Options, Ports, Sockets, Source, Stream};
pub use proxy::{Proxy, ProxyError, run};
pub use upstream::reach::Reach;

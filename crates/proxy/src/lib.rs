//! The engine: it accepts connections, asks `decide`, and moves bytes.
//!
//! It knows resources and tables. What users write, Kubernetes, and what kind of
//! proxy it is are unknown here: listeners make the difference.

mod access_log;
mod asks;
mod connection;
mod decorator;
mod dial;
mod doors;
mod downstream;
mod drain;
mod exchange;
mod executor;
mod fetch;
mod first_bytes;
mod forward;
mod grpc;
mod head;
mod http_server;
mod journal;
mod options;
mod outcome;
mod payload;
mod pool;
mod ports;
mod probes;
mod proxy;
mod proxy_protocol;
mod relay;
mod replay;
mod reply;
mod request_body;
mod resolve;
mod server_first;
mod side;
mod stream;
mod tcp;
mod telemetry;
mod whole;
mod worker;

pub use options::{Application, Options, Ports, Sockets, Source, Stream};
pub use proxy::{Proxy, ProxyError, run};

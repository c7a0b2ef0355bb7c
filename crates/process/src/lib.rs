//! What every process of the mesh has: logs, metrics, an admin port, an orderly
//! end, and the sockets that it is handed.

pub mod admin;
pub mod log;
pub mod metrics;
pub mod netfilter;
pub mod shutdown;
pub mod sockets;

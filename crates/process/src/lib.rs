//! What every process of the mesh has: logs, metrics, an admin port, an orderly
//! end, and the sockets that it is handed.

pub mod netfilter;
pub mod sockets;

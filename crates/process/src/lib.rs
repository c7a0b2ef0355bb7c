//! What every process of the mesh has: logs, metrics, an admin port, an orderly
//! end, the sockets that it is handed, what its peers may hold, and the question whether
//! another is well. And the return of freed memory.

pub mod admin;
pub mod allocator;
pub mod log;
pub mod metrics;
pub mod netfilter;
pub mod peers;
pub mod probe;
pub mod shutdown;
pub mod sockets;
pub mod unchecked;

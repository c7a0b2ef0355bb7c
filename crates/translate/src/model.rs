//! What the objects say about the mesh: hosts and who sees them, workloads, proxies.

pub(crate) mod installation;
pub(crate) mod mesh_config;
pub(crate) mod protocol;
pub(crate) mod hosts;
pub(crate) mod registry;
pub(crate) mod visibility;
pub(crate) mod age;
pub(crate) mod workload;
pub(crate) mod client;
pub(crate) mod sidecar;
pub(crate) mod sight;
pub(crate) mod picked;

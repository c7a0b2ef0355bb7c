//! Where configuration comes from: the client of the control plane, and requests to it.

pub mod client;
pub mod handle;
pub mod on_demand;

//! The controllers of a small Kubernetes as pure steps: objects in, writes out.
//!
//! Nothing here knows the mesh, a process, a clock or a source of randomness;
//! time and random names are arguments. Who runs the steps, and when, is the
//! API server's affair.

pub mod addresses;
pub mod object;
pub mod selector;

//! The controllers of a small Kubernetes as pure steps: objects in, writes out.
//!
//! Nothing here knows the mesh, a process, a clock or a source of randomness;
//! time and random names are arguments. Who runs the steps, and when, is the
//! API server's affair; `expand` makes the same objects from files alone.

pub mod addresses;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod endpoints;
pub mod expand;
pub mod garbage;
pub mod job;
pub mod namespace;
pub mod object;
pub mod pods;
pub mod replica_set;
pub mod schedule;
pub mod service;
pub mod stateful_set;
mod template;
mod time;
mod write;

pub use write::Write;

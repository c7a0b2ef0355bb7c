//! What tests of several crates need: objects from YAML, peers that speak bytes, servers that
//! answer as told, certificates, a strict reader of metrics, and the one way to wait.
//!
//! A dev-dependency only. It knows users' objects and the wire, and none of the crates that use
//! it: those would meet themselves twice, once as what is tested and once inside of this.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod objects;

pub mod certificates;

pub mod application;
pub mod http1;
pub mod http2;

pub mod prometheus;

pub mod waiting;

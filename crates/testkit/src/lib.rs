//! What tests of several crates need: objects from YAML, peers that speak bytes, servers that
//! answer as told, certificates, a strict reader of metrics, recordings of Istio, and the one way to
//! wait.
//!
//! A dev-dependency only. It uses `api` and `manifest`, and no other crate of the mesh. Unit tests
//! of those two meet a second copy of their own crate here, so they use only what names no type of
//! it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod objects;

pub mod certificates;

pub mod application;
pub mod http1;
pub mod http2;

pub mod prometheus;

pub mod recordings;

pub mod processor_time;
pub mod waiting;

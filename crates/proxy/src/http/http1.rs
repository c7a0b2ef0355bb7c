//! HTTP/1 by the `hyper` crate, on both sides.

pub mod server;
pub mod client;
pub mod head_timeout;
pub mod error_bodies;
pub mod exchange;
pub mod raw_head;
pub mod chunk_size;
pub mod pending_upgrade;
pub mod early_response;

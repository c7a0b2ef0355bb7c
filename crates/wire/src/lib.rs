//! The gRPC stream that configuration travels on: messages and glue.
//!
//! The service is Envoy's delta aggregated discovery, the messages are written
//! by hand. Nothing here knows what a resource means, who may ask for it, or
//! when to ask.

pub mod client;
pub mod message;
pub mod server;
pub mod tls;

pub use client::{Target, connect};
pub use message::{DeltaRequest, DeltaResponse, TYPE_URL};
pub use server::{Call, Limits, serve};

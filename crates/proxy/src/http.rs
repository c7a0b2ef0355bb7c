//! HTTP on both sides of the proxy: reading a request, answering it, heads and bodies.

pub mod server;
pub mod exchange;
pub mod head;
pub mod request_body;
pub mod response_body;
pub mod local_reply;
pub mod grpc;
pub mod executor;

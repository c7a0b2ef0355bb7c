//! HTTP on both sides of the proxy: reading a request, answering it, heads and bodies.

pub mod serve_request;
pub mod headers;
pub mod body;
pub mod request_body;
pub mod response_body;
pub mod local_reply;
pub mod error;
pub mod deadline;
pub mod stall_timer;
pub mod pause;
pub mod metered_stream;
pub mod http1;
pub mod http2;
pub mod upgrade;
pub mod grpc;

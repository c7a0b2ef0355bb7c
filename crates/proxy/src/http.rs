//! HTTP on both sides of the proxy: reading a request, answering it, heads and bodies.

pub mod server;
pub mod exchange;
pub mod head;
pub mod body;
pub mod request_body;
pub mod response_body;
pub mod deadline;
pub mod stall;
pub mod local_reply;
pub mod codec_answers;
pub mod late_head;
pub mod error;
pub mod http1;
pub mod http2;
pub mod upgrade;
pub mod grpc;

//! Towards servers: choosing an endpoint, connecting, pooling, trying again.

pub mod forward;
pub mod pool;
pub mod dial;
pub mod resolve;
pub mod decorator;

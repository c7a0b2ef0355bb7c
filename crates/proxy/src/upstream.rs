//! Towards servers: choosing an endpoint, connecting, pooling, trying again.

pub mod forward;
pub mod endpoint_selection;
pub mod pool_key;
pub mod pool;
pub mod reach;
pub mod dial;
pub mod dns;
pub mod decorator;

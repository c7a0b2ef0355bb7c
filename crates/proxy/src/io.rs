//! Streams: bytes from a connection, whatever carries them.

pub mod stream;
pub mod shared_tcp;
pub mod peeked;
pub mod gathered;
pub mod buffer_limit;
pub mod pipe;
pub mod socket_options;
pub mod tally;

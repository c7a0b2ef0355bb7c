//! Streams: bytes from a connection, whatever carries them.

pub mod stream;
pub mod peeked;
pub mod gathered;
pub mod buffers;
pub mod pipe;
pub mod socket_options;

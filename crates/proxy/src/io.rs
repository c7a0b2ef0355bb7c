//! Streams: bytes from a connection, whatever carries them.

pub mod peeked;
pub mod gathered;

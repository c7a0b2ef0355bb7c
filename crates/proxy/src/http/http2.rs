//! HTTP/2 by the `h2` crate, on both sides: windows, budgets, resets and keep-alive are
//! decided here.
//!
//! A connection reads a bounded number of bytes, then empties all its streams into
//! buffers of their own, then lets other tasks run. So small frames never pile up in the
//! codec, and one stream that is not read never stops another. Towards clients outside the mesh
//! the window of the whole connection is bounded: there windows of streams are smaller while much is
//! not read. The window of any client's connection begins small and grows while there is room.

pub mod server;
pub mod client;
pub mod connection_window;
pub mod incoming_body;
pub mod outgoing_body;
pub mod windows;
pub mod keep_alive;
#[cfg(test)]
mod tests;
pub mod premature_resets;

use crate::http::metered_stream;

/// What the codec may hold, as its data frame budget counts it: about 256 bytes for each
/// small frame that no stream has taken yet. More than one turn's worth of the smallest
/// frames, which take ten bytes on the wire.
pub const FRAME_BUDGET: usize = metered_stream::TURN / 10 * 256 * 4;
/// Streams that are opened on one connection to a server before another is made.
pub const UPSTREAM_STREAMS: u32 = 100;
/// Streams that were reset by this side and whose late frames are still known.
pub const REMEMBERED_RESETS: usize = 1024;
/// Streams of one connection that the codec resets for frames that a client must not send,
/// before it ends the connection. Each is kept until the client reads of it, so without a
/// bound one that does not read would fill the memory.
pub const RESETS_OF_CLIENTS: usize = 1024;
/// The same for frames of a server. It is larger since a server may lawfully send a few for
/// streams that clients left, and the connection is shared by many of them.
pub const RESETS_OF_SERVERS: usize = 4096;
/// Streams that did not end in order after which a connection to a server is used for no new
/// ones. Each is remembered for a while, so that late frames of it count for nothing. It is
/// less than are remembered, and far less than a connection survives ([`RESETS_OF_SERVERS`]),
/// which would end all of its streams.
pub const BROKEN_STREAMS: u32 = 900;
/// Streams after which a connection to a server is used for no new ones: a connection can
/// number 2^30 (RFC 9113, section 5.1.1).
pub const MOST_STREAMS: u32 = (1 << 30) - 1024;
/// Streams that a client may open and reset in one turn: nearly as many as there can be.
pub const RESETS_OF_TURN: usize = metered_stream::TURN / 32;

/// The largest window (RFC 9113, section 6.9.1).
const MOST_WINDOW: u32 = (1 << 31) - 1;

/// The window of a connection with `streams` streams, each with a window of `stream`. One
/// that holds the windows of all of them lets no stalled stream stop another; twice that,
/// since streams that were reset have bytes under way as well. A caller may bound it further.
pub fn connection_window(streams: u32, stream: u32) -> u32 {
    stream.saturating_mul(streams.saturating_add(1)).saturating_mul(2).min(MOST_WINDOW)
}

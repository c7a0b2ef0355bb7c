//! The window of each stream: smaller while the process has as many bytes waiting as it may.
//!
//! A peer that sends and one that does not take what was sent cost no more than a window. The
//! change goes to the peer as a setting and holds for open streams as well (RFC 9113, section
//! 6.9.2).

use crate::io::tally::Tally;

/// The window of a stream while there is no room.
const SMALL: u32 = 16 * 1024;

/// The windows of one connection's streams.
#[derive(Debug)]
pub struct Windows {
    usual: u32,
    now: u32,
}

impl Windows {
    /// A connection that begins now, whose windows are usually of this size.
    pub fn begin(usual: u32, tally: &Tally) -> Self {
        let mut windows = Self::new(usual);
        if let Some(size) = windows.change(tally) {
            windows.changed(size);
        }
        windows
    }

    /// The size that the peer knows of.
    pub fn size(&self) -> u32 {
        self.now
    }

    /// The peer knows of windows of the `usual` size.
    pub fn new(usual: u32) -> Self {
        Self { usual, now: usual }
    }

    /// The size that the peer is to be told of, if it changes.
    pub fn change(&self, tally: &Tally) -> Option<u32> {
        let small = self.usual.min(SMALL);
        let size = match self.now == self.usual {
            true if tally.is_full() => small,
            false if tally.is_half_empty() => self.usual,
            _ => self.now,
        };
        (size != self.now).then_some(size)
    }

    /// The peer was told.
    pub fn changed(&mut self, size: u32) {
        self.now = size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::buffer_limit::Buffers;
    use std::sync::Arc;
    use weft_config::ProcessLimits;

    #[test]
    fn windows_are_small_from_when_there_is_no_room_until_half_is_free() {
        let buffers = Arc::new(Buffers::default());
        buffers.limit(&ProcessLimits { buffers: 1 << 20, ..ProcessLimits::new() });
        let tally = Tally::new(&buffers);
        let mut windows = Windows::new(1 << 18);
        assert_eq!(windows.change(&tally), None);
        tally.add(1 << 20);
        assert_eq!(windows.change(&tally), Some(SMALL));
        windows.changed(SMALL);
        assert_eq!(Windows::begin(1 << 18, &tally).size(), SMALL);
        tally.remove(1 << 18);
        assert_eq!(windows.change(&tally), None, "not to and fro");
        tally.remove(1 << 19);
        assert_eq!(windows.change(&tally), Some(1 << 18));
        assert_eq!(Windows::new(100).change(&tally), None, "none is larger than usual");
    }
}

//! The window of each stream: smaller while the process has as many bytes waiting as it may, and
//! towards servers also while many streams of the connection are open.
//!
//! A peer that sends and one that does not take what was sent cost no more than a window. The
//! change goes to the peer as a setting and holds for open streams as well (RFC 9113, section
//! 6.9.2).

use crate::io::tally::Tally;

/// The window of a stream while there is no room, or while more than [`SEVERAL`] are open.
pub const SMALL: u32 = 16 * 1024;
/// The window of a stream while more than [`FEW`] are open.
const MEDIUM: u32 = 64 * 1024;
/// Streams of one connection that have windows of the usual size.
const FEW: usize = 4;
/// Streams of one connection beyond which windows are small.
const SEVERAL: usize = 32;

/// The windows of one connection's streams.
#[derive(Debug)]
pub struct Windows {
    usual: u32,
    now: u32,
    /// Whether they are small whatever happens.
    held_small: bool,
}

impl Windows {
    /// A connection that begins now, whose windows are usually of this size.
    pub fn begin(usual: u32, tally: &Tally) -> Self {
        let mut windows = Self { usual, now: usual, held_small: false };
        if let Some(size) = windows.change(tally, 0) {
            windows.changed(size);
        }
        windows
    }

    /// A connection that begins now, whose windows are small until [`Self::may_grow`]: how many
    /// streams will be opened at once is not known, and most bodies need no more.
    pub fn begin_small(usual: u32) -> Self {
        Self { usual, now: usual.min(SMALL), held_small: true }
    }

    /// Readers took more of a body than a small window.
    pub fn may_grow(&mut self) {
        self.held_small = false;
    }

    /// The size that the peer knows of.
    pub fn size(&self) -> u32 {
        self.now
    }

    /// The size that the peer is to be told of, if it changes, while so many streams are open.
    pub fn change(&self, tally: &Tally, streams: usize) -> Option<u32> {
        let size = match self.most(streams) {
            _ if tally.is_full() => self.usual.min(SMALL),
            size if size < self.now => size,
            // Streams come and go: windows grow again when there are half as many.
            _ if self.most(2 * streams) > self.now && tally.is_half_empty() => {
                self.most(2 * streams)
            }
            _ => self.now,
        };
        (size != self.now).then_some(size)
    }

    /// The peer was told.
    pub fn changed(&mut self, size: u32) {
        self.now = size;
    }

    /// The largest window where so many streams are open.
    fn most(&self, streams: usize) -> u32 {
        self.usual.min(match streams {
            _ if self.held_small => SMALL,
            0..=FEW => self.usual,
            ..=SEVERAL => MEDIUM,
            _ => SMALL,
        })
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
        let mut windows = Windows::begin(1 << 18, &tally);
        assert_eq!(windows.change(&tally, 1), None);
        tally.add(1 << 20);
        assert_eq!(windows.change(&tally, 1), Some(SMALL));
        windows.changed(SMALL);
        assert_eq!(Windows::begin(1 << 18, &tally).size(), SMALL);
        tally.remove(1 << 18);
        assert_eq!(windows.change(&tally, 1), None, "not to and fro");
        tally.remove(1 << 19);
        assert_eq!(windows.change(&tally, 1), Some(1 << 18));
        assert_eq!(
            Windows::begin(100, &tally).change(&tally, 1),
            None,
            "none is larger than usual"
        );
    }

    /// The windows in KiB after each number of open streams.
    #[track_caller]
    fn check(windows: Windows, streams: &[usize], sizes: &[u32]) {
        let (mut windows, tally) = (windows, Tally::new(&Arc::default()));
        let after = streams.iter().map(|streams| {
            if let Some(size) = windows.change(&tally, *streams) {
                windows.changed(size);
            }
            windows.size() >> 10
        });
        assert_eq!(after.collect::<Vec<_>>(), sizes);
    }

    #[test]
    fn the_more_streams_are_open_the_smaller_are_their_windows() {
        let usual = || Windows::begin(1 << 18, &Tally::new(&Arc::default()));
        check(usual(), &[1, 4, 5, 32, 33, 1000], &[256, 256, 64, 64, 16, 16]);
        // Not to and fro.
        check(usual(), &[33, 17, 16, 3, 2, 4, 5], &[16, 16, 64, 64, 256, 256, 64]);
        check(Windows::begin_small(1 << 18), &[100, 1], &[16, 16]);
        let mut grown = Windows::begin_small(1 << 18);
        grown.may_grow();
        check(grown, &[100, 1], &[16, 256]);
        check(Windows::begin_small(1 << 13), &[1, 100], &[8, 8]);
    }
}

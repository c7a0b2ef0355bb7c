//! The window of each stream: smaller while the process has as many bytes waiting as it may, and
//! while much of what came on the connection is not read.
//!
//! A peer that sends and one that does not take what was sent cost no more than a window. The
//! change goes to the peer as a setting and holds for open streams as well (RFC 9113, section
//! 6.9.2).

use crate::io::tally::Tally;

/// The window of a stream while there is no room, and towards servers while much is not read.
pub const SMALL: u32 = 16 * 1024;
/// As many windows of the usual size may be full and not read on a connection to a server.
const FULL_WINDOWS: usize = 8;

/// The windows of one connection's streams.
#[derive(Debug)]
pub struct Windows {
    usual: u32,
    now: u32,
    /// Bytes that came on the connection and were not read, beyond which windows are `little`.
    most: usize,
    little: u32,
    /// Whether there are more, or were until half of them was read.
    crowded: bool,
    /// Whether they are small whatever happens.
    held_small: bool,
}

impl Windows {
    /// A connection of a client that begins now: so many streams share `connection`, the window
    /// of the connection. Where that has no room for all of theirs, they get small before it is
    /// full, so that streams that are not read leave room for the others.
    pub fn begin(usual: u32, (connection, streams): (u32, u32), tally: &Tally) -> Self {
        let mut windows =
            Self { usual, now: usual, most: 0, little: 0, crowded: false, held_small: false };
        windows.share(connection, streams);
        if let Some(size) = windows.change(tally, 0) {
            windows.changed(size);
        }
        windows
    }

    /// So many streams share `connection`, the window of the connection.
    pub fn share(&mut self, connection: u32, streams: u32) {
        self.little = (connection / 2 / streams.max(1)).clamp(1, self.usual.max(1));
        self.most = connection as usize / 4;
    }

    /// A connection to a server that begins now, whose windows are small until
    /// [`Self::may_grow`]: how many streams will be opened at once is not known, and most bodies
    /// need no more.
    pub fn begin_small(usual: u32) -> Self {
        let small = usual.min(SMALL);
        let most = FULL_WINDOWS * usual as usize;
        Self { usual, now: small, most, little: small, crowded: false, held_small: true }
    }

    /// Readers took more of a body than a small window.
    pub fn may_grow(&mut self) {
        self.held_small = false;
    }

    /// The size that the peer knows of.
    pub fn size(&self) -> u32 {
        self.now
    }

    /// Whether so much is not read that windows are smaller.
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// The size that the peer is to be told of, if it changes, while so many bytes that came are
    /// not read.
    pub fn change(&mut self, tally: &Tally, unread: usize) -> Option<u32> {
        // Not to and fro: windows grow again when half as much is unread.
        self.crowded = unread > self.most || self.crowded && unread > self.most / 2;
        let mut size = self.usual;
        if self.crowded {
            size = self.little;
        }
        if self.held_small || tally.is_full() {
            size = size.min(SMALL);
        }
        let may_change = size < self.now || tally.is_half_empty();
        (may_change && size != self.now).then_some(size)
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

    const USUAL: u32 = 1 << 18;

    #[test]
    fn windows_are_small_from_when_there_is_no_room_until_half_is_free() {
        let buffers = Arc::new(Buffers::default());
        buffers.limit(&ProcessLimits { buffers: 1 << 20, ..ProcessLimits::new() });
        let tally = Tally::new(&buffers);
        let begin = |usual| Windows::begin(usual, (1 << 30, 100), &tally);
        let mut windows = begin(USUAL);
        assert_eq!(windows.change(&tally, 1), None);
        tally.add(1 << 20);
        assert_eq!(windows.change(&tally, 1), Some(SMALL));
        windows.changed(SMALL);
        assert_eq!(begin(USUAL).size(), SMALL);
        tally.remove(1 << 18);
        assert_eq!(windows.change(&tally, 1), None, "not to and fro");
        tally.remove(1 << 19);
        assert_eq!(windows.change(&tally, 1), Some(USUAL));
        assert_eq!(begin(100).change(&tally, 1), None, "none is larger than usual");
    }

    /// The windows in KiB after each number of KiB that were not read.
    #[track_caller]
    fn check(windows: Windows, unread: &[usize], sizes: &[u32]) {
        let (mut windows, tally) = (windows, Tally::new(&Arc::default()));
        let after = unread.iter().map(|unread| {
            if let Some(size) = windows.change(&tally, unread << 10) {
                windows.changed(size);
            }
            windows.size() >> 10
        });
        assert_eq!(after.collect::<Vec<_>>(), sizes);
    }

    #[test]
    fn windows_to_servers_are_small_while_much_is_not_read() {
        check(Windows::begin_small(USUAL), &[0, 4000, 0], &[16, 16, 16]);
        let mut grown = Windows::begin_small(USUAL);
        grown.may_grow();
        // Not to and fro.
        check(grown, &[0, 2048, 2049, 1025, 1024, 2000], &[256, 256, 16, 16, 256, 256]);
        check(Windows::begin_small(1 << 13), &[0, 4000], &[8, 8]);
    }

    #[test]
    fn streams_that_are_not_read_leave_room_in_the_window_of_the_connection() {
        let begin = |connection: u32| {
            Windows::begin(USUAL, (connection, 100), &Tally::new(&Arc::default()))
        };
        check(begin(8 << 20), &[0, 2048, 2049, 1025, 1024], &[256, 256, 40, 40, 256]);
        // There is room for all of them.
        check(begin(51 << 20), &[0, 40_000], &[256, 256]);
    }
}

//! The window of a client's connection: what all its uploads together may have waiting.
//!
//! A window that a client has been given cannot be taken back. So it is small at first and grows
//! as bodies come, and what all connections of the process were given beyond that is bounded.

use std::rc::Rc;

use crate::io::tally::Tally;

/// The window of a connection that begins, if those of two streams are no larger.
const SMALL: u32 = 256 * 1024;
/// As much as a connection needs whose bodies are read as they come.
const ENOUGH: u32 = 4 * 1024 * 1024;

/// The window of one client's connection.
#[derive(Debug)]
pub struct ConnectionWindow {
    now: u32,
    most: u32,
    /// Bytes of bodies that had come when it last grew.
    came: u64,
    /// What it has beyond its first size, which the process knows of.
    granted: u32,
    tally: Rc<Tally>,
}

impl ConnectionWindow {
    /// A connection that begins, whose streams have windows of `stream`; it gets `most` in time.
    pub fn begin(most: u32, stream: u32, tally: &Rc<Tally>) -> Self {
        let now = stream.saturating_mul(2).max(SMALL).min(most);
        Self { now, most, came: 0, granted: 0, tally: Rc::clone(tally) }
    }

    /// What the client was given.
    pub fn size(&self) -> u32 {
        self.now
    }

    /// Grows if the connection is used for uploads, of which so many bytes `came` and are
    /// `unread`, and if the process has room; long before the client has to wait.
    pub fn grow(&mut self, came: u64, unread: usize) -> bool {
        let more = self.now.min(self.most - self.now);
        let part = self.now / 8;
        let is_due = came.saturating_sub(self.came) >= part.into()
            && (self.now < ENOUGH || unread >= part as usize);
        if more == 0 || !is_due || !self.tally.grant(more) {
            return false;
        }
        self.came = came;
        self.now += more;
        self.granted += more;
        true
    }
}

impl Drop for ConnectionWindow {
    fn drop(&mut self) {
        self.tally.give_back(self.granted);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_config::ProcessLimits;

    use super::*;
    use crate::io::buffer_limit::Buffers;

    const KIB: u32 = 1024;

    fn tally(room: u32) -> Rc<Tally> {
        let buffers = Arc::new(Buffers::default());
        buffers.limit(&ProcessLimits { buffers: room.into(), ..ProcessLimits::new() });
        Tally::new(&buffers)
    }

    #[test]
    fn a_window_grows_as_bodies_come_up_to_its_bound() {
        let mut window = ConnectionWindow::begin(1500 * KIB, 256 * KIB, &tally(1 << 30));
        let sizes = [0, 63, 64, 64, 191, 192, 1 << 20].map(|came| {
            window.grow(came * 1024, 0);
            window.size() / KIB
        });
        assert_eq!(sizes, [512, 512, 1024, 1024, 1024, 1500, 1500]);
        let small = |most, stream| ConnectionWindow::begin(most, stream, &tally(0)).size();
        assert_eq!((small(100, 10), small(1 << 30, 10)), (100, SMALL));
    }

    #[test]
    fn a_window_is_large_where_much_is_not_read() {
        let mut window = ConnectionWindow::begin(1 << 30, 256 * KIB, &tally(1 << 30));
        let mut came = 0;
        while window.grow(came, 0) || came == 0 {
            came += 1 << 20;
        }
        assert_eq!(window.size(), ENOUGH);
        assert!(!window.grow(1 << 40, 1 << 18) && window.grow(1 << 40, 1 << 19));
    }

    #[test]
    fn what_all_connections_were_given_is_bounded_until_they_end() {
        let tally = tally(1024 * KIB);
        let begin = || ConnectionWindow::begin(1 << 30, 256 * KIB, &tally);
        let (mut one, mut other) = (begin(), begin());
        assert!(one.grow(1 << 30, 0) && other.grow(1 << 30, 0));
        assert!(!one.grow(1 << 31, 0) && !other.grow(1 << 31, 0) && !begin().grow(1 << 31, 0));
        drop(other);
        assert!(!one.grow(1 << 31, 0), "it would be twice as much again");
        assert!(begin().grow(1 << 31, 0));
        tally.add(1 << 20);
        assert!(!begin().grow(1 << 31, 0), "so much waits");
        drop(one);
        tally.remove(1 << 20);
        assert!(begin().grow(1 << 31, 0));
    }
}

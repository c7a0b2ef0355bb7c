//! How many bytes of bodies wait in one worker's HTTP, counted in the buffers of the process.
//!
//! Bodies are counted as they come and go, so the process hears of it only when that is much.

use std::{cell::Cell, rc::Rc, sync::Arc};

use crate::io::buffer_limit::Buffers;

/// What is counted for the process at once.
const MUCH: usize = 64 * 1024;

/// Bytes of bodies that wait in one worker's HTTP.
#[derive(Debug, Default)]
pub struct Tally {
    buffers: Arc<Buffers>,
    /// All of them.
    waiting: Cell<usize>,
    /// As many as the process was told of.
    told: Cell<usize>,
}

impl Tally {
    /// None yet; the process counts them in `buffers`.
    pub fn new(buffers: &Arc<Buffers>) -> Rc<Self> {
        let buffers = Arc::clone(buffers);
        Rc::new(Self { buffers, waiting: Cell::new(0), told: Cell::new(0) })
    }

    /// So many more wait.
    pub fn add(&self, bytes: usize) {
        self.set(self.waiting.get() + bytes);
    }

    /// So many wait no more.
    pub fn remove(&self, bytes: usize) {
        self.set(self.waiting.get().saturating_sub(bytes));
    }

    /// Whether as many wait in the process as may.
    pub fn is_full(&self) -> bool {
        !self.buffers.have_room()
    }

    /// Whether so few wait in the process that there is room for long.
    pub fn is_half_empty(&self) -> bool {
        self.buffers.is_half_empty()
    }

    /// Whether more wait in the process than may, by half as many.
    pub fn is_overfull(&self) -> bool {
        self.buffers.is_overfull()
    }

    /// Lets a client send so many bytes more, if there is room; see [`Buffers::grant`].
    pub fn grant(&self, bytes: u32) -> bool {
        self.buffers.grant(bytes.into())
    }

    /// So many bytes that were granted cannot come any more.
    pub fn give_back(&self, bytes: u32) {
        self.buffers.give_back(bytes.into());
    }

    /// As many bytes as may wait in each direction of one connection of a client outside.
    pub fn most_of_client(&self) -> usize {
        self.buffers.most_of_client()
    }

    fn set(&self, bytes: usize) {
        self.waiting.set(bytes);
        if self.told.get().abs_diff(bytes) >= MUCH {
            self.tell(bytes);
        }
    }

    fn tell(&self, bytes: usize) {
        self.buffers.change(self.told.replace(bytes), bytes);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.tell(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_config::ProcessLimits;

    #[test]
    fn the_process_hears_of_much_and_of_the_end() {
        let buffers = Arc::new(Buffers::default());
        buffers.limit(&ProcessLimits { buffers: 2 * MUCH as u64, ..ProcessLimits::new() });
        let tally = Tally::new(&buffers);
        tally.add(MUCH - 1);
        assert_eq!((buffers.waiting(), tally.is_half_empty()), (0, true));
        tally.add(1);
        assert_eq!((buffers.waiting(), tally.is_half_empty()), (MUCH as u64, false));
        tally.add(MUCH);
        assert_eq!((tally.is_full(), tally.is_overfull()), (true, false));
        tally.add(MUCH);
        assert!(tally.is_overfull());
        tally.remove(3 * MUCH - 5);
        assert_eq!(buffers.waiting(), 5);
        drop(tally);
        assert_eq!(buffers.waiting(), 0);
    }
}

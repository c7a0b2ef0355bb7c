//! What the allocator keeps of freed memory.
//!
//! mimalloc gives memory back that has been free for a second, but looks for it only as more
//! is freed. A process that used much and then rests would keep all of it.

use std::hint::black_box;

/// More than the allocator keeps for a thread: it is freed to where all memory is kept.
const PIECE: usize = 1 << 20;

/// Has the allocator give back what has been free for a while. The piece that is freed for that
/// is not touched, so it costs nothing else.
pub fn give_back() {
    drop(black_box(Vec::<u8>::with_capacity(PIECE)));
}

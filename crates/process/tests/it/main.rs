//! Memory that was freed, with the allocator of the program.

use std::{
    thread,
    time::{Duration, Instant},
};

use weft_process::{allocator, metrics};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MUCH: usize = 128 << 20;
const PIECE: usize = 16 << 10;
/// When something hangs.
const HANGS: Duration = Duration::from_secs(30);

fn memory() -> u64 {
    metrics::memory().expect("Linux tells").anonymous
}

#[test]
fn what_was_freed_is_given_back_although_nothing_more_is() {
    let before = memory();
    let used = thread::spawn(|| {
        let pieces: Vec<Vec<u8>> = (0..MUCH / PIECE).map(|_| vec![7; PIECE]).collect();
        let most = memory();
        drop(pieces);
        most
    });
    let most = used.join().unwrap();
    assert!(most > before + MUCH as u64 / 2, "{most} bytes");
    let began = Instant::now();
    while memory() > before + MUCH as u64 / 8 {
        assert!(began.elapsed() < HANGS, "{} bytes are left of {most}", memory());
        allocator::give_back();
        thread::yield_now();
    }
}

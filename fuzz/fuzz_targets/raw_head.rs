//! Heads on the wire: how bytes are cut into pieces changes nothing.

#![no_main]

// It is private to its crate, which has no other reason to show it.
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/proxy/src/http/http1/raw_head.rs"]
mod raw_head;

use libfuzzer_sys::fuzz_target;
use raw_head::RawHeads;

fuzz_target!(|data: (u16, &[u8])| {
    let (some, bytes) = data;
    let whole = RawHeads::default().look(bytes);
    if let Some(at) = whole {
        assert_eq!(bytes[at], b'\n');
    }
    let (first, second) = bytes.split_at(bytes.len().min(usize::from(some)));
    let mut heads = RawHeads::default();
    let pieces = heads.look(first).or_else(|| heads.look(second).map(|at| at + first.len()));
    assert_eq!(pieces, whole);
});

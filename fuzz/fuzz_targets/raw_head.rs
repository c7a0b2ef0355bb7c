//! Heads on the wire: how bytes are cut into pieces changes nothing.

#![no_main]

// It is private to its crate, which has no other reason to show it.
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/proxy/src/http/http1/raw_head.rs"]
mod raw_head;
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/proxy/src/http/http1/chunk_size.rs"]
mod chunk_size;

use libfuzzer_sys::fuzz_target;
use raw_head::{Found, RawHeads, UpgradeAnswer};

fuzz_target!(|data: (u16, bool, &[u8])| {
    let (some, accepted, bytes) = data;
    let answer = match accepted {
        true => UpgradeAnswer::Accepted,
        false => UpgradeAnswer::Refused,
    };
    let whole = ambiguous(&[bytes], answer);
    if let Some(at) = whole {
        // At the end of a line, or within the size of a chunk.
        assert!(matches!(bytes[at], b'\n' | b' ' | b'\t') || bytes[at].is_ascii_hexdigit());
    }
    let (first, second) = bytes.split_at(bytes.len().min(usize::from(some)));
    assert_eq!(ambiguous(&[first, second], answer), whole);
});

/// Where `pieces` become ambiguous, in all of them; requests to upgrade are answered with `answer`.
fn ambiguous(pieces: &[&[u8]], answer: UpgradeAnswer) -> Option<usize> {
    let (mut heads, mut before) = (RawHeads::default(), 0);
    for piece in pieces {
        let mut at = 0;
        loop {
            match heads.look(&piece[at..]) {
                Found::Nothing => break,
                Found::Ambiguous(place) => return Some(before + at + place),
                Found::Upgrade(place) => {
                    at += place;
                    heads.upgrade_answered(answer);
                }
            }
        }
        before += piece.len();
    }
    None
}

//! The first message of TLS: what is clear stays clear when more arrives, and the end comes.

#![no_main]

// It is private to its crate, which has no other reason to show it.
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/proxy/src/connection/client_hello.rs"]
mod client_hello;

use client_hello::NoHello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u16, &[u8])| {
    let (some, bytes) = data;
    let begun = &bytes[..bytes.len().min(usize::from(some))];

    let whole = client_hello::read(bytes);
    match client_hello::read(begun) {
        Err(NoHello::Incomplete) => {
            assert!(begun.len() < client_hello::ENOUGH, "it waits for ever")
        }
        early => assert_eq!(early, whole),
    }
    if let Ok(hello) = whole {
        let name = hello.server_name.unwrap_or_default();
        assert!(name.len() <= 253 && !name.contains(|letter: char| letter.is_ascii_uppercase()));
        assert!(hello.protocols.iter().all(|protocol| !protocol.is_empty()));
    }
});

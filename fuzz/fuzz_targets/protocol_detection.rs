//! The first bytes of a connection: what is clear stays clear when more arrives.

#![no_main]

// Both are private to their crate, which has no other reason to show them.
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/proxy/src/connection/protocol_detection.rs"]
mod protocol_detection;
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/proxy/src/connection/proxy_protocol.rs"]
mod proxy_protocol;

use libfuzzer_sys::fuzz_target;
use protocol_detection::{DetectedProtocol, Detector};
use proxy_protocol::NoHeader;

fn detect(bytes: &[u8]) -> DetectedProtocol {
    Detector::default().look(bytes)
}

fuzz_target!(|data: (u16, &[u8])| {
    let (some, bytes) = data;
    let begun = &bytes[..bytes.len().min(usize::from(some))];

    let whole = proxy_protocol::read(bytes);
    if let Ok(header) = whole {
        assert!(header.length <= bytes.len());
        assert_eq!(proxy_protocol::read(&bytes[..header.length]), Ok(header));
    }
    match proxy_protocol::read(begun) {
        Err(NoHeader::Incomplete) => {}
        early => assert_eq!(early, whole),
    }
    if bytes.len() > 16 + 4096 {
        assert_ne!(whole, Err(NoHeader::Incomplete), "it waits for ever");
    }

    match detect(begun) {
        DetectedProtocol::Unclear => {
            assert!(begun.len() < protocol_detection::ENOUGH, "it waits for ever")
        }
        // Sixteen bytes of the preface are enough, whatever follows.
        DetectedProtocol::Http2 => {}
        early => assert_eq!(early, detect(bytes)),
    }
    // Looking while it grows finds the same as looking once.
    let mut detector = Detector::default();
    let early = detector.look(begun);
    let late = detector.look(bytes);
    if early == DetectedProtocol::Unclear {
        assert_eq!(late, detect(bytes));
    }
});

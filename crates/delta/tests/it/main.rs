//! Both ends of the stream, driven by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod link;
mod refusals;
mod script;

//! The control plane in one process, with proxies driven by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod acknowledge;
mod mesh;
mod pages;
mod streams;
mod unread;

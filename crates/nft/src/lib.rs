//! Packet rules as data, as text and as netlink bytes.
//!
//! A [`Table`] says what the kernel shall do; [`to_text`] spells it the way the
//! `nft` program reads it, [`to_batch`] spells it the way the kernel reads it,
//! and [`Capture`] makes the rules that lead a pod's traffic through its proxy.
//!
//! Refuses to know: sockets (the caller sends the bytes), pods, and what a mesh is.

pub mod capture;
pub mod ruleset;

mod attributes;
mod batch;
mod text;

pub use batch::{Change, to_batch};
pub use capture::{Capture, CaptureError};
pub use ruleset::{Chain, Family, Hook, HookPoint, Rule, Selector, Statement, Table, Verdict};
pub use text::to_text;

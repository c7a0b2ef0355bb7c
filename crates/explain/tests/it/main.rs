//! Explanations of whole worlds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod affinity;
mod analysis;
mod bind;
mod cases;
mod recordings;
mod translated;
mod trials;

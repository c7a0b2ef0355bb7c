//! Whole manifests, injected; `UPDATE=1` accepts what comes out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod golden;
mod properties;

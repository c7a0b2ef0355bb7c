//! Whole manifests, injected; `UPDATE=1` accepts what comes out.

mod golden;
mod properties;

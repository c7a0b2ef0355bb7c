//! Pod → JSON patch that adds the sidecar.
//!
//! One pure function makes the injected pod for the webhook, for
//! `weft inject` and for the laptop. Nothing here knows how a pod is started.
//! Nothing of the pod is lost: what the patch does not name stays as it is.

mod annotations;
mod capture;
mod decision;
mod document;
mod edits;
mod owner;
mod patch;
mod probes;
mod settings;
mod sidecar;
mod volumes;
mod warnings;

pub use decision::{Decision, Namespace, decide};
pub use document::document;
pub use owner::Owner;
pub use patch::patch;
pub use settings::{Policy, Resources, Settings};
pub use warnings::{Warning, warnings};

//! Pod → JSON patch that adds the sidecar.
//!
//! One pure function makes the injected pod for the webhook, for
//! `weft inject` and for the laptop. Nothing here knows how a pod is started.
//! Nothing of the pod is lost: what the patch does not name stays as it is.

mod annotations;
mod capture;
mod config_maps;
mod decision;
mod document;
mod edits;
mod own_container;
mod outside;
mod owner;
mod patch;
mod probes;
mod proxy_config;
mod settings;
mod sidecar;
mod volumes;
mod warnings;

pub use capture::{Traffic, uncaptured};
pub use config_maps::{INJECTOR, MESH, Texts};
pub use decision::{Decision, Namespace, decide};
pub use document::{Refused, document, pod_of};
pub use outside::outside;
pub use owner::Owner;
pub use patch::patch;
pub use settings::{Captured, Policy, Readiness, Resources, Settings};
pub use warnings::{Warning, warnings};

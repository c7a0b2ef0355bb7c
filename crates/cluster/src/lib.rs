//! The Kubernetes API, on a cluster or a laptop: as the control plane's source
//! of objects, as where its webhooks are asked from, and as what the command
//! line talks to.
//!
//! The only crate that names kube. It knows neither how objects are translated
//! nor that a laptop exists.

pub mod client;
pub mod control_plane;
pub mod install;
pub mod readiness;
mod stored;

//! From what users write to what proxies run: pure, total, incremental.
//!
//! A [`Translator`] owns every object, takes changes, and says which
//! answers are no longer the same. It knows no clock, no stream, and not who is
//! connected. A mistake in one object never takes another object's traffic down:
//! a broken rule becomes one that answers 500, plus a diagnostic.

mod model;
mod graph;
mod translator;
mod waiting;
mod ingresses;
mod routes;
mod clusters;
mod listeners;
mod proxy_settings;
mod directory;
mod closure;
mod diagnose;

pub use closure::{Piece, Resolved};
pub use clusters::backends::BackendRef;
pub use diagnose::regexes::unreadable_patterns;
pub use model::client::{Class, Client, Group, Labelled, Role, Selector};
pub use model::installation::Installation;
pub use translator::{COST_OF_GATEWAY, Changed, Examined, Translator};

//! From what users write to what proxies run: pure, total, incremental.
//!
//! A [`Translator`] owns every object, takes changes, and says which
//! answers are no longer the same. It knows no clock, no stream, and not who is
//! connected. A mistake in one object never takes another object's traffic down:
//! a broken rule becomes one that answers 500, plus a diagnostic.

mod age;
mod backends;
mod client;
mod closure;
mod destination_rules;
mod diagnose;
mod directory;
mod endpoints;
mod graph;
mod hosts;
mod installation;
mod listeners;
mod mesh;
mod patterns;
mod protocol;
mod registry;
mod rules;
mod service;
mod settings;
mod translator;
mod unit;
mod view;
mod virtual_services;
mod visibility;
mod workload;
mod world;

pub use backends::BackendRef;
pub use client::{Class, Client, Group, Labelled, Role, Selector};
pub use closure::{Piece, Resolved};
pub use installation::Installation;
pub use patterns::unreadable_patterns;
pub use translator::{Changed, Examined, Translator};

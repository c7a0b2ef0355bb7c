//! What is wrong with an object, seen together with the others.
//!
//! What is wrong with one object, whatever the others say, is `api`'s to say.

pub(crate) mod regexes;
mod destination_rules;
mod gateways;
mod services;
mod virtual_services;

use std::collections::BTreeSet;

use weft_api::{Diagnostic, Key, Kind, kind::Effect};

use crate::{Group, graph::view::View, model::mesh_config};

/// Whether something can be wrong with the object called `key` that only shows
/// together with the others; `settings` are the mesh's.
pub(crate) fn concerns(key: &Key, settings: &Key) -> bool {
    match key.kind {
        Kind::ConfigMap => key == settings,
        kind => kind.effect() == Effect::Configures,
    }
}

/// What is wrong with the object called `key`.
pub(crate) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let mut found = match key.kind {
        Kind::ConfigMap if *key == view.installation().settings() => mesh_config::findings(view),
        Kind::Service => services::findings(key, view),
        Kind::Gateway => gateways::findings(key, view),
        Kind::VirtualService => virtual_services::findings(key, view),
        Kind::DestinationRule => destination_rules::findings(key, view),
        _ => Vec::new(),
    };
    found.sort();
    found.dedup();
    found
}

/// The clients in `namespace` that no selector matches.
fn unselected(namespace: &str) -> Group {
    Group { namespace: namespace.to_owned(), selectors: BTreeSet::new(), labels: None }
}

//! What is wrong with an object, seen together with the others.
//!
//! What is wrong with one object, whatever the others say, is `api`'s to say.

pub(crate) mod regexes;
pub(crate) mod skipped_gateways;
mod destination_rules;
mod gateways;
mod ingress;
mod services;
mod service_entries;
mod sidecars;
pub(crate) mod virtual_services;

use std::{cmp::Reverse, collections::BTreeSet};

use weft_api::{Diagnostic, Key, Kind, kind::Effect};

use crate::{Group, graph::view::View, ingresses, model::mesh_config};

/// Whether something can be wrong with the object called `key` that only shows
/// together with the others; `settings` are the mesh's.
pub(crate) fn concerns(key: &Key, settings: &Key) -> bool {
    match key.kind {
        Kind::ConfigMap => key == settings,
        kind => kind.effect() == Effect::Configures && !ingresses::is_made(key),
    }
}

/// What is wrong with the object called `key`.
pub(crate) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let mut found = match key.kind {
        Kind::ConfigMap if *key == view.installation().settings() => mesh_config::findings(view),
        Kind::Service => services::findings(key, view),
        Kind::Gateway => gateways::findings(key, view),
        Kind::Ingress => ingress::findings(key, view),
        Kind::VirtualService => virtual_services::findings(key, view),
        Kind::DestinationRule => destination_rules::findings(key, view),
        Kind::Sidecar => sidecars::findings(key, view),
        Kind::ServiceEntry => service_entries::findings(key, view),
        _ => Vec::new(),
    };
    found.sort();
    found.dedup();
    bounded(key, found)
}

/// Findings of one object: where there are more, the gravest, those about larger parts first.
const MOST: usize = 100;
/// Bytes of a message: what users write may be as long as an object.
const LONGEST: usize = 1_000;

/// Not more of `found` than a reader has use for.
fn bounded(key: &Key, mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if let Some(more) = found.len().checked_sub(MOST + 1) {
        let depth = |one: &Diagnostic| one.field.matches('.').count();
        found.sort_by_key(|one| (Reverse(one.severity), depth(one)));
        found.truncate(MOST);
        let message = format!("{} further findings are not listed; mend these first", more + 1);
        found.push(Diagnostic::info(key, "", message));
        found.sort();
    }
    for one in found.iter_mut().filter(|one| one.message.len() > LONGEST) {
        one.message.truncate(one.message.floor_char_boundary(LONGEST));
        one.message.push('…');
    }
    found
}

/// The clients in `namespace` that no selector matches.
fn unselected(namespace: &str) -> Group {
    Group {
        namespace: namespace.to_owned(),
        selectors: BTreeSet::new(),
        labels: None,
        sidecar: None,
    }
}

//! What is wrong with an object, seen together with the others.

use weft_api::{Diagnostic, Key, Kind};

use crate::{mesh, view::View};

/// What is wrong with the object called `key`.
pub(crate) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    match key.kind {
        Kind::ConfigMap if *key == mesh::key() => mesh::findings(view),
        _ => Vec::new(),
    }
}

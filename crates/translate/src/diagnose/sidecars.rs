//! Sidecars that are for no workload, because another one is.

use weft_api::{Diagnostic, Key};

use crate::{graph::view::View, model::sidecar};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(written) = view.sidecar(key) else { return Vec::new() };
    let selector = written.spec.workload_selector.as_ref();
    let labels = selector.map(|selector| &selector.labels).into_iter().flatten();
    // A workload that has just the labels that this one selects.
    let Some(first) = sidecar::of_workload(&key.namespace, labels, view) else { return Vec::new() };
    if *first == *key {
        return Vec::new();
    }
    let message = format!(
        "{first} is older and for the same workloads, so this one has no effect; join the two"
    );
    let field = if selector.is_some() { "spec.workloadSelector" } else { "" };
    vec![Diagnostic::warning(key, field, message)]
}

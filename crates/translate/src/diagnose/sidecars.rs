//! Sidecars that are for no workload, because another one is, or that name too much.

use weft_api::{Diagnostic, Key};

use crate::{graph::view::View, model::sidecar};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(written) = view.sidecar(key) else { return Vec::new() };
    if sidecar::names_too_much(written) {
        let message = format!(
            "names more than {} hosts and entries: its workloads see nothing, and traffic that \
             leaves the mesh is refused; use fewer, such as one `NAMESPACE/*` for many",
            sidecar::MOST
        );
        return vec![Diagnostic::error(key, "spec.egress", message)];
    }
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

//! Problems of objects together: hosts and subsets that do not exist, conflicts,
//! rules that are never reached.

use serde_json::Value;
use weft_api::{Key, Kind, Severity};
use weft_manifest::{Document, render};
use weft_translate::{Installation, Translator};

/// Whether workloads are being started, so that a Service without endpoints is to be
/// expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workloads {
    /// Some are being started.
    Starting,
    /// No workload is being started.
    Settled,
}

impl Workloads {
    /// The state after these documents have been applied.
    pub fn after<'d>(mut documents: impl Iterator<Item = &'d Document>) -> Self {
        let starts = |document: &Document| {
            let kind = document.value.as_ref().and_then(|value| value["kind"].as_str());
            matches!(kind, Some("Deployment" | "ReplicaSet" | "Pod" | "StatefulSet"))
        };
        if documents.any(starts) { Self::Starting } else { Self::Settled }
    }
}

/// Problems of some documents' objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// One line each, with file, line and column.
    pub lines: Vec<String>,
    /// Whether there is an error among them.
    pub has_errors: bool,
}

/// What is known about the documents and the mesh beside their texts.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The namespace of documents that name none.
    pub namespace: &'a str,
    /// The domain of the cluster's names.
    pub domain: &'a str,
    /// Whether workloads are being started.
    pub workloads: Workloads,
}

/// The problems that the objects of `documents` have together with all `objects` of a
/// mesh.
pub fn problems<'d>(
    objects: impl IntoIterator<Item = Value>,
    documents: impl Iterator<Item = &'d Document>,
    Circumstances { namespace, domain, workloads }: Circumstances<'_>,
) -> Problems {
    let domain = domain.to_owned();
    let mut translator = Translator::with(Installation { domain, ..Installation::default() });
    let checked = objects.into_iter().map(weft_api::check_whole);
    let changes: Vec<_> =
        checked.filter_map(|checked| Some((checked.key?, checked.object))).collect();
    translator.change(changes);
    let found = translator.diagnostics();
    let mut problems = Problems::default();
    for document in documents {
        let Some(key) = document.value.as_ref().and_then(|value| key(value, namespace)) else {
            continue;
        };
        if key.kind == Kind::Service && workloads == Workloads::Starting {
            continue;
        }
        for diagnostic in found.iter().filter(|diagnostic| diagnostic.object == key) {
            let place = document.locate(&diagnostic.field).unwrap_or_else(|| document.place());
            problems.lines.push(render(diagnostic, Some(&place)));
            problems.has_errors |= diagnostic.severity == Severity::Error;
        }
    }
    problems
}

fn key(object: &Value, namespace: &str) -> Option<Key> {
    let mut key = weft_api::check(object).key?;
    if key.kind.namespaced() && object["metadata"]["namespace"].as_str().is_none_or(str::is_empty) {
        key.namespace = namespace.to_owned();
    }
    Some(key)
}

//! Problems of the documents of a file, with file, line and column.

use serde_json::Value;
use weft_api::{Diagnostic, Kind, Severity};
use weft_cluster::client::{Applied, ClientError, Resource, Resources};
use weft_manifest::{Document, foreign, render};

/// What was found in one document.
#[derive(Debug, Default)]
pub struct Found {
    /// One line each.
    pub lines: Vec<String>,
    /// Whether the object must not be applied.
    pub refused: bool,
}

/// Checks one document, without the others.
pub fn check(document: &Document) -> Found {
    let mut found = Found::default();
    for problem in &document.problems {
        found.lines.push(problem.to_string());
        found.refused = true;
    }
    let Some(value) = &document.value else { return found };
    if let Some(problem) = foreign(document) {
        found.lines.push(problem.to_string());
        found.refused = true;
        return found;
    }
    found.lines.extend(document.remarks.iter().map(ToString::to_string));
    for diagnostic in weft_api::check(value).diagnostics {
        found.refused |= diagnostic.severity == Severity::Error;
        found.lines.push(line(document, &diagnostic));
    }
    found.lines.extend(sidecar(document));
    if let Some(text) = weft_cluster::not_honoured(value) {
        found.lines.push(format!("{}: warning: {text}", document.place()));
    }
    found
}

/// Settings of the document's pod that have no effect on its sidecar.
pub fn sidecar(document: &Document) -> Vec<String> {
    let Some(value) = &document.value else { return Vec::new() };
    let Some(pod) = weft_inject::pod_of(value) else { return Vec::new() };
    let prefix = pod_place(value);
    let text = |field: &str| value.pointer(field).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{}/{}", text("/kind"), text("/metadata/name"));
    let lines = weft_inject::warnings(pod).into_iter().map(|warning| {
        let field = format!("{prefix}{}", warning.field);
        let place = document.locate(&field).unwrap_or_else(|| document.place());
        format!("{place}: warning: {name} {field}: {}", warning.message)
    });
    lines.collect()
}

/// What is before the fields of the pod in an object of this kind.
fn pod_place(object: &Value) -> &'static str {
    match object["kind"].as_str() {
        Some("Pod") => "",
        Some("CronJob") => "spec.jobTemplate.spec.template.",
        _ => "spec.template.",
    }
}

/// Why the server did not take the document's object, and whether that is a
/// failure: a kind that nobody serves is left out, and the rest is applied.
pub fn refusal(document: &Document, error: &ClientError, resources: &Resources) -> Found {
    let place = document.place();
    let text = |field: &str| {
        let value = document.value.as_ref().and_then(|value| value.pointer(field)?.as_str());
        value.unwrap_or_default()
    };
    let name = format!("{}/{}", text("/kind"), text("/metadata/name"));
    let ClientError::UnknownKind { kind, version } = error else {
        let line = format!("{place}: error: {name} is not applied: {error}");
        return Found { lines: vec![line], refused: true };
    };
    if version.is_empty() {
        let line = format!(
            "{place}: error: {name} is not applied: the object has no apiVersion; give it one"
        );
        return Found { lines: vec![line], refused: true };
    }
    let hint = hint(version, kind, resources);
    let line =
        format!("{place}: warning: {name} is left out: nobody serves {kind} of {version}{hint}");
    Found { lines: vec![line], refused: false }
}

/// What is known about a kind that nobody serves in this version: the version in which it
/// is served, if there is one. Kinds of the same name in other groups are other kinds.
fn hint(version: &str, kind: &str, resources: &Resources) -> String {
    let known = Kind::of(version, kind);
    if known.is_some_and(|kind| kind.group() == Kind::HttpRoute.group()) {
        return "; the Gateway API is not served yet".to_owned();
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    // Some kinds have moved from one group to another.
    let moved: &str = known.map_or(group, |kind| kind.group());
    let is_it = |one: &&Resource| one.kind == kind && (one.group == group || one.group == moved);
    let other = resources.iter().find(is_it);
    other.map_or_else(String::new, |resource| match resource.group.as_str() {
        "" => format!("; it is served as {}", resource.version),
        group => format!("; it is served as {group}/{}", resource.version),
    })
}

/// What the server had to say about an object, without what was said before.
pub fn remarks(document: &Document, applied: &Applied, told: &[String]) -> Vec<String> {
    let known = |warning: &&String| {
        let begin = warning.trim_end_matches('…');
        !told.iter().any(|line| line.contains(begin))
    };
    let new = applied.warnings.iter().filter(known);
    new.map(|warning| format!("{}: warning: {warning}", document.place())).collect()
}

/// One diagnostic of the document's object.
pub fn line(document: &Document, diagnostic: &Diagnostic) -> String {
    let place = document.locate(&diagnostic.field).unwrap_or_else(|| document.place());
    render(diagnostic, Some(&place))
}

//! What is wrong with the documents of a file, told with file, line and column.

use weft_api::{Diagnostic, Severity};
use weft_manifest::{Document, render};

/// What was found in one document.
#[derive(Debug, Default)]
pub struct Found {
    /// One line each.
    pub lines: Vec<String>,
    /// Whether the object must not be applied.
    pub refused: bool,
}

/// Checks one document by itself.
pub fn check(document: &Document) -> Found {
    let mut found = Found::default();
    for problem in &document.problems {
        found.lines.push(problem.to_string());
        found.refused = true;
    }
    let Some(value) = &document.value else { return found };
    for diagnostic in weft_api::check(value).diagnostics {
        found.refused |= diagnostic.severity == Severity::Error;
        found.lines.push(line(document, &diagnostic));
    }
    found
}

/// One diagnostic of the document's object.
pub fn line(document: &Document, diagnostic: &Diagnostic) -> String {
    let place = document.locate(&diagnostic.field).unwrap_or_else(|| document.place());
    render(diagnostic, Some(&place))
}

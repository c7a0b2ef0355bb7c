//! What has been found so far.

use crate::{Diagnostic, Key};

/// What has been found so far, about one object.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    object: Key,
    list: Vec<Diagnostic>,
    /// Fields that were left out because they hold something else than they should.
    pub(super) broken: Vec<String>,
}

impl Findings {
    /// Nothing so far.
    pub(super) fn new(object: Key) -> Self {
        Self { object, list: Vec::new(), broken: Vec::new() }
    }

    /// Adds an error, unless something broken stands there, of which all else follows.
    pub(super) fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        let field = field.into();
        if !self.broken.iter().any(|broken| within(broken, &field) || within(&field, broken)) {
            self.list.push(Diagnostic::error(&self.object, field, message));
        }
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.list.push(Diagnostic::warning(&self.object, field, message));
    }

    /// Adds that a field has no effect yet, and what happens instead.
    pub(super) fn not_honoured(&mut self, field: &str, instead: &str) {
        self.warning(field, format!("not honoured yet: {instead}"));
    }

    /// All of them, by field as they stand in the object.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by(|left, right| left.field.cmp(&right.field));
        self.list.dedup();
        self.list
    }
}

/// Whether the field at `path` is that at `outer`, or inside it.
fn within(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

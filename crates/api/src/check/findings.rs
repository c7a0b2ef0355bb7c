//! What has been found so far.

use crate::{
    Diagnostic, Key, Severity,
    field::{child, item},
};

/// The most diagnostics of one severity that an object gets.
pub(super) const MOST: usize = 100;

/// A place in an object, as a chain up to its top. Only what is reported becomes text, so
/// that long keys and deep objects cost nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'p> {
    /// The object, or the field where it stands.
    Top(&'p str),
    /// An entry of the map above.
    Entry(&'p Path<'p>, &'p str),
    /// An item of the list above.
    Item(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// The path as text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Top(field) => (*field).to_owned(),
            Self::Entry(above, key) => child(&above.text(), key),
            Self::Item(above, index) => item(&above.text(), *index),
        }
    }
}

/// Whether what is found is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It is, up to [`MOST`] of each severity.
    Diagnostics,
    /// Only what is broken is noticed.
    Nothing,
}

/// What has been found so far, about one object.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    object: Key,
    report: Report,
    list: Vec<Diagnostic>,
    /// How many diagnostics of each severity are in the list.
    counts: [usize; 3],
    /// The first fields that were left out because their values cannot be used.
    broken: Vec<String>,
    /// Objects that were closed, and the fields that are left of each.
    closed: Vec<(String, &'static [&'static str])>,
    /// How many fields were left out.
    breaks: usize,
}

impl Findings {
    /// Nothing so far.
    pub(super) fn new(object: Key, report: Report) -> Self {
        Self {
            object,
            report,
            list: Vec::new(),
            counts: [0; 3],
            broken: Vec::new(),
            closed: Vec::new(),
            breaks: 0,
        }
    }

    /// Adds an error, unless something broken stands there, of which all else follows.
    pub(super) fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.is_full(Severity::Error) {
            return self.overflow(Severity::Error);
        }
        let field = field.into();
        let broken = |broken: &String| within(broken, &field) || within(&field, broken);
        if !self.broken.iter().any(broken) && !self.is_gone(&field) {
            self.add(Severity::Error, field, message);
        }
    }

    /// Notes that of the object at `path` only the fields `kept` are left.
    pub(super) fn closed(&mut self, path: &Path<'_>, kept: &'static [&'static str]) {
        if !self.is_full(Severity::Error) {
            self.closed.push((path.text(), kept));
        }
    }

    /// Whether the field was taken away when what it is in was closed.
    fn is_gone(&self, field: &str) -> bool {
        let gone = |(closed, kept): &(String, &'static [&'static str])| {
            let inside = field.strip_prefix(closed.as_str())?.strip_prefix('.')?;
            let name = inside.split(['.', '[']).next().unwrap_or_default();
            Some(!kept.contains(&name))
        };
        self.closed.iter().any(|one| gone(one).unwrap_or(false))
    }

    /// Adds that the value at `path` cannot be used and is left out.
    pub(super) fn broken(&mut self, path: &Path<'_>, message: impl FnOnce() -> String) {
        self.breaks += 1;
        if self.is_full(Severity::Error) {
            return self.overflow(Severity::Error);
        }
        let field = path.text();
        self.error(field.clone(), message());
        self.broken.push(field);
    }

    /// How many values were left out so far.
    pub(super) fn breaks(&self) -> usize {
        self.breaks
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Warning, field, message);
    }

    /// Adds a warning about the value at `path`, if there is room for one.
    pub(super) fn warning_at(&mut self, path: &Path<'_>, message: impl FnOnce() -> String) {
        match self.is_full(Severity::Warning) {
            true => self.overflow(Severity::Warning),
            false => self.add(Severity::Warning, path.text(), message()),
        }
    }

    /// Adds that a field has no effect yet, and what happens instead.
    pub(super) fn not_honoured(&mut self, field: &str, instead: &str) {
        self.warning(field, format!("not honoured yet: {instead}"));
    }

    /// Whether further errors are not reported, so that nobody needs to look for them.
    pub(super) fn is_full(&self, severity: Severity) -> bool {
        self.report == Report::Nothing || self.counts[severity as usize] >= MOST
    }

    /// All of them, by field as they stand in the object.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by(|left, right| left.field.cmp(&right.field));
        self.list.dedup();
        self.list
    }

    fn add(&mut self, severity: Severity, field: impl Into<String>, message: impl Into<String>) {
        if self.is_full(severity) {
            return self.overflow(severity);
        }
        self.counts[severity as usize] += 1;
        self.push(severity, field.into(), message.into());
    }

    /// Says once that there is more.
    fn overflow(&mut self, severity: Severity) {
        if self.report == Report::Nothing || self.counts[severity as usize] > MOST {
            return;
        }
        self.counts[severity as usize] = MOST + 1;
        let message = format!("more than {MOST} findings like these; the others are not listed");
        self.push(severity, String::new(), message);
    }

    fn push(&mut self, severity: Severity, field: String, message: String) {
        let object = self.object.clone();
        self.list.push(Diagnostic { object, field, severity, message });
    }
}

/// Whether the field at `path` is that at `outer`, or inside it.
fn within(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

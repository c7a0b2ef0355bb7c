//! Everything that is wrong with objects, as data and as lines.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;
use weft_api::{Diagnostic, Severity, visible_in_line};
use weft_manifest::Location;

use crate::{explanation::Ignored, world::World};

/// Everything that is wrong with objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// How many objects there are, as their owners wrote them.
    pub objects: usize,
    /// What is wrong, in the order in which it is written.
    pub findings: Vec<Finding>,
}

impl Analysis {
    /// Whether something is as bad as that.
    pub fn has(&self, severity: Severity) -> bool {
        self.findings.iter().any(|one| one.severity >= severity)
    }
}

/// A line for each finding, and one for all.
impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count: usize, one: &str| {
            let end = if count == 1 { "" } else { "s" };
            format!("{count} {one}{end}")
        };
        let objects = many(self.objects, "object");
        let severities = [
            (Severity::Error, "error"),
            (Severity::Warning, "warning"),
            (Severity::Info, "remark"),
        ];
        let counts = severities.into_iter().filter_map(|(severity, name)| {
            let count = self.findings.iter().filter(|one| one.severity == severity).count();
            (count > 0).then(|| many(count, name))
        });
        let counts: Vec<String> = counts.collect();
        if counts.is_empty() {
            return writeln!(f, "Nothing is wrong with {objects}.");
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        writeln!(f, "\n{} in {objects}.", counts.join(", "))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Where it is written, if that is known.
    pub place: Option<Place>,
    /// How bad it is.
    pub severity: Severity,
    /// The object, as in `VirtualService/default/hello`; none for text that is no object.
    pub object: Option<String>,
    /// The field, as in `spec.http[0].match[1].uri`; empty for the object as a whole.
    pub field: String,
    /// What is wrong and what to do next.
    pub message: String,
}

/// A place in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The file, or `-` for standard input.
    pub file: String,
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl From<&Location> for Place {
    fn from(location: &Location) -> Self {
        let file = location.source.to_string();
        Self { file, line: location.line, column: location.column }
    }
}

impl Finding {
    fn of(diagnostic: &Diagnostic, place: Option<&Location>) -> Self {
        Self {
            place: place.map(Place::from),
            severity: diagnostic.severity,
            object: Some(diagnostic.object.to_string()),
            field: diagnostic.field.clone(),
            message: diagnostic.message.clone(),
        }
    }

    /// About an object of a kind that Weft does not know, and that decides something elsewhere.
    fn of_unknown(ignored: &Ignored) -> Self {
        let mut parts = ignored.source.rsplitn(3, ':');
        let (column, line, file) = (parts.next(), parts.next(), parts.next());
        let number = |text: Option<&str>| text?.parse().ok();
        let place = number(line).zip(number(column)).zip(file);
        let place =
            place.map(|((line, column), file)| Place { file: file.to_owned(), line, column });
        Self {
            place,
            severity: Severity::Warning,
            object: Some(ignored.object.clone()),
            field: String::new(),
            message: Ignored::MESSAGE.to_owned(),
        }
    }

    /// About text that is no object, or that others read otherwise.
    fn of_text(severity: Severity, place: &Location, message: &str) -> Self {
        Self {
            place: Some(place.into()),
            severity,
            object: None,
            field: String::new(),
            message: message.to_owned(),
        }
    }
}

/// `file.yaml:12:7: warning: OBJECT FIELD: MESSAGE`, as much of it as is known.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "{}:{line}:{column}: ", visible_in_line(file))?;
        }
        f.write_str(match self.severity {
            Severity::Info => "info: ",
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
        })?;
        if let Some(object) = &self.object {
            f.write_str(object)?;
            if !self.field.is_empty() {
                write!(f, " {}", self.field)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

impl World {
    /// Everything that is wrong with the objects, each alone and all together.
    pub fn analysis(&mut self) -> Analysis {
        let mut found = BTreeSet::new();
        for problem in &self.problems {
            found.insert(Finding::of_text(Severity::Error, &problem.place, &problem.message));
        }
        for remark in &self.remarks {
            found.insert(Finding::of_text(Severity::Warning, &remark.place, &remark.message));
        }
        for diagnostic in self.findings() {
            let document = self.written.get(&diagnostic.object.to_string());
            let place = document.and_then(|document| document.locate(&diagnostic.field));
            found.insert(Finding::of(&diagnostic, place.as_ref()));
        }
        let unknown = self.ignored.iter().filter(|one| !self.written.contains_key(&one.object));
        found.extend(unknown.map(Finding::of_unknown));
        let objects = match self.written.is_empty() {
            true => self.translator.objects().count(),
            false => self.written.len(),
        };
        Analysis { objects, findings: found.into_iter().collect() }
    }
}

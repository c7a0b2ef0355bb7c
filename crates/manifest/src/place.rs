//! Where in which text something stands, and how messages say it.

use std::{fmt, sync::Arc};

use weft_api::{Diagnostic, Severity};

/// A place in a text; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file, or `-` for standard input.
    pub source: Arc<str>,
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// Something in a text that cannot be read, or not as it was meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// Where.
    pub place: Location,
    /// What, and what to do next.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: error: {}", self.place, self.message)
    }
}

/// Something in a text that other programs read otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remark {
    /// Where.
    pub place: Location,
    /// What, and what to do next.
    pub message: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: warning: {}", self.place, self.message)
    }
}

/// The line that tells of `diagnostic`: `file.yaml:12:7: warning: OBJECT FIELD: MESSAGE`.
pub fn render(diagnostic: &Diagnostic, place: Option<&Location>) -> String {
    let severity = match diagnostic.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    match place {
        Some(place) => format!("{place}: {severity}: {diagnostic}"),
        None => format!("{severity}: {diagnostic}"),
    }
}

#[cfg(test)]
mod tests {
    use weft_api::{Key, Kind};

    use super::*;

    #[test]
    fn a_diagnostic_is_told_with_place_severity_object_and_field() {
        let object = Key::new(Kind::VirtualService, "default", "cart");
        let diagnostic = Diagnostic::warning(&object, "spec.http[0].fault", "not honoured yet");
        let place = Location { source: "cart.yaml".into(), line: 12, column: 7 };
        let text = "warning: VirtualService/default/cart spec.http[0].fault: not honoured yet";
        assert_eq!(render(&diagnostic, Some(&place)), format!("cart.yaml:12:7: {text}"));
        assert_eq!(render(&diagnostic, None), text);
    }
}

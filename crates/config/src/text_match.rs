//! How one text is compared.

use regex::{
    Error,
    bytes::{Regex, RegexBuilder},
};
use serde::{Deserialize, Serialize};

/// How one text is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TextMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches as a whole (RE2 syntax).
    Regex(String),
    /// Is there, with any value.
    Present,
}

/// The most memory that a compiled pattern may take.
const PATTERN_SIZE: usize = 256 << 10;

/// A text that is no regular expression, or too large a one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a regular expression: {reason}")]
pub struct NotAPattern {
    /// The text.
    pub pattern: String,
    /// Why not.
    pub reason: String,
}

impl NotAPattern {
    fn new(text: &str, error: &Error) -> Self {
        let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
        Self { pattern: text.to_owned(), reason }
    }
}

/// Compiles `text` so that it matches texts as a whole; the one place where it
/// is decided what a pattern is.
///
/// As in RE2, `\w`, `\d` and their like mean ASCII. Classes of other characters
/// need the tables of Unicode, so a pattern that has some is compiled with them.
pub fn compile(text: &str) -> Result<Regex, NotAPattern> {
    // A `)` too many would end the group: the text has to stand on its own. Without room it is
    // only read, which is much less work than to compile it.
    let stands_alone = |unicode: bool| match build(text, unicode, 0) {
        Ok(_) | Err(Error::CompiledTooBig(_)) => Ok(()),
        Err(error) => Err(error),
    };
    let whole = whole(text);
    let compiled =
        |unicode: bool| stands_alone(unicode).and_then(|()| build(&whole, unicode, PATTERN_SIZE));
    either(compiled).map_err(|error| NotAPattern::new(text, &error))
}

/// Compiles `text` so that it matches anywhere in a text.
pub fn compile_part(text: &str) -> Result<Regex, NotAPattern> {
    either(|unicode| build(text, unicode, PATTERN_SIZE))
        .map_err(|error| NotAPattern::new(text, &error))
}

/// What is compiled without the tables of Unicode, or with them where it needs them.
fn either(compiled: impl Fn(bool) -> Result<Regex, Error>) -> Result<Regex, Error> {
    match compiled(false) {
        Err(Error::CompiledTooBig(size)) => Err(Error::CompiledTooBig(size)),
        found => found.or_else(|_| compiled(true)),
    }
}

fn build(pattern: &str, unicode: bool, size: usize) -> Result<Regex, Error> {
    RegexBuilder::new(pattern).unicode(unicode).size_limit(size).build()
}

/// The pattern `text`, anchored at both ends.
pub fn whole(text: &str) -> String {
    format!("^(?:{text})$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text() {
        assert!(compile("a|b").is_ok_and(|pattern| pattern.is_match(b"b")));
        assert!(compile("a|b").is_ok_and(|pattern| !pattern.is_match(b"ab")));
    }

    #[test]
    fn words_are_ascii_and_other_characters_stand_for_themselves() {
        assert!(compile(r"\w").is_ok_and(|pattern| !pattern.is_match("é".as_bytes())));
        assert!(compile("[é]").is_ok_and(|pattern| pattern.is_match("é".as_bytes())));
    }

    #[test]
    fn what_does_not_stand_on_its_own_is_refused() {
        for text in ["(", "a)|(b", "a(?=b)", "(?:a{1000}){1000}"] {
            assert!(compile(text).is_err(), "{text}");
        }
    }
}

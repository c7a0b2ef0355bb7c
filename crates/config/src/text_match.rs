//! How one text is compared.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// How one text is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
const PATTERN_SIZE: usize = 1 << 20;

/// A text that is no regular expression, or too large a one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a regular expression: {reason}")]
pub struct NotAPattern {
    /// The text.
    pub pattern: String,
    /// Why not.
    pub reason: String,
}

/// Compiles `text` so that it matches texts as a whole; the one place where it
/// is decided what a pattern is.
pub fn compile(text: &str) -> Result<Regex, NotAPattern> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(PATTERN_SIZE)
        .build()
        // A `)` too many would end the group: the text has to stand on its own.
        .and_then(|whole| regex_alone(text).map(|()| whole))
        .map_err(|error| NotAPattern {
            pattern: text.to_owned(),
            reason: error.to_string().lines().last().unwrap_or_default().to_owned(),
        })
}

fn regex_alone(text: &str) -> Result<(), regex::Error> {
    RegexBuilder::new(text).size_limit(PATTERN_SIZE).build().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text() {
        assert!(compile("a|b").is_ok_and(|pattern| pattern.is_match("b")));
        assert!(compile("a|b").is_ok_and(|pattern| !pattern.is_match("ab")));
    }

    #[test]
    fn what_does_not_stand_on_its_own_is_refused() {
        for text in ["(", "a)|(b", "a(?=b)", "(?:a{1000}){1000}"] {
            assert!(compile(text).is_err(), "{text}");
        }
    }
}

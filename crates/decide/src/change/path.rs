//! Paths that rules make of others.

use regex::bytes::Regex;
use weft_config::{
    PathChange, TextMatch,
    change::{self, NotAChange, SubstitutionPart},
};

use crate::path;

/// The longest target that is sent on, in bytes.
const LONGEST_TARGET: usize = 60 << 10;

/// A change of a path, ready to be made.
#[derive(Debug)]
pub(super) enum CompiledPath {
    Matched(Box<str>),
    Whole(Box<str>),
    Pattern(Regex, Box<[SubstitutionPart]>),
}

impl CompiledPath {
    pub(super) fn new(change: &PathChange) -> Result<Self, NotAChange> {
        Ok(match change {
            PathChange::Matched(with) => Self::Matched(with.as_str().into()),
            PathChange::Whole(with) => Self::Whole(with.as_str().into()),
            PathChange::Pattern { pattern, with } => {
                let (pattern, parts) = change::substitution(pattern, with)?;
                Self::Pattern(pattern, parts.into())
            }
        })
    }

    /// The target in place of `target`, a path and query; `matched` is what the rule asks of the
    /// path. None where it would be longer than a target may be.
    pub(super) fn changed(&self, target: &str, matched: Option<&TextMatch>) -> Option<String> {
        let old = path::without_query(target);
        let query = &target[old.len()..];
        let path = match self {
            Self::Matched(with) => {
                let length = match matched {
                    None => 1,
                    Some(TextMatch::Prefix(prefix)) => prefix.len(),
                    Some(_) => old.len(),
                };
                format!("{with}{}", old.get(length..).unwrap_or_default())
            }
            Self::Whole(with) => with.to_string(),
            Self::Pattern(pattern, parts) => replaced(pattern, parts, old)?,
        };
        let new = absolute(&path) + query;
        (new.len() <= LONGEST_TARGET).then_some(new)
    }
}

/// `path` with a slash in front.
pub(super) fn absolute(path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{slash}{path}")
}

/// Matches times bytes that are looked at: each search may look at all that is left.
const MOST_WORK: usize = 4 << 20;

/// `text` with `parts` instead of every match; none where that grows too long, or takes too
/// long.
fn replaced(pattern: &Regex, parts: &[SubstitutionPart], text: &str) -> Option<String> {
    let text = text.as_bytes();
    let mut new = Vec::with_capacity(text.len());
    let mut after = 0;
    for (nth, found) in pattern.captures_iter(text).enumerate() {
        if nth.saturating_mul(text.len()) > MOST_WORK {
            return None;
        }
        let whole = found.get(0)?;
        new.extend_from_slice(&text[after..whole.start()]);
        for part in parts {
            match part {
                SubstitutionPart::Text(with) => new.extend_from_slice(with.as_bytes()),
                SubstitutionPart::Group(at) => {
                    new.extend_from_slice(
                        found.get(*at).map_or(&b""[..], |group| group.as_bytes()),
                    );
                }
            }
            if new.len() > LONGEST_TARGET {
                return None;
            }
        }
        after = whole.end();
    }
    new.extend_from_slice(&text[after..]);
    String::from_utf8(new).ok()
}

//! What must hold of a request for a rule to be used.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
};

use weft_api::virtual_service::{HttpMatch, StringMatch};
use weft_config::{Conditions, SourceMatch, TextMatch, text_match, text_match::NotAPattern};

use crate::routes::rules::InvalidRule;

/// The conditions of `one`, and those that cannot be read. The latter are left
/// out, so the caller, who has the rest, must close the rule.
pub(crate) fn read(one: Option<&HttpMatch>) -> (Conditions, Vec<InvalidRule>) {
    let mut broken = Vec::new();
    let Some(one) = one else { return (Conditions::default(), broken) };
    let mut text = |field: &str, written: &Option<StringMatch>| {
        let written = written.as_ref()?;
        compared(field, written, &mut broken)
    };
    let path = text("uri", &one.uri);
    let method = text("method", &one.method);
    let scheme = text("scheme", &one.scheme);
    let authority = text("authority", &one.authority);
    let mut texts = |field: &str, written: &BTreeMap<String, StringMatch>, lower: Case| {
        let read = written.iter().filter_map(|(name, value)| {
            let found = compared(&format!("{field}.{name}"), value, &mut broken)?;
            let name = match lower {
                Case::Ignored => name.to_ascii_lowercase(),
                Case::Kept => name.clone(),
            };
            // A star is no regular expression, but what people mean is plain.
            let found = match found {
                TextMatch::Regex(pattern) if pattern == "*" => TextMatch::Present,
                found => found,
            };
            Some((name, found))
        });
        read.collect::<Vec<_>>()
    };
    let conditions = Conditions {
        path,
        ignore_path_case: one.ignore_uri_case,
        method,
        scheme,
        authority,
        headers: texts("headers", &one.headers, Case::Ignored),
        without_headers: texts("withoutHeaders", &one.without_headers, Case::Ignored),
        query: texts("queryParams", &one.query_params, Case::Kept),
        source: source(&one.source_labels),
    };
    (conditions, broken)
}

/// The clients with `labels`; which those are the proxy decides, by its own.
pub(crate) fn source(labels: &BTreeMap<String, String>) -> SourceMatch {
    let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    SourceMatch { labels, namespace: None }
}

/// Whether names are told apart by case.
#[derive(Clone, Copy)]
enum Case {
    Ignored,
    Kept,
}

fn compared(
    field: &str,
    written: &StringMatch,
    broken: &mut Vec<InvalidRule>,
) -> Option<TextMatch> {
    if let Some(exact) = &written.exact {
        return Some(TextMatch::Exact(exact.clone()));
    }
    if let Some(prefix) = &written.prefix {
        return Some(TextMatch::Prefix(prefix.clone()));
    }
    let Some(pattern) = &written.regex else { return Some(TextMatch::Present) };
    if pattern == "*" {
        return Some(TextMatch::Regex(pattern.clone()));
    }
    match validated(pattern) {
        Ok(()) => Some(TextMatch::Regex(pattern.clone())),
        Err(error) => {
            broken.push(InvalidRule::new(
                format!("{field}.regex"),
                "invalid_match",
                format!("{error}; the rule answers 500"),
            ));
            None
        }
    }
}

/// Patterns that are remembered, and bytes of one.
const REMEMBERED: usize = 4096;
const LONGEST: usize = 1024;

/// What a pattern costs to compile that has counted repetitions or characters of Unicode: one may
/// be a thousand times its length.
const LARGE: usize = 50;
/// Bytes of a pattern that cost as much as a pattern of its own.
const LENGTH: usize = 64;

/// What compiling the patterns of `one` costs; a short pattern is 1.
pub(crate) fn cost(one: &HttpMatch) -> usize {
    let single = [&one.uri, &one.method, &one.scheme, &one.authority].into_iter().flatten();
    let maps = [&one.headers, &one.without_headers, &one.query_params];
    let all = single.chain(maps.into_iter().flat_map(|map| map.values()));
    let patterns = all.filter_map(|text: &StringMatch| text.regex.as_deref());
    let of = |pattern: &str| {
        let grows = ["{", "(?", r"\p", r"\P"].iter().any(|mark| pattern.contains(mark));
        let large = if grows || !pattern.is_ascii() { LARGE } else { 0 };
        1 + large + pattern.len() / LENGTH
    };
    patterns.map(of).sum()
}

/// How many patterns were compiled on this thread so far; wraps around.
pub(crate) fn compiled() -> usize {
    COMPILED.get()
}

thread_local! {
    static COMPILED: Cell<usize> = const { Cell::new(0) };
    /// What is known of patterns: compiling one may take a hundred milliseconds, and the same
    /// ones are read for each host, gateway and diagnostic.
    static KNOWN: RefCell<HashMap<String, Result<(), NotAPattern>>> = RefCell::default();
}

/// Whether `pattern` can be compiled; that never changes.
fn validated(pattern: &str) -> Result<(), NotAPattern> {
    if let Some(known) = KNOWN.with_borrow(|known| known.get(pattern).cloned()) {
        return known;
    }
    COMPILED.set(COMPILED.get().wrapping_add(1));
    let found = text_match::compile(pattern).map(|_| ());
    if pattern.len() <= LONGEST {
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(pattern.to_owned(), found.clone());
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_pattern_is_not_found_out_again() {
        assert_eq!(validated("a+"), Ok(()));
        let wrong = validated("(").unwrap_err();
        // Only if it is looked at again can it be found to be a pattern.
        KNOWN.with_borrow_mut(|known| known.insert("a+".to_owned(), Err(wrong.clone())));
        assert_eq!(validated("a+"), Err(wrong));
    }
}

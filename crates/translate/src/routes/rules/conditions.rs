//! What must hold of a request for a rule to be used.

use std::collections::BTreeMap;

use weft_api::virtual_service::{HttpMatch, StringMatch};
use weft_config::{Conditions, SourceMatch, TextMatch};

use crate::routes::rules::{InvalidRule, patterns};

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

pub(crate) fn compared(
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
    match patterns::validated(pattern) {
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

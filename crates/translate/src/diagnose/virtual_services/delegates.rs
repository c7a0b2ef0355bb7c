//! Delegates that cannot be used, and rules of delegates that are left out.

use weft_api::{Diagnostic, Key};

use crate::{
    graph::view::View,
    routes::{
        delegates::{Conflicts, Merged},
        rules::targets,
    },
};

/// What is to be said of the rules of `key` that delegate, which are in `merged`.
pub(super) fn check(key: &Key, merged: &Merged, view: &View<'_>) -> Vec<Diagnostic> {
    let field = |root: usize| format!("spec.http[{root}].delegate");
    let Some(own) = view.virtual_service(key) else { return Vec::new() };
    if own.spec.hosts.is_empty() {
        let further = own.spec.http.iter().enumerate().filter(|(_, rule)| rule.delegate.is_some());
        let message = targets::delegates_further().message;
        return further.map(|(at, _)| Diagnostic::error(key, field(at), message.clone())).collect();
    }
    let mut found = Vec::new();
    for (source, rule) in merged.sources.iter().zip(&merged.service.spec.http) {
        let field = field(source.root);
        if let Some(closed) = &source.closed {
            found.push(Diagnostic::error(key, field, closed.message.clone()));
        } else if rule.delegate.is_some() {
            let message = format!(
                "http[{}] of {} delegates further, which rules of delegates do not: it answers \
                 500, give it a `route`",
                source.rule, source.object
            );
            found.push(Diagnostic::error(key, field, message));
        }
    }
    found.extend(merged.conflicts.iter().map(|(root, conflicts)| {
        let Conflicts { delegate, first, count } = conflicts;
        let rules = match count - 1 {
            0 => format!("http[{first}] of {delegate} is"),
            more => format!("http[{first}] of {delegate} and {more} more of its rules are"),
        };
        let message = format!(
            "{rules} left out: each condition must be a part of one of the rule here, by the same \
             text or a longer prefix, and with the same `ignoreUriCase` and `sourceNamespace`; \
             regular expressions are not compared"
        );
        Diagnostic::warning(key, field(*root), message)
    }));
    found
}

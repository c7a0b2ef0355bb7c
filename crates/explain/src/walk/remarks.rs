//! What is wrong with the objects that decided, and what they kept from deciding.

use std::{collections::BTreeSet, sync::Arc};

use weft_api::{Diagnostic, Key, Severity};

use crate::explanation::Because;

/// What `diagnostics` say of the objects in `because`, and of objects that one of
/// them overrides.
pub(super) fn on(because: &[Because], diagnostics: &[Diagnostic]) -> Vec<Because> {
    diagnostics.iter().filter_map(|diagnostic| remark(because, diagnostic)).collect()
}

/// How many VirtualServices that are left out are named.
const MOST_LEFT_OUT: usize = 3;

/// That the rules of `services` were not looked at, since their namespaces have too many.
pub(super) fn left_out(services: &BTreeSet<Arc<Key>>) -> Vec<Because> {
    let more = services.len().saturating_sub(MOST_LEFT_OUT);
    let named = services.iter().take(MOST_LEFT_OUT).enumerate();
    let told = named.map(|(at, key)| {
        let others = match more {
            more if more > 0 && at + 1 == MOST_LEFT_OUT => format!("; nor of {more} others"),
            _ => String::new(),
        };
        Because {
            object: key.to_string(),
            rule: String::new(),
            source: None,
            verdict: "left out".to_owned(),
            why: format!(
                "namespace {} has more rules for the host than clients of other namespaces take, \
                 so those of this one are not looked at{others}",
                key.namespace
            ),
        }
    });
    told.collect()
}

fn remark(because: &[Because], diagnostic: &Diagnostic) -> Option<Because> {
    let object = diagnostic.object.to_string();
    let rule = diagnostic.field.strip_prefix("spec.").unwrap_or(&diagnostic.field);
    let verdict = match because.iter().any(|one| one.object == object) {
        true if concerns(because, &object, rule) => match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "note",
        },
        false if because.iter().any(|one| overrides(one, diagnostic)) => "overridden",
        _ => return None,
    };
    Some(Because {
        object,
        rule: rule.to_owned(),
        source: None,
        verdict: verdict.to_owned(),
        why: diagnostic.message.clone(),
    })
}

/// Whether a finding about `rule` of `object` is about a rule that was used, or
/// about the object as a whole.
fn concerns(because: &[Because], object: &str, rule: &str) -> bool {
    let of_one_rule = ["http[", "tcp[", "tls["].iter().any(|list| rule.starts_with(list));
    let used = |one: &Because| {
        let is_used = matches!(one.verdict.as_str(), "matched" | "refused");
        let number = one.rule.split(']').next().unwrap_or_default();
        is_used && one.object == object && !number.is_empty() && rule.starts_with(number)
    };
    !of_one_rule || because.iter().any(used)
}

/// Whether a finding about another object of the same kind names `one` as the winner.
fn overrides(one: &Because, diagnostic: &Diagnostic) -> bool {
    let Some((kind, name)) = one.object.split_once('/') else { return false };
    kind == diagnostic.object.kind.name()
        && name.contains('/')
        && diagnostic.message.split([' ', ',', ';', '`']).any(|word| {
            word == name
                || word.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')) == Some(name)
        })
}

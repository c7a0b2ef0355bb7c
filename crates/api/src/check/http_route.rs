//! What Istio asks of an HTTP rule of a VirtualService.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{findings::Findings, names, near::nearest, virtual_service::destinations};
use crate::{
    Severity,
    field::{child, clipped, item},
    span,
    virtual_service::{HttpMatch, HttpRoute, Retries, StringMatch},
};

/// Begins the names of headers that stand for claims of the caller's token.
const CLAIMS: &str = "@request.auth.claims";

/// Conditions that `retryOn` knows, besides status codes.
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Checks one rule.
pub(super) fn check(rule: &HttpRoute, place: &str, findings: &mut Findings) {
    action(rule, place, findings);
    for (index, condition) in rule.matches.iter().enumerate() {
        matching(condition, &item(&format!("{place}.match"), index), findings);
    }
    let weighted: Vec<_> =
        rule.route.iter().map(|route| (&route.destination, route.weight)).collect();
    destinations(&weighted, &format!("{place}.route"), findings);
    if let Some(policy) = &rule.retries {
        retries(policy, &format!("{place}.retries"), findings);
    }
    refused_values(rule, place, findings);
}

/// What the rule does with a request, and what excludes what.
fn action(rule: &HttpRoute, place: &str, findings: &mut Findings) {
    let has = [
        ("route", !rule.route.is_empty()),
        ("redirect", rule.redirect.is_some()),
        ("directResponse", rule.direct_response.is_some()),
        ("delegate", rule.delegate.is_some()),
        ("rewrite", rule.rewrite.is_some()),
        ("fault", rule.fault.is_some()),
        ("mirror", rule.mirror.is_some()),
        ("mirrors", !rule.mirrors.is_empty()),
    ];
    let has = |name: &str| has.iter().any(|(other, given)| *other == name && *given);
    if !["route", "redirect", "directResponse", "delegate"].into_iter().any(has) {
        let message = "the rule does nothing; give it `route`, `redirect` or `directResponse`";
        findings.error(place, message);
    }
    let exclusive = [
        ("route", "redirect"),
        ("route", "directResponse"),
        ("route", "delegate"),
        ("redirect", "directResponse"),
        ("redirect", "delegate"),
        ("directResponse", "delegate"),
        ("redirect", "rewrite"),
        ("directResponse", "rewrite"),
        ("redirect", "fault"),
        ("directResponse", "fault"),
        ("mirror", "mirrors"),
    ];
    for (one, other) in exclusive {
        if has(one) && has(other) {
            let message = format!("`{one}` and `{other}` exclude each other; keep one of them");
            findings.error(child(place, other), message);
        }
    }
}

fn matching(condition: &HttpMatch, place: &str, findings: &mut Findings) {
    let single = [
        ("uri", &condition.uri),
        ("scheme", &condition.scheme),
        ("method", &condition.method),
        ("authority", &condition.authority),
    ];
    for (name, text) in single {
        if let Some(text) = text {
            string_match(text, &child(place, name), findings);
        }
    }
    let (with, without) = (&condition.headers, &condition.without_headers);
    for (name, matches, no_claims) in [
        ("headers", with, "no token is read, so nothing matches"),
        ("withoutHeaders", without, "no token is read, so the condition always holds"),
    ] {
        headers(matches, (&child(place, name), no_claims), findings);
    }
    for (name, text) in &condition.query_params {
        string_match(text, &child(&format!("{place}.queryParams"), name), findings);
    }
    for (key, value) in &condition.source_labels {
        if let Some(message) = names::label(key, value) {
            findings.error(format!("{place}.sourceLabels"), message);
        }
    }
    for (index, gateway) in condition.gateways.iter().enumerate() {
        if let Some(message) = names::gateway(gateway) {
            findings.error(item(&format!("{place}.gateways"), index), message);
        }
    }
    if let Some(namespace) = &condition.source_namespace
        && !namespace.is_empty()
        && !names::is_label(namespace)
    {
        let message = format!("`{namespace}` is not the name of a namespace");
        findings.error(format!("{place}.sourceNamespace"), message);
    }
}

/// Checks conditions on headers; `no_claims` is what happens to those on claims of a token.
fn headers(
    matches: &BTreeMap<String, StringMatch>,
    (place, no_claims): (&str, &str),
    findings: &mut Findings,
) {
    for (name, text) in matches {
        let field = child(place, name);
        string_match(text, &field, findings);
        if name.starts_with(CLAIMS) {
            match *text == StringMatch::default() {
                true => findings.error(field, "say which value the claim must have"),
                false => findings.not_honoured(&field, no_claims),
            }
        } else if let Some(message) = names::header(name) {
            findings.error(field, message);
        }
    }
}

fn string_match(text: &StringMatch, place: &str, findings: &mut Findings) {
    let given = [
        ("exact", text.exact.is_some()),
        ("prefix", text.prefix.is_some()),
        ("regex", text.regex.is_some()),
    ];
    let given: Vec<_> = given.into_iter().filter(|(_, given)| *given).map(|(n, _)| n).collect();
    if given.len() > 1 {
        let message = format!("`{}` exclude each other; keep one of them", given.join("`, `"));
        findings.error(place, message);
    }
}

fn retries(policy: &Retries, place: &str, findings: &mut Findings) {
    if policy.attempts < 0 {
        findings.error(format!("{place}.attempts"), "there cannot be less than 0 attempts");
    }
    let others = Retries { attempts: 0, ..policy.clone() } != Retries::default();
    if policy.attempts == 0 && others {
        let message = "attempts is 0, which turns retries off; remove the other fields";
        findings.error(place, message);
    }
    let conditions = policy.retry_on.as_deref().unwrap_or_default().split(',').map(str::trim);
    for condition in conditions.filter(|condition| !condition.is_empty()) {
        if findings.is_full(Severity::Error) {
            return;
        }
        let status = condition.parse().is_ok_and(known_status);
        if !status && !RETRY_ON.contains(&condition) {
            let guess = nearest(condition, RETRY_ON.iter().copied())
                .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
            let shown = clipped(condition, 40);
            let message = format!("`{shown}` is not a condition for retries{guess}");
            findings.error(format!("{place}.retryOn"), message);
        }
    }
}

/// Whether HTTP has a name for the status.
fn known_status(status: u16) -> bool {
    matches!(
        status,
        100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429
            | 431 | 451 | 500..=508 | 510 | 511
    )
}

/// Values that no proxy could load, in fields that are not honoured yet as well.
fn refused_values(rule: &HttpRoute, place: &str, findings: &mut Findings) {
    let number = |value: &Option<Value>, name: &str| value.as_ref()?.get(name)?.as_i64();
    if let Some(code) = number(&rule.redirect, "redirectCode")
        && !matches!(code, 301 | 302 | 303 | 307 | 308)
    {
        let message = format!("{code} is not one of 301, 302, 303, 307, 308");
        findings.error(format!("{place}.redirect.redirectCode"), message);
    }
    if let Some(direct) = &rule.direct_response {
        let status = direct.get("status").and_then(Value::as_i64).unwrap_or(0);
        if !(200..600).contains(&status) {
            let message = format!("{status} is not between 200 and 599");
            findings.error(format!("{place}.directResponse.status"), message);
        }
    }
    if let Some(rewrite) = &rule.rewrite
        && rewrite.get("uri").is_some()
        && rewrite.get("uriRegexRewrite").is_some()
    {
        let message = "`uri` and `uriRegexRewrite` exclude each other; keep one of them";
        findings.error(format!("{place}.rewrite"), message);
    }
    if let Some(fault) = &rule.fault
        && fault.get("abort").is_none()
        && fault.get("delay").is_none()
    {
        findings.error(format!("{place}.fault"), "neither `abort` nor `delay` is given");
    }
    let percent =
        rule.mirror_percentage.as_ref().and_then(|percent| percent.get("value")?.as_f64());
    if percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        findings.error(format!("{place}.mirrorPercentage.value"), "not between 0 and 100");
    }
    let age = rule.cors_policy.as_ref().and_then(|cors| cors.get("maxAge")?.as_str());
    if age.and_then(|age| span::parse(age).ok()).is_some_and(|age| age.subsec_nanos() != 0) {
        findings.error(format!("{place}.corsPolicy.maxAge"), "only whole seconds are possible");
    }
    header_changes(rule, place, findings);
}

fn header_changes(rule: &HttpRoute, place: &str, findings: &mut Findings) {
    let all = std::iter::once((format!("{place}.headers"), &rule.headers)).chain(
        rule.route.iter().enumerate().map(|(index, route)| {
            (format!("{}.headers", item(&format!("{place}.route"), index)), &route.headers)
        }),
    );
    for (place, headers) in all {
        for side in ["request", "response"] {
            let values = ["set", "add"].into_iter().flat_map(|way| {
                let changes = headers.as_ref()?.get(side)?.get(way)?.as_object()?;
                Some(changes.iter().map(move |(name, value)| (way, name, value)))
            });
            for (way, name, value) in values.flatten() {
                if !escaped(value.as_str().unwrap_or_default()) {
                    let field = child(&format!("{place}.{side}.{way}"), name);
                    let message = "a `%` is neither doubled nor part of `%NAME%`";
                    findings.error(field, message);
                }
            }
            let removed = headers.as_ref().and_then(|headers| headers.get(side)?.get("remove"));
            for (index, name) in removed.and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                let name = name.as_str().unwrap_or_default();
                if name.eq_ignore_ascii_case("host") || name.starts_with(':') {
                    let field = item(&format!("{place}.{side}.remove"), index);
                    findings.error(field, format!("`{name}` cannot be removed"));
                }
            }
        }
    }
}

/// Whether every `%` of a header's value is doubled or encloses the name of a variable.
fn escaped(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        let (name, after) = match after.split_once('%') {
            Some(parts) => parts,
            None => return false,
        };
        let first = name.chars().next();
        if !name.is_empty() && !first.is_some_and(|first| first.is_ascii_uppercase()) {
            return false;
        }
        rest = after;
    }
    true
}

//! What Istio asks of an HTTP rule of a VirtualService.

use std::collections::BTreeMap;

use super::{
    findings::Findings,
    names,
    near::nearest,
    virtual_service::{destination, destinations},
};
use crate::{
    Severity,
    field::{child, clipped, item},
    span,
    virtual_service::{
        DirectResponse, HeaderOperations, HttpFault, HttpMatch, HttpRoute, LONGEST_BODY, Percent,
        Retries, StringMatch,
    },
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
    if let Some(code) = rule.redirect.as_ref().and_then(|redirect| redirect.redirect_code)
        && !matches!(code, 0 | 301 | 302 | 303 | 307 | 308)
    {
        let message = format!("{code} is not one of 301, 302, 303, 307, 308");
        findings.error(format!("{place}.redirect.redirectCode"), message);
    }
    if let Some(direct) = &rule.direct_response {
        direct_response(direct, &format!("{place}.directResponse"), findings);
    }
    if let Some(rewrite) = &rule.rewrite
        && rewrite.uri.is_some()
        && rewrite.uri_regex_rewrite.is_some()
    {
        let message = "`uri` and `uriRegexRewrite` exclude each other; keep one of them";
        findings.error(format!("{place}.rewrite"), message);
    }
    if let Some(fault) = &rule.fault {
        self::fault(fault, &format!("{place}.fault"), findings);
    }
    mirrors(rule, place, findings);
    let age = rule.cors_policy.as_ref().and_then(|cors| cors.max_age.as_deref());
    if age.and_then(|age| span::parse(age).ok()).is_some_and(|age| age.subsec_nanos() != 0) {
        findings.error(format!("{place}.corsPolicy.maxAge"), "only whole seconds are possible");
    }
    header_changes(rule, place, findings);
}

/// What is wrong with where copies go, and with how many.
fn mirrors(rule: &HttpRoute, place: &str, findings: &mut Findings) {
    percent(rule.mirror_percentage, &format!("{place}.mirrorPercentage"), findings);
    if rule.mirror_percent.is_some_and(|percent| !(0..=100).contains(&percent)) {
        findings.error(format!("{place}.mirrorPercent"), "not between 0 and 100");
    }
    if let Some(mirror) = &rule.mirror {
        destination(mirror, &format!("{place}.mirror"), findings);
    }
    for (at, mirror) in rule.mirrors.iter().enumerate() {
        let place = item(&format!("{place}.mirrors"), at);
        percent(mirror.percentage, &format!("{place}.percentage"), findings);
        destination(&mirror.destination, &format!("{place}.destination"), findings);
    }
}

fn percent(percentage: Option<Percent>, place: &str, findings: &mut Findings) {
    if percentage.is_some_and(|percent| !(0.0..=100.0).contains(&percent.value)) {
        findings.error(format!("{place}.value"), "not between 0 and 100");
    }
}

fn fault(fault: &HttpFault, place: &str, findings: &mut Findings) {
    if fault.abort.is_none() && fault.delay.is_none() {
        findings.error(place, "neither `abort` nor `delay` is given");
    }
    if let Some(abort) = &fault.abort {
        let place = format!("{place}.abort");
        percent(abort.percentage, &format!("{place}.percentage"), findings);
        if let Some(status) = abort.http_status
            && !(200..600).contains(&status)
        {
            let message = format!("{status} is not between 200 and 599");
            findings.error(format!("{place}.httpStatus"), message);
        }
        let ways = [
            ("httpStatus", abort.http_status.is_some()),
            ("grpcStatus", abort.grpc_status.is_some()),
            ("http2Error", abort.http2_error.is_some()),
        ];
        let given: Vec<_> = ways.iter().filter(|(_, given)| *given).map(|(n, _)| *n).collect();
        match given.len() {
            0 => findings.error(place, "give it `httpStatus` or `grpcStatus`"),
            1 => {}
            _ => {
                let names = given.join("`, `");
                findings.error(place, format!("`{names}` exclude each other; keep one of them"));
            }
        }
    }
    if let Some(delay) = &fault.delay {
        let place = format!("{place}.delay");
        percent(delay.percentage, &format!("{place}.percentage"), findings);
        if delay.percent.is_some_and(|percent| !(0..=100).contains(&percent)) {
            findings.error(format!("{place}.percent"), "not between 0 and 100");
        }
    }
}

fn direct_response(direct: &DirectResponse, place: &str, findings: &mut Findings) {
    if !(200..600).contains(&direct.status) {
        let message = format!("{} is not between 200 and 599", direct.status);
        findings.error(format!("{place}.status"), message);
    }
    let Some(body) = &direct.body else { return };
    if body.string.is_some() && body.bytes.is_some() {
        let message = "`string` and `bytes` exclude each other; keep one of them";
        findings.error(format!("{place}.body"), message);
    }
    let length = body.string.as_ref().map_or(0, String::len);
    let coded = body.bytes.as_ref().map_or(0, |bytes| bytes.len() / 4 * 3);
    if length.max(coded) > LONGEST_BODY {
        let message = "is longer than 1 MiB, which proxies do not keep";
        findings.error(format!("{place}.body"), message);
    }
}

fn header_changes(rule: &HttpRoute, place: &str, findings: &mut Findings) {
    let all = std::iter::once((format!("{place}.headers"), &rule.headers)).chain(
        rule.route.iter().enumerate().map(|(index, route)| {
            (format!("{}.headers", item(&format!("{place}.route"), index)), &route.headers)
        }),
    );
    for (place, headers) in all {
        let Some(headers) = headers else { continue };
        operations(&headers.request, &format!("{place}.request"), findings);
        operations(&headers.response, &format!("{place}.response"), findings);
    }
}

fn operations(operations: &HeaderOperations, place: &str, findings: &mut Findings) {
    for (way, changes) in [("set", &operations.set), ("add", &operations.add)] {
        for (name, _) in changes.iter().filter(|(_, value)| !escaped(value)) {
            let message = "a `%` is neither doubled nor part of `%NAME%`";
            findings.error(child(&format!("{place}.{way}"), name), message);
        }
    }
    for (index, name) in operations.remove.iter().enumerate() {
        if name.eq_ignore_ascii_case("host") || name.starts_with(':') {
            let field = item(&format!("{place}.remove"), index);
            findings.error(field, format!("`{name}` cannot be removed"));
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

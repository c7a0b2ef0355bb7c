//! What a rule changes of requests and answers, and where it sends clients instead.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use weft_api::{
    span,
    virtual_service::{
        DirectResponse, HeaderOperations, Headers, HttpRedirect, HttpRewrite, HttpRoute,
        LONGEST_BODY, RegexRewrite,
    },
};
use weft_config::{
    Action, Changes, Cors, FieldChanges, PathChange, Redirect, TextMatch,
    change::{self, NotAChange},
};

use crate::routes::rules::{InvalidRule, conditions, patterns};

/// Base64 of either alphabet, padded or not, as in the JSON of protocol buffers.
const BASE64: [GeneralPurpose; 2] = [engine(&alphabet::STANDARD), engine(&alphabet::URL_SAFE)];

const fn engine(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    let padding = DecodePaddingMode::Indifferent;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(padding);
    GeneralPurpose::new(alphabet, config)
}

/// The details of a rule with a change that cannot be made.
const INVALID: &str = "invalid_change";

/// What `written` changes besides what its destinations do; none where that is nothing.
pub(crate) fn of_rule(written: &HttpRoute) -> Result<Option<Box<Changes>>, InvalidRule> {
    let mut changes = of_headers(written.headers.as_ref(), "headers")?;
    if let Some(HttpRewrite { uri, authority, uri_regex_rewrite }) = &written.rewrite {
        let field = "rewrite.uriRegexRewrite";
        let path = rewritten(uri_regex_rewrite.as_ref(), field)?;
        let uri = target(uri, "rewrite.uri")?.map(PathChange::Matched);
        changes.path = path.or(uri);
        if let Some(host) = given(authority) {
            self::authority(&host, "rewrite.authority")?;
            changes.authority = Some(host);
        }
    }
    Ok(boxed(changes))
}

/// What destination number `at` changes, with these `headers`.
pub(crate) fn of_destination(
    headers: Option<&Headers>,
    at: usize,
) -> Result<Option<Box<Changes>>, InvalidRule> {
    if headers.is_none() {
        return Ok(None);
    }
    of_headers(headers, &format!("route[{at}].headers")).map(boxed)
}

fn boxed(changes: Changes) -> Option<Box<Changes>> {
    (!changes.is_empty()).then(|| Box::new(changes))
}

/// A text that says something.
fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

/// The same, where it stands in place of a path or of a part of it.
fn target(text: &Option<String>, field: &str) -> Result<Option<String>, InvalidRule> {
    let text = given(text);
    if let Some(text) = &text {
        change::check_target(text).map_err(|error| invalid(field, &error))?;
    }
    Ok(text)
}

fn of_headers(headers: Option<&Headers>, field: &str) -> Result<Changes, InvalidRule> {
    let Some(Headers { request, response }) = headers else { return Ok(Changes::default()) };
    // To set the host is to rewrite it.
    let hosts = request.add.iter().chain(&request.set).filter(|(name, _)| is_host(name));
    let mut host = None;
    for (name, value) in hosts {
        authority(value, &format!("{field}.request.set.{name}"))?;
        host = Some(value.clone());
    }
    Ok(Changes {
        path: None,
        authority: host,
        request: operations(request, &format!("{field}.request"), is_host)?,
        response: operations(response, &format!("{field}.response"), |_| false)?,
    })
}

/// Whether a request's field of this name is its host.
fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

fn operations(
    written: &HeaderOperations,
    field: &str,
    is_elsewhere: fn(&str) -> bool,
) -> Result<FieldChanges, InvalidRule> {
    if written.set.len() + written.add.len() + written.remove.len() > change::MOST_FIELDS {
        let message =
            format!("changes more than {} fields; the rule answers 500", change::MOST_FIELDS);
        return Err(InvalidRule::new(field, INVALID, message));
    }
    let is_left = |name: &str| is_elsewhere(name) || is_left_alone(name);
    let put = |way: &str, fields: &std::collections::BTreeMap<String, String>| {
        let fields = fields.iter().filter(|(name, _)| !is_left(name)).map(|(name, value)| {
            let wrong = |error| invalid(&format!("{field}.{way}.{name}"), &error);
            change::field_name(name).map_err(wrong)?;
            change::value_parts(value).map_err(wrong)?;
            Ok((name.to_ascii_lowercase(), value.clone()))
        });
        fields.collect::<Result<Vec<_>, InvalidRule>>()
    };
    let removed = written.remove.iter().enumerate().filter(|(_, name)| !is_left(name));
    let removed = removed.map(|(at, name)| {
        let wrong = |error| invalid(&format!("{field}.remove[{at}]"), &error);
        change::field_name(name).map_err(wrong)?;
        Ok(name.to_ascii_lowercase())
    });
    Ok(FieldChanges {
        add: put("add", &written.add)?,
        set: put("set", &written.set)?,
        remove: removed.collect::<Result<_, _>>()?,
    })
}

/// Whether no rule changes the field: it is a pseudo-field, or fixed.
fn is_left_alone(name: &str) -> bool {
    name.starts_with(':') || matches!(change::field_name(name), Err(NotAChange::Fixed(_)))
}

/// The fields in `headers` that stay as they are.
pub(crate) fn left_alone(headers: &Headers) -> Vec<String> {
    let sides = [("request", &headers.request), ("response", &headers.response)];
    let all = sides.into_iter().flat_map(|(side, operations)| {
        let set = operations.set.keys().map(move |name| ("set", name));
        let add = operations.add.keys().map(move |name| ("add", name));
        let put = set.chain(add).map(move |(way, name)| (name, format!("{side}.{way}.{name}")));
        let removed = operations.remove.iter().enumerate();
        put.chain(removed.map(move |(at, name)| (name, format!("{side}.remove[{at}]"))))
            .filter(move |(name, _)| !(side == "request" && is_host(name)))
    });
    all.filter(|(name, _)| is_left_alone(name)).map(|(_, field)| field).collect()
}

/// The redirect that `written` means for clients that dialled `port`.
pub(crate) fn redirect(written: &HttpRedirect, port: u16) -> Result<Action, InvalidRule> {
    let status = match written.redirect_code {
        None | Some(0) => 301,
        Some(code @ (301..=303 | 307 | 308)) => code as u16,
        Some(code) => {
            let message = format!("{code} is no status of a redirect; the rule answers 500");
            return Err(InvalidRule::new("redirect.redirectCode", INVALID, message));
        }
    };
    let host = given(&written.authority);
    if let Some(host) = &host {
        authority(host, "redirect.authority")?;
    }
    let scheme = given(&written.scheme);
    let is_scheme = |scheme: &String| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !scheme.as_ref().is_none_or(is_scheme) {
        let message = "is no scheme such as https; the rule answers 500";
        return Err(InvalidRule::new("redirect.scheme", INVALID, message));
    }
    let derived = written.derive_port.as_deref() == Some("FROM_REQUEST_PORT");
    let port = match written.port.filter(|port| *port != 0) {
        Some(port) => Some(u16::try_from(port).map_err(|_| {
            let message = format!("{port} is not between 1 and 65535; the rule answers 500");
            InvalidRule::new("redirect.port", INVALID, message)
        })?),
        None => derived.then_some(port),
    };
    let path = rewritten(written.uri_regex_rewrite.as_ref(), "redirect.uriRegexRewrite")?;
    let prefix = target(&written.prefix_rewrite, "redirect.prefixRewrite")?;
    let whole = target(&written.uri, "redirect.uri")?;
    let path = path.or(prefix.map(PathChange::Matched)).or(whole.map(PathChange::Whole));
    Ok(Action::Redirect(Box::new(Redirect { status, scheme, authority: host, port, path })))
}

/// The answer that `written` means.
pub(crate) fn respond(written: &DirectResponse) -> Result<Action, InvalidRule> {
    let Some(status) = u16::try_from(written.status).ok().filter(|one| (200..600).contains(one))
    else {
        let message = "is not between 200 and 599; the rule answers 500";
        return Err(InvalidRule::new("directResponse.status", INVALID, message));
    };
    let body = match &written.body {
        None => String::new(),
        Some(body) => match (&body.string, &body.bytes) {
            (Some(text), _) => text.clone(),
            (None, Some(bytes)) => text(bytes)?,
            (None, None) => String::new(),
        },
    };
    if body.len() > LONGEST_BODY {
        let message = "is longer than 1 MiB; the rule answers 500";
        return Err(InvalidRule::new("directResponse.body", INVALID, message));
    }
    Ok(Action::Respond { status, body, details: "direct_response".to_owned() })
}

fn text(bytes: &str) -> Result<String, InvalidRule> {
    let wrong = |what: &str| {
        let message = format!("{what}; the rule answers 500");
        InvalidRule::new("directResponse.body.bytes", INVALID, message)
    };
    let bytes = BASE64.iter().find_map(|engine| engine.decode(bytes).ok());
    let bytes = bytes.ok_or_else(|| wrong("is not base64"))?;
    String::from_utf8(bytes)
        .map_err(|_| wrong("holds bytes that are no text, which is not honoured yet"))
}

fn rewritten(
    written: Option<&RegexRewrite>,
    field: &str,
) -> Result<Option<PathChange>, InvalidRule> {
    let Some(RegexRewrite { pattern, rewrite }) = written else { return Ok(None) };
    let groups = patterns::groups(pattern)
        .map_err(|error| invalid(&format!("{field}.match"), &error.into()))?;
    change::substitution_parts(rewrite, groups)
        .map_err(|error| invalid(&format!("{field}.rewrite"), &error))?;
    Ok(Some(PathChange::Pattern { pattern: pattern.clone(), with: rewrite.clone() }))
}

fn authority(text: &str, field: &str) -> Result<(), InvalidRule> {
    change::authority(text).map(|_| ()).map_err(|error| invalid(field, &error))
}

fn invalid(field: &str, error: &NotAChange) -> InvalidRule {
    InvalidRule::new(field, INVALID, format!("{error}; the rule answers 500"))
}

/// What `written` tells browsers; none where it tells them nothing.
pub(crate) fn cors(written: &HttpRoute) -> Result<Option<Box<Cors>>, InvalidRule> {
    let Some(policy) = &written.cors_policy else { return Ok(None) };
    let mut origins = Vec::new();
    for origin in &policy.allow_origin {
        origins.push(TextMatch::Exact(origin.clone()));
    }
    for (at, origin) in policy.allow_origins.iter().enumerate() {
        let mut broken = Vec::new();
        let field = format!("corsPolicy.allowOrigins[{at}]");
        origins.extend(conditions::compared(&field, origin, &mut broken));
        if let Some(broken) = broken.pop() {
            return Err(broken);
        }
    }
    let lists = [
        ("allowMethods", &policy.allow_methods),
        ("allowHeaders", &policy.allow_headers),
        ("exposeHeaders", &policy.expose_headers),
    ];
    for (name, list) in lists {
        for (at, one) in list.iter().enumerate().filter(|(_, one)| *one != "*") {
            change::field_name(one)
                .map_err(|error| invalid(&format!("corsPolicy.{name}[{at}]"), &error))?;
        }
    }
    let max_age = policy.max_age.as_deref().map(|text| {
        span::parse(text).map(|age| age.as_secs()).map_err(|_| {
            let message = format!("`{text}` is not a duration such as 24h; the rule answers 500");
            InvalidRule::new("corsPolicy.maxAge", INVALID, message)
        })
    });
    Ok(Some(Box::new(Cors {
        origins,
        methods: policy.allow_methods.clone(),
        fields: policy.allow_headers.clone(),
        exposed: policy.expose_headers.clone(),
        max_age: max_age.transpose()?,
        credentials: policy.allow_credentials,
        answers_others: policy.unmatched_preflights.as_deref() == Some("IGNORE"),
    })))
}

/// What is wrong with the patterns of `written` besides those of its conditions.
pub(crate) fn unreadable_patterns(written: &HttpRoute) -> Vec<InvalidRule> {
    if patterns(written).next().is_none() {
        return Vec::new();
    }
    let of_redirect = written.redirect.as_ref().and_then(|one| redirect(one, 80).err());
    let all = [of_rule(written).err(), of_redirect, cors(written).err()];
    let is_pattern =
        |one: &InvalidRule| one.field.ends_with(".match") || one.field.ends_with(".regex");
    all.into_iter().flatten().filter(is_pattern).collect()
}

/// The patterns of `written` besides those of its conditions.
pub(crate) fn patterns(written: &HttpRoute) -> impl Iterator<Item = &str> {
    let of_rewrite = written.rewrite.as_ref().and_then(|one| one.uri_regex_rewrite.as_ref());
    let of_redirect = written.redirect.as_ref().and_then(|one| one.uri_regex_rewrite.as_ref());
    let of_paths = of_rewrite.into_iter().chain(of_redirect).map(|one| one.pattern.as_str());
    let origins = written.cors_policy.iter().flat_map(|policy| &policy.allow_origins);
    of_paths.chain(origins.filter_map(|origin| origin.regex.as_deref()))
}

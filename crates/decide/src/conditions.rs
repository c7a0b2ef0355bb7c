//! Compiled conditions of a rule.
//!
//! A condition both decides and says why it does not hold, so the two cannot
//! disagree.

use http::HeaderName;
use regex::bytes::Regex;
use weft_config::{
    Conditions, Settings, SourceMatch, TextMatch,
    text_match::{self, NotAPattern},
};

use crate::arrive::Request;

/// What conditions are about: a request, and the proxy's own settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) settings: &'a Settings,
}

/// One compiled condition.
#[derive(Debug)]
pub(crate) enum Check {
    /// About the request.
    Request(Comparison),
    /// About the workload that the proxy works for.
    Source(SourceMatch),
}

/// A comparison with something that a request has.
#[derive(Debug)]
pub(crate) struct Comparison {
    subject: Subject,
    text: Text,
    wanted: Wanted,
}

/// What a condition looks at.
#[derive(Debug)]
enum Subject {
    Path,
    Target,
    Method,
    Scheme,
    Authority,
    Header(HeaderName),
    Parameter(Box<str>),
    /// A header whose name no header can have.
    Nothing,
}

/// Whether a match is what is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Match,
    NoMatch,
}

/// A compiled comparison.
#[derive(Debug)]
pub(crate) enum Text {
    Exact(Box<str>),
    ExactAnyCase(Box<str>),
    Prefix(Box<str>),
    PrefixAnyCase(Box<str>),
    Regex(Box<str>, Regex),
    Present,
}

/// Compiles `conditions`; the cheapest come first.
pub(crate) fn compile(conditions: &Conditions) -> Result<Vec<Check>, NotAPattern> {
    let mut checks = Vec::new();
    if !conditions.source.is_any() {
        checks.push(Check::Source(conditions.source.clone()));
    }
    let plain = [
        (Subject::Method, &conditions.method),
        (Subject::Scheme, &conditions.scheme),
        (Subject::Authority, &conditions.authority),
    ];
    if let Some(text) = &conditions.path {
        let text = match conditions.ignore_path_case {
            true => Text::any_case(text)?,
            false => Text::compile(text)?,
        };
        checks.push(Check::comparison(Subject::Path, text, Wanted::Match));
    }
    for (subject, text) in plain {
        if let Some(text) = text {
            checks.push(Check::comparison(subject, Text::compile(text)?, Wanted::Match));
        }
    }
    for (name, text) in &conditions.headers {
        checks.push(Check::header(name, text, Wanted::Match)?);
    }
    for (name, text) in &conditions.without_headers {
        checks.push(Check::header(name, text, Wanted::NoMatch)?);
    }
    for (name, text) in &conditions.query {
        let subject = Subject::Parameter(name.as_str().into());
        checks.push(Check::comparison(subject, Text::compile(text)?, Wanted::Match));
    }
    Ok(checks)
}

impl Check {
    fn comparison(subject: Subject, text: Text, wanted: Wanted) -> Self {
        Self::Request(Comparison { subject, text, wanted })
    }

    fn header(name: &str, text: &TextMatch, wanted: Wanted) -> Result<Self, NotAPattern> {
        let subject = match name {
            ":method" => Subject::Method,
            ":path" => Subject::Target,
            ":scheme" => Subject::Scheme,
            ":authority" | "host" => Subject::Authority,
            name => HeaderName::try_from(name).map_or(Subject::Nothing, Subject::Header),
        };
        Ok(Self::comparison(subject, Text::compile(text)?, wanted))
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Request(comparison) => comparison.holds(&facts.request),
            Self::Source(source) => is_source(source, facts.settings),
        }
    }

    /// The condition and what the request or the proxy has, in words.
    pub(crate) fn explain(&self, facts: &Facts<'_>) -> String {
        match self {
            Self::Request(comparison) => comparison.explain(&facts.request),
            Self::Source(source) => explain_source(source, facts.settings),
        }
    }
}

impl Comparison {
    fn holds(&self, request: &Request<'_>) -> bool {
        let matches = match &self.subject {
            Subject::Path => self.text.matches(request.path().as_bytes()),
            Subject::Target => self.text.matches(request.path_and_query.as_bytes()),
            Subject::Method => self.text.matches(request.method.as_str().as_bytes()),
            Subject::Scheme => self.text.matches(request.scheme()),
            Subject::Authority => self.text.matches(request.authority.as_bytes()),
            Subject::Header(name) => request
                .headers
                .get_all(name)
                .iter()
                .any(|value| self.text.matches(value.as_bytes())),
            Subject::Nothing => false,
            Subject::Parameter(name) => {
                request.parameter(name).is_some_and(|value| self.text.matches(value.as_bytes()))
            }
        };
        matches == (self.wanted == Wanted::Match)
    }

    fn explain(&self, request: &Request<'_>) -> String {
        let text = |bytes: &[u8]| format!("`{}`", String::from_utf8_lossy(bytes));
        let (what, has) = match &self.subject {
            Subject::Path => ("path".to_owned(), text(request.path().as_bytes())),
            Subject::Target => (":path".to_owned(), text(request.path_and_query.as_bytes())),
            Subject::Method => ("method".to_owned(), text(request.method.as_str().as_bytes())),
            Subject::Scheme => ("scheme".to_owned(), text(request.scheme())),
            Subject::Authority => ("authority".to_owned(), text(request.authority.as_bytes())),
            Subject::Header(name) => {
                let values: Vec<_> = request
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| text(value.as_bytes()))
                    .collect();
                (format!("header {name}"), values.join(", "))
            }
            Subject::Nothing => ("a header that cannot be".to_owned(), String::new()),
            Subject::Parameter(name) => (
                format!("query parameter {name}"),
                request.parameter(name).map_or(String::new(), |value| text(value.as_bytes())),
            ),
        };
        if has.is_empty() {
            return match self.wanted {
                Wanted::Match => format!("{what} is absent"),
                Wanted::NoMatch => format!("{what} is absent, as required"),
            };
        }
        let matches = self.holds(request) == (self.wanted == Wanted::Match);
        let relation = self.text.words(if matches { Words::Is } else { Words::IsNot });
        match self.wanted {
            Wanted::Match => format!("{what} {has} {relation}"),
            Wanted::NoMatch => format!("{what} {has} {relation}, which the rule excludes"),
        }
    }
}

/// Whether the workload that the proxy works for is one that `source` means.
pub(crate) fn is_source(source: &SourceMatch, settings: &Settings) -> bool {
    let in_namespace =
        source.namespace.as_ref().is_none_or(|wanted| *wanted == settings.workload.namespace);
    in_namespace && source.labels.iter().all(|label| settings.labels.contains(label))
}

/// What `source` means, and what the workload that the proxy works for has of it, in words.
pub(crate) fn explain_source(source: &SourceMatch, settings: &Settings) -> String {
    let mut parts = Vec::new();
    if let Some(wanted) = &source.namespace {
        let has = &settings.workload.namespace;
        let is = if wanted == has { "is" } else { "is not" };
        parts.push(format!("the client's namespace `{has}` {is} `{wanted}`"));
    }
    for label in &source.labels {
        let has = if settings.labels.contains(label) { "has" } else { "does not have" };
        parts.push(format!("the client {has} the label `{}={}`", label.0, label.1));
    }
    parts.join(", ")
}

impl Text {
    pub(crate) fn compile(text: &TextMatch) -> Result<Self, NotAPattern> {
        Ok(match text {
            TextMatch::Exact(text) => Self::Exact(text.as_str().into()),
            TextMatch::Prefix(text) => Self::Prefix(text.as_str().into()),
            TextMatch::Regex(pattern) => {
                Self::Regex(pattern.as_str().into(), text_match::compile(pattern)?)
            }
            TextMatch::Present => Self::Present,
        })
    }

    fn any_case(text: &TextMatch) -> Result<Self, NotAPattern> {
        Ok(match text {
            TextMatch::Exact(text) => Self::ExactAnyCase(text.as_str().into()),
            TextMatch::Prefix(text) => Self::PrefixAnyCase(text.as_str().into()),
            TextMatch::Regex(_) | TextMatch::Present => Self::compile(text)?,
        })
    }

    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::ExactAnyCase(text) => value.eq_ignore_ascii_case(text.as_bytes()),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::PrefixAnyCase(text) => value
                .get(..text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes())),
            Self::Regex(_, regex) => regex.is_match(value),
            Self::Present => true,
        }
    }

    /// The comparison in words.
    fn words(&self, words: Words) -> String {
        let (is, matches) = match words {
            Words::Is => ("is", "matches"),
            Words::IsNot => ("is not", "does not match"),
        };
        match self {
            Self::Exact(text) => format!("{is} `{text}`"),
            Self::ExactAnyCase(text) => format!("{is} `{text}` in any case"),
            Self::Prefix(text) => format!("{is} prefixed by `{text}`"),
            Self::PrefixAnyCase(text) => format!("{is} prefixed by `{text}` in any case"),
            Self::Regex(pattern, _) => format!("{matches} `{pattern}`"),
            Self::Present => format!("{is} present"),
        }
    }
}

/// Whether a comparison is said to hold.
#[derive(Clone, Copy)]
enum Words {
    Is,
    IsNot,
}

//! What a rule changes of a request and of its answer.
//!
//! A request's fields change first, then its host, then its path, as in Envoy; the changes of a
//! rule's target come before the rule's own.

use std::{borrow::Cow, fmt::Write, net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Version, request::Parts, uri::PathAndQuery};
use regex::bytes::Regex;
use weft_config::{
    Changes, FieldChanges, PathChange, Redirect, TextMatch,
    change::{self, NotAChange, SubstitutionPart, ValuePart, Variable},
};

use crate::{
    arrive::{Arrived, fields},
    cors,
    failure::Failure,
    path,
    reply::Reply,
    route::CompiledRule,
};

/// The path before it was changed.
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// The host before it was changed.
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
/// The longest target that is sent on, in bytes.
const LONGEST_TARGET: usize = 60 << 10;

/// Changes, ready to be made.
#[derive(Debug)]
pub(crate) struct CompiledChanges {
    path: Option<CompiledPath>,
    authority: Option<HeaderValue>,
    request: CompiledFields,
    response: Arc<CompiledFields>,
}

/// A change of a path, ready to be made.
#[derive(Debug)]
enum CompiledPath {
    Matched(Box<str>),
    Whole(Box<str>),
    Pattern(Regex, Box<[SubstitutionPart]>),
}

/// Changes of fields, ready to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct CompiledFields {
    remove: Vec<HeaderName>,
    /// Each with whether it replaces what is there.
    put: Vec<(HeaderName, bool, CompiledValue)>,
}

/// A value of a field.
#[derive(Clone, Debug)]
enum CompiledValue {
    Fixed(HeaderValue),
    Parts(Arc<[ValuePart]>),
}

/// A redirect, ready to be sent.
#[derive(Debug)]
pub(crate) struct CompiledRedirect {
    data: Redirect,
    path: Option<CompiledPath>,
}

impl CompiledChanges {
    pub(crate) fn new(changes: &Changes) -> Result<Self, NotAChange> {
        let authority = changes.authority.as_deref().map(change::authority);
        Ok(Self {
            path: changes.path.as_ref().map(CompiledPath::new).transpose()?,
            authority: authority.transpose()?,
            request: CompiledFields::new(&changes.request)?,
            response: Arc::new(CompiledFields::new(&changes.response)?),
        })
    }
}

impl CompiledPath {
    fn new(change: &PathChange) -> Result<Self, NotAChange> {
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
    fn changed(&self, target: &str, matched: Option<&TextMatch>) -> Option<String> {
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
        let slash = if path.starts_with('/') { "" } else { "/" };
        let new = format!("{slash}{path}{query}");
        (new.len() <= LONGEST_TARGET).then_some(new)
    }
}

/// `text` with `parts` instead of every match; none where that grows too long.
fn replaced(pattern: &Regex, parts: &[SubstitutionPart], text: &str) -> Option<String> {
    let text = text.as_bytes();
    let mut new = Vec::with_capacity(text.len());
    let mut after = 0;
    for found in pattern.captures_iter(text) {
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
        }
        after = whole.end();
        if new.len() > LONGEST_TARGET {
            return None;
        }
    }
    new.extend_from_slice(&text[after..]);
    String::from_utf8(new).ok()
}

impl CompiledFields {
    fn new(changes: &FieldChanges) -> Result<Self, NotAChange> {
        let remove = changes.remove.iter().map(|name| change::field_name(name));
        let added = changes.add.iter().map(|one| (one, false));
        let set = changes.set.iter().map(|one| (one, true));
        let put = added.chain(set).map(|((name, value), replaces)| {
            Ok((change::field_name(name)?, replaces, CompiledValue::new(value)?))
        });
        let put = put.collect::<Result<_, NotAChange>>()?;
        Ok(Self { remove: remove.collect::<Result<_, _>>()?, put })
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.put.is_empty()
    }

    /// Makes the changes; `facts` are what variables stand for.
    fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        if self.remove.iter().any(|name| headers.contains_key(name)) {
            fields::rebuild(headers, |name| !self.remove.contains(name));
        }
        // Values are made before any field changes: they stand for what there was.
        let values = self.put.iter().map(|(name, replaces, value)| {
            value.made(headers, facts).map(|value| (name, *replaces, value))
        });
        for (name, replaces, value) in values.collect::<Vec<_>>().into_iter().flatten() {
            match replaces {
                true => headers.insert(name, value).is_some(),
                false => headers.append(name, value),
            };
        }
    }

    /// The same changes, in which only the answer's status is still a variable.
    fn known(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Self {
        let put = self
            .put
            .iter()
            .map(|(name, replaces, value)| (name.clone(), *replaces, value.known(headers, facts)));
        Self { remove: self.remove.clone(), put: put.collect() }
    }

    fn asks_the_request(&self) -> bool {
        self.put.iter().any(|(_, _, value)| match value {
            CompiledValue::Fixed(_) => false,
            CompiledValue::Parts(parts) => parts
                .iter()
                .any(|part| matches!(part, ValuePart::Variable(one) if *one != Variable::Status)),
        })
    }
}

impl CompiledValue {
    fn new(value: &str) -> Result<Self, NotAChange> {
        let parts = change::value_parts(value)?;
        Ok(match &parts[..] {
            [] => Self::Fixed(HeaderValue::from_static("")),
            [ValuePart::Text(text)] => {
                Self::Fixed(HeaderValue::try_from(text).map_err(|_| NotAChange::Value)?)
            }
            _ => Self::Parts(parts.into()),
        })
    }

    /// The value; none where nothing is in it: such a change is not made, as in Envoy.
    fn made(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Option<HeaderValue> {
        let parts = match self {
            Self::Fixed(value) => return Some(value.clone()).filter(|value| !value.is_empty()),
            Self::Parts(parts) => parts,
        };
        let mut made = Vec::new();
        for part in &**parts {
            match part {
                ValuePart::Text(text) => made.extend_from_slice(text.as_bytes()),
                ValuePart::Variable(one) => made.extend_from_slice(&facts.of(one, headers)),
            }
        }
        HeaderValue::from_bytes(&made).ok().filter(|_| !made.is_empty())
    }

    fn known(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Self {
        let Self::Parts(parts) = self else { return self.clone() };
        let parts = parts.iter().map(|part| match part {
            ValuePart::Variable(one) if *one != Variable::Status => {
                ValuePart::Text(String::from_utf8_lossy(&facts.of(one, headers)).into_owned())
            }
            other => other.clone(),
        });
        Self::Parts(parts.collect())
    }
}

/// What variables stand for.
#[derive(Clone, Copy, Debug, Default)]
struct Facts<'a> {
    request: Option<&'a Arrived>,
    status: Option<u16>,
}

impl Facts<'_> {
    /// What `variable` stands for; `headers` are the request's.
    fn of<'h>(&self, variable: &Variable, headers: &'h HeaderMap) -> Cow<'h, [u8]> {
        let text = |text: String| Cow::Owned(text.into_bytes());
        let nothing = Cow::Borrowed(&b""[..]);
        if *variable == Variable::Status {
            return self.status.map_or(nothing, |status| text(status.to_string()));
        }
        let Some(arrived) = self.request else { return nothing };
        let arrival = arrived.arrival();
        let client = |one: fn(&SocketAddr) -> String| {
            text(arrival.client.as_ref().map_or_else(|| "-".to_owned(), one))
        };
        match variable {
            Variable::Status => nothing,
            Variable::Request(name) => {
                let request = arrived.request();
                match name.as_str() {
                    ":method" => text(request.method.to_string()),
                    ":path" => text(request.path_and_query.to_owned()),
                    ":authority" | "host" => text(request.authority.to_owned()),
                    ":scheme" => Cow::Owned(request.scheme().to_vec()),
                    name => headers.get(name).map_or(nothing, |v| Cow::Borrowed(v.as_bytes())),
                }
            }
            Variable::Protocol => Cow::Borrowed(match arrived.head().version {
                Version::HTTP_2 => b"HTTP/2",
                Version::HTTP_10 | Version::HTTP_09 => b"HTTP/1.0",
                _ => b"HTTP/1.1",
            }),
            Variable::Client => client(SocketAddr::to_string),
            Variable::ClientAddress => client(|client| client.ip().to_string()),
            Variable::Dialled => text(arrival.destination.to_string()),
            Variable::DialledAddress => text(arrival.destination.ip().to_string()),
            Variable::DialledPort => text(arrival.destination.port().to_string()),
        }
    }
}

/// What a rule and its target change of an answer.
#[derive(Clone, Debug)]
pub struct AnswerChanges {
    /// The target's before the rule's.
    fields: [Arc<CompiledFields>; 2],
    /// What browsers are told, after all others.
    cors: Vec<(HeaderName, HeaderValue)>,
}

impl AnswerChanges {
    /// Changes the head of an answer with `status`.
    pub fn apply(&self, headers: &mut HeaderMap, status: u16) {
        let facts = Facts { request: None, status: Some(status) };
        self.fields.iter().for_each(|fields| fields.apply(headers, &facts));
        cors::put(&self.cors, headers);
    }
}

impl PartialEq for AnswerChanges {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.fields.iter().zip(&other.fields);
        self.cors == other.cors && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for AnswerChanges {}

/// The changes of `rule` and of its target number `target`, the target's first.
fn of_both(rule: &CompiledRule, target: Option<usize>) -> [Option<&CompiledChanges>; 2] {
    let of_target = target.and_then(|at| rule.target_changes.get(at)?.as_ref());
    [of_target, rule.changes.as_ref()]
}

/// What `rule` and its target change of the answer to `arrived`; none where that is nothing.
pub(crate) fn of_answer(
    rule: &CompiledRule,
    target: Option<usize>,
    arrived: &Arrived,
) -> Option<AnswerChanges> {
    let both = of_both(rule, target);
    let request = arrived.request();
    let cors = rule.cors.as_ref().map_or_else(Vec::new, |cors| cors.of_answer(&request));
    let is_changed = both.iter().flatten().any(|changes| !changes.response.is_empty());
    if cors.is_empty() && !is_changed {
        return None;
    }
    let facts = Facts { request: Some(arrived), status: None };
    let fields = both.map(|changes| match changes.map(|changes| &changes.response) {
        None => Arc::default(),
        Some(fields) if fields.asks_the_request() => {
            Arc::new(fields.known(&arrived.head().headers, &facts))
        }
        Some(fields) => Arc::clone(fields),
    });
    Some(AnswerChanges { fields, cors })
}

/// The head and the host of the request that is sent on in place of `arrived`.
pub(crate) fn of_request(
    rule: &CompiledRule,
    target: Option<usize>,
    arrived: Arrived,
) -> Result<(Parts, Option<HeaderValue>), Reply> {
    let both = of_both(rule, target);
    let mut headers = None;
    for changes in both.into_iter().flatten().filter(|changes| !changes.request.is_empty()) {
        let facts = Facts { request: Some(&arrived), status: None };
        let headers = headers.get_or_insert_with(|| arrived.head().headers.clone());
        changes.request.apply(headers, &facts);
    }
    let mut authority = arrived.authority().cloned();
    let mut head = arrived.into_head();
    if let Some(headers) = headers {
        head.headers = headers;
    }
    let hosts = both.into_iter().rev().flatten();
    let host = hosts.filter_map(|changes| changes.authority.as_ref()).next();
    if let Some(host) = host.filter(|host| Some(*host) != authority.as_ref()) {
        if let Some(old) = authority.replace(host.clone()) {
            head.headers.insert(ORIGINAL_HOST, old);
        }
        if head.headers.contains_key(http::header::HOST) {
            head.headers.insert(http::header::HOST, host.clone());
        }
    }
    if let Some(path) = both[1].and_then(|changes| changes.path.as_ref()) {
        change_path(&mut head, path, rule.data.conditions.path.as_ref())?;
    }
    Ok((head, authority))
}

fn change_path(
    head: &mut Parts,
    path: &CompiledPath,
    matched: Option<&TextMatch>,
) -> Result<(), Reply> {
    let old = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let bad = || Failure::BadRewrite.reply();
    let new = path.changed(old, matched).ok_or_else(bad)?;
    // `/a../b` with another path in place of `/a`: the server would look outside of it.
    if path::climbs(&new) {
        return Err(Failure::BadPath.reply());
    }
    let original = HeaderValue::try_from(old).map_err(|_| bad())?;
    let target = PathAndQuery::try_from(new).map_err(|_| bad())?;
    head.headers.insert(ORIGINAL_PATH, original);
    head.uri = http::Uri::from(target);
    Ok(())
}

impl CompiledRedirect {
    pub(crate) fn new(redirect: &Redirect) -> Result<Self, NotAChange> {
        let path = redirect.path.as_ref().map(CompiledPath::new).transpose()?;
        Ok(Self { data: redirect.clone(), path })
    }

    /// Where the client of `arrived` is sent, as Envoy puts it together.
    pub(crate) fn reply(&self, arrived: &Arrived, matched: Option<&TextMatch>) -> Reply {
        let request = arrived.request();
        let was_https = request.scheme().eq_ignore_ascii_case(b"https");
        let scheme = match &self.data.scheme {
            Some(scheme) => scheme.as_str(),
            None => {
                if was_https {
                    "https"
                } else {
                    "http"
                }
            }
        };
        let default = |scheme: &str| if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let old_port = if was_https { 443 } else { 80 };
        let (host, said) = match &self.data.authority {
            Some(authority) if self.data.port.is_none() => (authority.as_str(), None),
            Some(authority) => (crate::arrive::split_authority(authority).0, None),
            None => {
                let (host, port) = crate::arrive::split_authority(request.authority);
                let stays = self.data.port.is_none()
                    && (default(scheme) == old_port || port.parse() != Ok(old_port));
                (host, Some(port).filter(|port| stays && !port.is_empty()))
            }
        };
        let mut location = format!("{scheme}://{host}");
        if let Some(port) = said {
            let _ = write!(location, ":{port}");
        }
        if let Some(port) = self.data.port.filter(|port| *port != default(scheme)) {
            let _ = write!(location, ":{port}");
        }
        let target = request.path_and_query;
        let target = match &self.path {
            None => Some(Cow::Borrowed(target)),
            Some(CompiledPath::Whole(whole)) if whole.contains('?') => {
                Some(Cow::Borrowed(&**whole))
            }
            Some(path) => path.changed(target, matched).map(Cow::Owned),
        };
        let location = target.and_then(|target| {
            location.push_str(&target);
            HeaderValue::try_from(location).ok()
        });
        match location {
            Some(location) => {
                let fields = vec![(http::header::LOCATION, location)];
                Reply::new(self.data.status, "direct_response").with_fields(fields)
            }
            None => Failure::BadRewrite.reply(),
        }
    }
}

//! What a rule changes of a request and of its answer.
//!
//! A request's fields change first, then its host, then its path, as in Envoy; the changes of a
//! rule's target come before the rule's own.

mod fields;
mod path;
mod redirect;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts, uri::PathAndQuery};
use weft_config::{
    Changes, TextMatch,
    change::{self, NotAChange},
};

use self::{
    fields::{CompiledFields, Facts},
    path::CompiledPath,
};
use crate::{arrive::Arrived, cors, failure::Failure, reply::Reply, route::CompiledRule};

pub(crate) use redirect::CompiledRedirect;

/// The path before it was changed.
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// The host before it was changed.
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// Changes, ready to be made.
#[derive(Debug)]
pub(crate) struct CompiledChanges {
    path: Option<CompiledPath>,
    authority: Option<HeaderValue>,
    request: CompiledFields,
    response: Arc<CompiledFields>,
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
        for fields in &self.fields {
            // What does not fit is not said: an answer cannot be taken back.
            let _ = fields.apply(headers, &facts);
        }
        cors::insert(&self.cors, headers);
    }

    /// The same without what browsers are told.
    pub(crate) fn without_cors(self) -> Self {
        Self { cors: Vec::new(), ..self }
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
    [of_target, rule.changes.as_deref()]
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
            Arc::new(fields.resolved(&arrived.head().headers, &facts))
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
        changes.request.apply(headers, &facts).map_err(|_| Failure::HeadTooLarge.reply())?;
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
    if crate::path::climbs(&new) {
        return Err(Failure::BadPath.reply());
    }
    let original = HeaderValue::try_from(old).map_err(|_| bad())?;
    let target = PathAndQuery::try_from(new).map_err(|_| bad())?;
    head.headers.insert(ORIGINAL_PATH, original);
    head.uri = http::Uri::from(target);
    Ok(())
}

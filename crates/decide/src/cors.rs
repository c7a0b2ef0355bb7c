//! What browsers are told about requests of pages of other origins, as Envoy does it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use weft_config::{Cors, TextMatch, change::NotAChange, text_match::NotAPattern};

use crate::{arrive::Request, conditions::Text, reply::Reply, route::BadRule};

/// What a rule says, ready to be told.
#[derive(Debug)]
pub(crate) struct CompiledCors {
    origins: Vec<Text>,
    any_origin: bool,
    methods: AllowList,
    fields: AllowList,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    answers_others: bool,
}

/// What is allowed: a list, or what was asked for.
#[derive(Debug)]
enum AllowList {
    Unsaid,
    List(HeaderValue),
    Echo,
}

impl AllowList {
    fn new(list: &[String]) -> Result<Self, NotAChange> {
        Ok(match list {
            [] => Self::Unsaid,
            [one] if one == "*" => Self::Echo,
            list => Self::List(value(&list.join(","))?),
        })
    }

    fn value(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Unsaid => None,
            Self::List(list) => Some(list.clone()),
            Self::Echo => Some(asked.cloned().unwrap_or(HeaderValue::from_static(""))),
        }
    }
}

fn value(text: &str) -> Result<HeaderValue, NotAChange> {
    HeaderValue::try_from(text).map_err(|_| NotAChange::Value)
}

impl CompiledCors {
    pub(crate) fn new(cors: &Cors) -> Result<Self, BadRule> {
        let is_any = |origin: &TextMatch| *origin == TextMatch::Exact("*".to_owned());
        let origins = cors.origins.iter().filter(|origin| !is_any(origin)).map(Text::compile);
        let exposed = (!cors.exposed.is_empty()).then(|| value(&cors.exposed.join(",")));
        Ok(Self {
            origins: origins.collect::<Result<_, NotAPattern>>()?,
            any_origin: cors.origins.iter().any(is_any),
            methods: AllowList::new(&cors.methods)?,
            fields: AllowList::new(&cors.fields)?,
            exposed: exposed.transpose()?,
            max_age: cors.max_age.map(HeaderValue::from),
            credentials: cors.credentials == Some(true),
            answers_others: cors.answers_others,
        })
    }

    /// The origin of `request`, if it has one and that may use the answer.
    fn allowed<'r>(&self, request: &Request<'r>) -> Option<&'r HeaderValue> {
        let origin = request.headers.get(header::ORIGIN).filter(|origin| !origin.is_empty())?;
        let matches = |text: &Text| text.matches(origin.as_bytes());
        (self.any_origin || self.origins.iter().any(matches)).then_some(origin)
    }

    /// The answer to `request`, if that is a preflight request that is not sent on.
    pub(crate) fn preflight(&self, request: &Request<'_>) -> Option<Reply> {
        let asked =
            |name| request.headers.get(name).filter(|value: &&HeaderValue| !value.is_empty());
        let method = asked(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        asked(header::ORIGIN)?;
        if *request.method != Method::OPTIONS {
            return None;
        }
        let reply = Reply::new(200, "cors_response");
        let Some(origin) = self.allowed(request) else {
            return self.answers_others.then_some(reply);
        };
        let mut said = self.of_every_answer(origin);
        let fields = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let more = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.value(Some(method))),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, self.fields.value(fields)),
            (header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
        ];
        let more = more.into_iter().filter_map(|(name, value)| Some((name, value?)));
        said.extend(more);
        Some(reply.with_fields(said))
    }

    /// What every answer to a page of an allowed origin says.
    fn of_every_answer(&self, origin: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
        let credentials = self.credentials.then(|| HeaderValue::from_static("true"));
        let all = [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, Some(origin.clone())),
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// What the answer to `request` says; nothing for a page of another origin.
    pub(crate) fn of_answer(&self, request: &Request<'_>) -> Vec<(HeaderName, HeaderValue)> {
        self.allowed(request).map(|origin| self.of_every_answer(origin)).unwrap_or_default()
    }
}

/// Puts `fields` in place of what `headers` has of their names.
pub(crate) fn insert(fields: &[(HeaderName, HeaderValue)], headers: &mut HeaderMap) {
    for (name, value) in fields {
        headers.insert(name, value.clone());
    }
}

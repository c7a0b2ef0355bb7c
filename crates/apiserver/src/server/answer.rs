//! From a request to its answer: who asks, what for, may they, and who answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{body::Incoming, upgrade::OnUpgrade};

use super::{
    Server, change, connect, documents, exec, read,
    reply::{self, Body},
    reviews, watching,
};
use crate::{
    access::{self, Attempt, User},
    query::Query,
    status::Status,
    target::{self, Objects, Target},
    writer::Author,
};

/// The longest body that is read, as by kube-apiserver.
const LONGEST: usize = 3 << 20;

/// How long a client has to send its body.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, read.
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its parameters.
    pub query: Query,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who sends it.
    pub user: User,
    /// The connection itself, if the client wants to speak something else.
    pub upgrade: Option<OnUpgrade>,
    /// The text behind the question mark, as it came.
    pub raw_query: String,
}

impl Asked {
    /// One header as text.
    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Who writes by this request, and how.
    pub fn author(&self) -> Result<Author, Status> {
        let agent = self.header(header::USER_AGENT).split('/').next().unwrap_or_default();
        let agent = if agent.is_empty() { "unknown" } else { agent };
        Ok(Author {
            user: self.user.clone(),
            manager: self.query.text("fieldManager").unwrap_or(agent).to_owned(),
            mode: self.query.mode()?,
            validation: self.query.validation()?,
        })
    }
}

/// The answer to a request.
pub async fn answer(
    server: Arc<Server>,
    certificate: Option<Arc<User>>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let wants_upgrade = request.headers().contains_key(header::UPGRADE);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let body = match tokio::time::timeout(PATIENCE, Limited::new(body, LONGEST).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {LONGEST}");
            return reply::refusal(&Status::new(413, "RequestEntityTooLarge", message));
        }
        Ok(Err(error)) => {
            let message = format!("the body could not be read: {error}");
            return reply::refusal(&Status::bad_request(message));
        }
        Err(_) => {
            let message = format!("the body did not come within {}s", PATIENCE.as_secs());
            return reply::refusal(&Status::new(408, "Timeout", message));
        }
    };
    let bearer = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::trim);
    let found = access::identify(&server.authority, &server.store, certificate.as_ref(), bearer);
    let found = found.and_then(|caller| access::impersonate(&server.store, caller, &parts.headers));
    let user = match found {
        Ok(user) => user,
        Err(refused) => return reply::refusal(&refused),
    };
    let raw_query = parts.uri.query().unwrap_or_default().to_owned();
    let asked = Asked {
        method: parts.method,
        query: Query::parse(&raw_query),
        headers: parts.headers,
        body,
        user,
        upgrade,
        raw_query,
    };
    let (method, user) = (asked.method.clone(), asked.user.name.clone());
    let response = match dispatch(&server, parts.uri.path(), asked).await {
        Ok(response) => response,
        Err(refused) => reply::refusal(&refused),
    };
    tracing::debug!(%method, uri = %parts.uri, user, code = response.status().as_u16(), "answered");
    response
}

async fn dispatch(
    server: &Arc<Server>,
    path: &str,
    asked: Asked,
) -> Result<Response<Body>, Status> {
    let registry = server.store.registry();
    let target = target::parse(path, &registry)?;
    let Target::Objects(at) = target else {
        let verb = asked.method.as_str().to_ascii_lowercase();
        let attempt = Attempt { verb, path: path.to_owned(), ..Attempt::default() };
        access::authorize(&server.store, &asked.user, &attempt)?;
        return documents::answer(&registry, &target, &asked);
    };
    access::authorize(&server.store, &asked.user, &attempt(&at, &asked))?;
    match at.subresource.as_deref() {
        None | Some("status") => objects(server, &at, asked).await,
        Some("scale") => change::scale(server, &at, &asked).await,
        Some("finalize") => change::finalize(server, &at, &asked).await,
        Some("token") => reviews::token(server, &at, &asked),
        Some("eviction") => change::evict(server, &at, &asked).await,
        Some("log") => connect::log(server, &at, &asked).await,
        Some("exec") => exec::run(server, &at, asked, exec::Verb::Exec),
        Some("attach") => exec::run(server, &at, asked, exec::Verb::Attach),
        Some("portforward") => connect::forward(server, &at, asked),
        Some("proxy") => connect::proxy(server, &at, asked).await,
        Some(_) => Err(Status::no_such_path()),
    }
}

async fn objects(
    server: &Arc<Server>,
    at: &Objects,
    asked: Asked,
) -> Result<Response<Body>, Status> {
    if at.resource.is_review() {
        return match asked.method {
            Method::POST => reviews::answer(server, at, &asked),
            _ => Err(Status::method_not_allowed("reviews can only be created")),
        };
    }
    match (&asked.method, &at.name) {
        (&Method::GET, None) if asked.query.is_set("watch") => watching::watch(server, at, &asked),
        (&Method::GET, None) => read::list(server, at, &asked),
        (&Method::GET, Some(name)) => read::get(server, at, name, &asked),
        (&Method::POST, None) => change::create(server, at, &asked).await,
        (&Method::PUT, Some(name)) => change::update(server, at, name, &asked).await,
        (&Method::PATCH, Some(name)) => change::patch(server, at, name, &asked).await,
        (&Method::DELETE, Some(name)) => change::delete(server, at, name, &asked).await,
        (&Method::DELETE, None) => change::delete_all(server, at, &asked).await,
        (method, _) => Err(Status::method_not_allowed(format!(
            "the server does not allow {method} on this path"
        ))),
    }
}

fn attempt(at: &Objects, asked: &Asked) -> Attempt {
    let is_watch = asked.query.is_set("watch");
    let verb = match (&asked.method, &at.name) {
        (&Method::GET, None) if is_watch => "watch",
        (&Method::GET, None) => "list",
        (&Method::GET, Some(_)) => match at.subresource.as_deref() {
            Some("exec" | "attach" | "portforward" | "proxy") => "create",
            _ => "get",
        },
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, Some(_)) => "delete",
        (&Method::DELETE, None) => "deletecollection",
        _ => "create",
    };
    Attempt {
        verb: verb.to_owned(),
        group: at.resource.group.clone(),
        plural: at.resource.plural.clone(),
        subresource: at.subresource.clone().unwrap_or_default(),
        namespace: at.within().to_owned(),
        name: at.name.clone().unwrap_or_default(),
        path: String::new(),
    }
}

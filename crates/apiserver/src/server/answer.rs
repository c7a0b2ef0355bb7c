//! From a request to its answer: who asks, what for, may they, and who answers.
//!
//! All but the last is decided by the request's head: nobody makes the server hold a body
//! for something that they may not do.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::timeout;
use weft_process::peers::{Busy, Connection, Gathered, ReadError, Turn};

use super::{
    LONGEST, Server, change, connect,
    delivery::{Delivery, Pace},
    documents, exec, read,
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

/// How long a client has to send its body, waits until there is room for it, and waits
/// for its turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, read.
pub struct ApiRequest {
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
    /// The connection that it came by.
    pub connection: Connection,
    /// The text behind the question mark, as it came.
    pub raw_query: String,
}

impl ApiRequest {
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
    server: &Arc<Server>,
    certificate: Option<&Arc<User>>,
    busy: Busy,
    mut request: Request<Incoming>,
) -> Response<Delivery> {
    let wants_upgrade = request.headers().contains_key(header::UPGRADE);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let bearer = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::trim);
    let found = access::identify(&server.authority, &server.store, certificate, bearer);
    let found = found.and_then(|caller| access::impersonate(&server.store, caller, &parts.headers));
    let user = match found {
        Ok(user) => user,
        Err(refused) => {
            return Delivery::of(reply::refusal(&refused), busy, (Pace::Short, None));
        }
    };
    let raw_query = parts.uri.query().unwrap_or_default().to_owned();
    let asked = ApiRequest {
        method: parts.method,
        query: Query::parse(&raw_query),
        headers: parts.headers,
        body: Bytes::new(),
        user,
        upgrade,
        connection: busy.connection().clone(),
        raw_query,
    };
    let (method, user) = (asked.method.clone(), asked.user.name.clone());
    let (response, delivered) = match dispatch(server, parts.uri.path(), asked, body).await {
        Ok((response, delivered)) => (response, delivered),
        Err(refused) => (reply::refusal(&refused), (Pace::Short, None)),
    };
    tracing::debug!(%method, uri = %parts.uri, user, code = response.status().as_u16(), "answered");
    Delivery::of(response, busy, delivered)
}

/// Reads a body whole, when there is room for it.
async fn read_body(body: Incoming, connection: &Connection) -> Result<Gathered, Status> {
    match timeout(PATIENCE, connection.read(body)).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(ReadError::TooLarge(_))) => {
            let message = format!("Request entity too large: limit is {LONGEST}");
            Err(Status::new(413, "RequestEntityTooLarge", message))
        }
        Ok(Err(error)) => Err(Status::bad_request(error.to_string())),
        Err(_) => {
            let message = format!("the body did not come within {}s", PATIENCE.as_secs());
            Err(Status::new(408, "Timeout", message))
        }
    }
}

async fn take_turn(connection: &Connection) -> Result<Turn, Status> {
    timeout(PATIENCE, connection.turn()).await.map_err(|_| {
        let message = "too many requests of this client are being answered; read the answers";
        Status::new(429, "TooManyRequests", message)
    })
}

type Answered = (Response<Body>, (Pace, Option<Turn>));

async fn dispatch(
    server: &Arc<Server>,
    path: &str,
    mut asked: ApiRequest,
    body: Incoming,
) -> Result<Answered, Status> {
    let registry = server.store.registry();
    let target = target::parse(path, &registry)?;
    let Target::Objects(at) = target else {
        let verb = asked.method.as_str().to_ascii_lowercase();
        let attempt = Attempt { verb, path: path.to_owned(), ..Attempt::default() };
        access::authorize(&server.store, &asked.user, &attempt)?;
        let turn = take_turn(&asked.connection).await?;
        let response = documents::answer(&registry, &target, &asked)?;
        return Ok((response, (Pace::Short, Some(turn))));
    };
    access::authorize(&server.store, &asked.user, &attempt(&at, &asked))?;
    let pace = pace(&at, &asked);
    let Gathered { bytes, held: _held } = read_body(body, &asked.connection).await?;
    asked.body = bytes;
    let turn = match pace {
        Pace::Short => Some(take_turn(&asked.connection).await?),
        Pace::Watch | Pace::Session => None,
    };
    let caller = asked.user.name.clone();
    let apart = &server.writing;
    let response = match at.subresource.as_deref() {
        None | Some("status") if asked.method == Method::GET => objects(server, &at, asked).await,
        None | Some("status") => apart.run(&caller, objects(server, &at, asked)).await,
        Some("scale") => apart.run(&caller, change::scale(server, &at, &asked)).await,
        Some("finalize") => apart.run(&caller, change::finalize(server, &at, &asked)).await,
        Some("token") => reviews::token(server, &at, &asked),
        Some("eviction") => apart.run(&caller, change::evict(server, &at, &asked)).await,
        Some("log") => connect::log(server, &at, &asked).await,
        Some("exec") => exec::run(server, &at, asked, exec::Verb::Exec),
        Some("attach") => exec::run(server, &at, asked, exec::Verb::Attach),
        Some("portforward") => connect::forward(server, &at, asked),
        Some("proxy") => connect::proxy(server, &at, asked).await,
        Some(_) => Err(Status::no_such_path()),
    };
    Ok((response?, (pace, turn)))
}

fn pace(at: &Objects, asked: &ApiRequest) -> Pace {
    match at.subresource.as_deref() {
        Some("log" | "exec" | "attach" | "portforward" | "proxy") => Pace::Session,
        None if is_watch(at, asked) => Pace::Watch,
        _ => Pace::Short,
    }
}

fn is_watch(at: &Objects, asked: &ApiRequest) -> bool {
    asked.method == Method::GET && at.name.is_none() && asked.query.is_set("watch")
}

async fn objects(
    server: &Arc<Server>,
    at: &Objects,
    asked: ApiRequest,
) -> Result<Response<Body>, Status> {
    if at.resource.is_review() {
        return match asked.method {
            Method::POST => reviews::answer(server, at, &asked),
            _ => Err(Status::method_not_allowed("reviews can only be created")),
        };
    }
    match (&asked.method, &at.name) {
        (&Method::GET, None) if is_watch(at, &asked) => watching::watch(server, at, &asked),
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

fn attempt(at: &Objects, asked: &ApiRequest) -> Attempt {
    let verb = match (&asked.method, &at.name) {
        (&Method::GET, None) if is_watch(at, asked) => "watch",
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

//! A tiny HTTP server for the ports that people and probes talk to.
//!
//! Paths lead to functions; what these say is theirs. Requests have no bodies
//! worth reading. A request that changes something is answered only for callers on
//! this machine: most of these ports can be reached from everywhere.

mod body;
mod serve;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use http::{HeaderMap, Method, StatusCode, Uri, header};

pub use body::{Body, BrokenOff, Gone, Pieces};
pub use slots::Limits;

/// A request, without a body.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The header fields.
    pub headers: HeaderMap,
    /// The other end of the connection.
    pub peer: SocketAddr,
}

impl Asked {
    /// The first value of a query parameter, undecoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.uri.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    /// Whether the request may change something: it comes from this machine, or pod,
    /// and not from a page in a browser, which sends `Origin` with each such request.
    fn may_change(&self) -> bool {
        is_loopback(self.peer.ip()) && !self.headers.contains_key(header::ORIGIN)
    }
}

/// Whether `address` is this machine, and not 127.0.0.6: connections from there are
/// made by sidecars in the name of others, as a convention of Istio has it.
fn is_loopback(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() && address != IpAddr::from([127, 0, 0, 6])
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Body,
}

/// The media type of Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Answer {
    /// A text with status 200.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "text/plain; charset=UTF-8",
            body: Body::whole(body.into()),
        }
    }

    /// JSON with status 200.
    pub fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self::streamed_json(Body::whole(body))
            }
            Err(error) => Self::text(format!("cannot be written as JSON: {error}\n"))
                .with_status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// JSON that is made while it is read.
    pub fn streamed_json(body: Body) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body }
    }

    /// Prometheus' text format.
    pub fn metrics(text: String) -> Self {
        Self { content_type: METRICS, ..Self::text(text) }
    }

    /// Prometheus' text format, made while it is read.
    pub fn streamed_metrics(body: Body) -> Self {
        Self { status: StatusCode::OK, content_type: METRICS, body }
    }

    /// The same with another status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// The future of an answer.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Respond = Arc<dyn Fn(Asked) -> Answering + Send + Sync>;

struct Route {
    access: Access,
    path: String,
    respond: Respond,
}

/// What a request at a path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It reads: GET and HEAD, for everyone.
    Reads,
    /// It changes something: POST, for callers on this machine.
    Changes,
}

impl Access {
    fn method(self) -> Method {
        match self {
            Self::Reads => Method::GET,
            Self::Changes => Method::POST,
        }
    }
}

/// Paths and what answers them.
#[derive(Clone, Default)]
pub struct Paths {
    routes: Vec<Arc<Route>>,
}

impl Paths {
    /// Answers GET and HEAD of `path`, for everyone; a path that ends in `/*` stands for
    /// all below it.
    pub fn get<F, A>(self, path: &str, respond: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.route(Access::Reads, path, respond)
    }

    /// Answers POST of `path`, which changes something, for callers on this machine.
    pub fn post<F, A>(self, path: &str, respond: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.route(Access::Changes, path, respond)
    }

    /// Answers one request.
    pub async fn answer(&self, asked: Asked) -> Answer {
        let method = match asked.method {
            Method::HEAD => Method::GET,
            ref other => other.clone(),
        };
        // Whatever a path does with it: nothing but reading is for others.
        if method != Method::GET && !asked.may_change() {
            return Answer::text("only for callers on this machine, and not for browsers\n")
                .with_status(StatusCode::FORBIDDEN);
        }
        let path = asked.uri.path().to_owned();
        let matching = || self.routes.iter().filter(|route| covers(&route.path, &path));
        match matching().find(|route| route.access.method() == method) {
            Some(route) => (route.respond)(asked).await,
            None if matching().next().is_some() => {
                Answer::text(format!("{} is not served here with {method}\n", path))
                    .with_status(StatusCode::METHOD_NOT_ALLOWED)
            }
            None => Answer::text(self.index()).with_status(StatusCode::NOT_FOUND),
        }
    }

    fn route<F, A>(mut self, access: Access, path: &str, respond: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let respond: Respond = Arc::new(move |asked| Box::pin(respond(asked)));
        self.routes.push(Arc::new(Route { access, path: path.to_owned(), respond }));
        self
    }

    fn index(&self) -> String {
        let mut text = String::from("nothing is served at this path; there is\n");
        for route in &self.routes {
            text.push_str(&format!("  {} {}\n", route.access.method(), route.path));
        }
        text
    }
}

fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

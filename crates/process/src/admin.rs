//! A tiny HTTP server for the ports that people and probes talk to.
//!
//! Paths lead to functions; what these say is theirs. Requests have no bodies
//! worth reading, answers are whole texts.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::shutdown::Stopping;

/// Connections served at once; more wait.
const MOST_CONNECTIONS: usize = 256;
/// How long a client may take to say what it wants.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// What was asked, without a body.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The header fields.
    pub headers: http::HeaderMap,
}

impl Asked {
    /// The first value of a query parameter, undecoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.uri.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A text with status 200.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "text/plain; charset=UTF-8",
            body: Bytes::from(body.into()),
        }
    }

    /// JSON with status 200.
    pub fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self {
                    status: StatusCode::OK,
                    content_type: "application/json",
                    body: Bytes::from(body),
                }
            }
            Err(error) => Self::text(format!("cannot be written as JSON: {error}\n"))
                .with_status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Prometheus' text format.
    pub fn metrics(text: String) -> Self {
        Self { content_type: "text/plain; version=0.0.4; charset=utf-8", ..Self::text(text) }
    }

    /// The same with another status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// The future of an answer.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Respond = Arc<dyn Fn(Asked) -> Answering + Send + Sync>;

struct Entry {
    method: Option<Method>,
    path: String,
    respond: Respond,
}

/// Paths and what answers them.
#[derive(Clone, Default)]
pub struct Paths {
    entries: Vec<Arc<Entry>>,
}

impl Paths {
    /// Answers GET and HEAD of `path`; a path that ends in `/*` stands for all below it.
    pub fn get<F, A>(self, path: &str, respond: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.entry(Some(Method::GET), path, respond)
    }

    /// Answers POST of `path`.
    pub fn post<F, A>(self, path: &str, respond: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.entry(Some(Method::POST), path, respond)
    }

    /// Answers every method of `path`.
    pub fn any<F, A>(self, path: &str, respond: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.entry(None, path, respond)
    }

    /// Answers one request.
    pub async fn answer(&self, asked: Asked) -> Answer {
        let path = asked.uri.path().to_owned();
        let matching = || self.entries.iter().filter(|entry| covers(&entry.path, &path));
        let method = match asked.method {
            Method::HEAD => Method::GET,
            ref other => other.clone(),
        };
        let allows = |entry: &&Arc<Entry>| entry.method.as_ref().is_none_or(|one| *one == method);
        match matching().find(allows) {
            Some(entry) => (entry.respond)(asked).await,
            None if matching().next().is_some() => {
                Answer::text(format!("{} is not served here with {method}\n", path))
                    .with_status(StatusCode::METHOD_NOT_ALLOWED)
            }
            None => Answer::text(self.index()).with_status(StatusCode::NOT_FOUND),
        }
    }

    /// Serves `listener` until the end is asked for.
    pub async fn serve(self, listener: TcpListener, mut stopping: Stopping) {
        let paths = Arc::new(self);
        let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let stream = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.stopped() => return,
            };
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = stream else {
                // Out of descriptors or memory: others must end before it gets better.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let paths = paths.clone();
            connections.spawn(async move {
                let service = service_fn(|request| respond(&paths, request));
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_DEADLINE)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(slot);
            });
        }
    }

    fn entry<F, A>(mut self, method: Option<Method>, path: &str, respond: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let respond: Respond = Arc::new(move |asked| Box::pin(respond(asked)));
        self.entries.push(Arc::new(Entry { method, path: path.to_owned(), respond }));
        self
    }

    fn index(&self) -> String {
        let mut text = String::from("nothing is served at this path; there is\n");
        for entry in &self.entries {
            let method = entry.method.as_ref().map_or("*", Method::as_str);
            text.push_str(&format!("  {method} {}\n", entry.path));
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

async fn respond(
    paths: &Paths,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, _) = request.into_parts();
    let asked = Asked { method: head.method, uri: head.uri, headers: head.headers };
    let answer = paths.answer(asked).await;
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    let content_type = HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    fn paths() -> Paths {
        Paths::default()
            .get("/ready", |_| async { Answer::text("LIVE\n") })
            .get("/echo/*", |asked: Asked| async move {
                Answer::text(asked.query("say").unwrap_or("-").to_owned())
            })
            .post("/quit", |_| async { Answer::text("bye\n") })
    }

    async fn check(method: &str, target: &str, expected: &str) {
        let asked = Asked {
            method: method.parse().unwrap(),
            uri: target.parse().unwrap(),
            headers: http::HeaderMap::new(),
        };
        let answer = paths().answer(asked).await;
        let first = String::from_utf8(answer.body.to_vec()).unwrap();
        let first = first.lines().next().unwrap_or_default().to_owned();
        assert_eq!(format!("{} {first}", answer.status.as_u16()), expected, "{method} {target}");
    }

    #[tokio::test]
    async fn a_path_and_method_lead_to_their_function() {
        check("GET", "/ready", "200 LIVE").await;
        check("HEAD", "/ready?x=1", "200 LIVE").await;
        check("GET", "/echo/a?b=c&say=hello", "200 hello").await;
        check("GET", "/quit", "405 /quit is not served here with GET").await;
        check("POST", "/quit", "200 bye").await;
        check("GET", "/ready/", "404 nothing is served at this path; there is").await;
    }

    #[tokio::test]
    async fn a_listener_is_served_until_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = shutdown::channel();
        let serving = tokio::spawn(paths().serve(listener, stopping));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nLIVE\n"), "{answer}");
        stop.stop();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}

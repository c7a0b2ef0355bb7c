//! The demo application of the courses, `wardviaene/http-echo`, as a stand-in.
//!
//! It answers every path with its text, followed by the answer of the next
//! service when it has one. That there may be a sidecar on the way is not known
//! here: the application speaks plain HTTP/1.1 and forwards tracing headers.

mod next;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// What is answered when there is no text.
const NO_TEXT: &str = "set env TEXT to display something";

/// Paths at which the application hands out tokens and keys.
const TOKEN_PATHS: [&str; 2] = ["/login", "/.well-known/jwks.json"];

/// How long a client may take to send a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);

/// How the application was set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `TEXT`: what is answered.
    pub text: Option<String>,
    /// `NEXT`: host and port of the service whose answer is appended.
    pub next: Option<String>,
    /// `LATENCY`: how long every answer is held back.
    pub latency: Duration,
}

impl Settings {
    /// Settings as the environment variables of the image say them; absent and
    /// empty mean the same.
    pub fn from_variables(
        text: Option<String>,
        next: Option<String>,
        latency: Option<String>,
    ) -> Result<Self, SettingsError> {
        let given = |value: Option<String>| value.filter(|text| !text.is_empty());
        let latency = match given(latency) {
            None => Duration::ZERO,
            Some(text) => match text.trim().parse() {
                Ok(seconds) => Duration::from_secs(seconds),
                Err(_) => return Err(SettingsError::Latency(text)),
            },
        };
        Ok(Self { text: given(text), next: given(next), latency })
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// `LATENCY` is not a number of seconds.
    #[error("LATENCY is {0:?}, not a whole number of seconds")]
    Latency(String),
}

/// Where one line per request goes.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Serves on `listener` until accepting fails for good.
pub async fn serve(listener: TcpListener, settings: Settings, log: Log) -> io::Result<()> {
    let settings = Arc::new(settings);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if passes(&error) => continue,
            Err(error) => return Err(error),
        };
        // A socket that refuses the option is only slower.
        let _ = stream.set_nodelay(true);
        let (settings, log) = (Arc::clone(&settings), Arc::clone(&log));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (settings, log) = (Arc::clone(&settings), Arc::clone(&log));
                async move { Ok::<_, Infallible>(answer(request, &settings, &log).await) }
            });
            // A connection that breaks is its client's affair; the log has its requests.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Whether `accept` may be called again after `error`: the client is at fault.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn answer(
    request: Request<Incoming>,
    settings: &Settings,
    log: &Log,
) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    log(&format!("{} {path}", request.method()));
    if TOKEN_PATHS.contains(&request.uri().path()) {
        let text = "this stand-in of http-echo does not hand out tokens and keys yet\n";
        return reply(StatusCode::NOT_IMPLEMENTED, text.to_owned());
    }
    if !settings.latency.is_zero() {
        tokio::time::sleep(settings.latency).await;
    }
    let text = settings.text.as_deref().unwrap_or(NO_TEXT);
    let body = match &settings.next {
        None => text.to_owned(),
        Some(next) => match next::ask(next, request.headers()).await {
            Ok(rest) => format!("{text} {rest}\n"),
            Err(error) => {
                log(&format!("next {next}: {error}"));
                format!("Couldn't connect to http://{next}/")
            }
        },
    };
    reply(StatusCode::OK, body)
}

fn reply(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

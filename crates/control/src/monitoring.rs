//! What is served on the monitoring port.
//!
//! Metrics and readiness for everyone; what names objects or pods only to
//! callers with a token.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tokio::{sync::Semaphore, time::timeout};
use weft_api::{Key, Kind};
use weft_process::admin::{Answer, Asked, Paths};

use crate::{
    Authenticate, Caller, Handle,
    delta_stream::AUTHENTICATION,
    metrics::Metrics,
    world_task::{ObjectVersion, QueryCaller},
};

/// How long a question waits when it does not say.
const WAIT: Duration = Duration::from_secs(5);

/// Another header for the token: an API server that passes a request on keeps
/// `authorization` for itself.
const TOKEN: &str = "x-weft-token";

/// What the pages are made from.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) handle: Handle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) authenticate: Arc<dyn Authenticate>,
    /// Streams and pages together ask no more than this at a time.
    pub(crate) authenticating: Arc<Semaphore>,
    pub(crate) root_namespace: String,
}

impl Pages {
    /// The paths and what answers them.
    pub(crate) fn paths(self) -> Paths {
        let (metrics, ready) = (Arc::clone(&self.metrics), self.handle.clone());
        let (acknowledged, debug) = (self.clone(), self);
        Paths::default()
            .get("/metrics", move |_| {
                let metrics = Arc::clone(&metrics);
                async move { Answer::metrics(metrics.text()) }
            })
            .get("/ready", move |_| {
                let ready = ready.is_ready();
                async move { readiness(ready) }
            })
            .get("/acknowledged", move |asked| {
                let pages = acknowledged.clone();
                async move { pages.acknowledged(asked).await }
            })
            .get("/debug/*", move |asked| {
                let pages = debug.clone();
                async move { pages.debug(asked).await }
            })
    }

    async fn acknowledged(&self, asked: Asked) -> Answer {
        let caller = match self.caller(&asked.headers).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        let object = asked.query("object").unwrap_or_default().replace("%2F", "/");
        let Ok(key) = object.parse::<Key>() else {
            return wrong("object=KIND/NAMESPACE/NAME or object=KIND/NAME is needed");
        };
        let Some(version) = asked.query("version").filter(|version| !version.is_empty()) else {
            return wrong("version=RESOURCEVERSION is needed");
        };
        let wait = match asked.query("wait").map(duration) {
            None => WAIT,
            Some(Some(wait)) => wait,
            Some(None) => return wrong("wait is a number with unit, such as 5s or 250ms"),
        };
        let runs_mesh = caller.namespace == self.root_namespace;
        if !runs_mesh && !is_own(&key, &caller.namespace) {
            let text = format!(
                "accounts of namespace {} may ask about its own objects only; those of {} about all\n",
                caller.namespace, self.root_namespace
            );
            return Answer::text(text).with_status(StatusCode::FORBIDDEN);
        }
        let name = format!("{}/{}/{}", caller.namespace, caller.account, caller.pod);
        let object = ObjectVersion { key, version: version.to_owned() };
        let asking = QueryCaller { name, runs_mesh };
        let mut found = self.handle.acknowledged_to(asking, object, wait).await;
        if !runs_mesh {
            let own = format!("{}/", caller.namespace);
            found.behind.retain(|pod| pod.starts_with(&own));
        }
        Answer::json(&found)
    }

    async fn debug(&self, asked: Asked) -> Answer {
        let caller = match self.caller(&asked.headers).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        if caller.namespace != self.root_namespace {
            let text = format!("only for accounts of namespace {}\n", self.root_namespace);
            return Answer::text(text).with_status(StatusCode::FORBIDDEN);
        }
        match asked.uri.path() {
            "/debug/syncz" => Answer::json(&self.handle.sessions().await),
            "/debug/diagnostics" => {
                Answer::json(&Diagnostics { diagnostics: &self.handle.diagnostics() })
            }
            _ => Answer::text("there are /debug/syncz and /debug/diagnostics\n")
                .with_status(StatusCode::NOT_FOUND),
        }
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Answer> {
        let refuse = |text: String| Answer::text(text).with_status(StatusCode::UNAUTHORIZED);
        let token = token(headers)
            .ok_or_else(|| refuse(format!("a bearer token is needed, or {TOKEN}\n")))?;
        let checked = async {
            let _slot = self.authenticating.acquire().await;
            self.authenticate.who(token).await
        };
        match timeout(AUTHENTICATION, checked).await {
            Ok(who) => who.map_err(|error| refuse(format!("{error}\n"))),
            Err(_) => Err(Answer::text("checking the token takes too long\n")
                .with_status(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }
}

/// Whether `key` is the namespace called `namespace`, or an object in it.
fn is_own(key: &Key, namespace: &str) -> bool {
    match key.kind {
        Kind::Namespace => key.name == namespace,
        _ => key.namespace == namespace,
    }
}

#[derive(Serialize)]
struct Diagnostics<'a> {
    diagnostics: &'a [weft_api::Diagnostic],
}

fn readiness(ready: bool) -> Answer {
    match ready {
        true => Answer::text("ready\n"),
        false => Answer::text("waiting for the first list of objects\n")
            .with_status(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn wrong(text: &str) -> Answer {
    Answer::text(format!("{text}\n")).with_status(StatusCode::BAD_REQUEST)
}

fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(token) = headers.get(TOKEN) {
        return Some(token.to_str().ok()?.trim().to_owned());
    }
    let (scheme, token) =
        headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// `5s`, `250ms`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let number: u32 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    Some(unit * number)
}

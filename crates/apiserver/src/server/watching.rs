//! Telling a client what happens, from a version on, until it or time ends it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use http::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    ApiRequest, Server,
    pieces::Part,
    read::{self, Form, Rows},
    reply::{self, Body},
};
use crate::{
    resource::Resource,
    selector::{FieldSelector, Labels},
    status::Status,
    store::{Change, Event, Watch},
    table,
    target::Objects,
};

/// How long a watch lasts that names no end.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// How often a quiet watch says how far it is.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// A watch of one client.
struct Teller {
    resource: Arc<Resource>,
    namespace: Option<String>,
    labels: Labels,
    fields: FieldSelector,
    form: Form,
    watch: Watch,
    /// What there was at the start and has not been sent. It is shown when it is sent, so
    /// that a client that does not read costs no copies.
    initial: VecDeque<Arc<Value>>,
    /// The bookmark at its end.
    initial_end: Option<u64>,
    bookmarks: Option<Instant>,
    end: Instant,
    has_header: bool,
    is_over: bool,
}

/// Starts a watch.
pub fn watch(
    server: &Arc<Server>,
    at: &Objects,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let query = &asked.query;
    let since = query.number("resourceVersion")?.unwrap_or(0);
    let current = server.store.version();
    if since > current {
        return Err(Status::expired(since, current));
    }
    let wants_end = query.is_set("sendInitialEvents");
    let wants_state = since == 0 || wants_end;
    let list = wants_state.then(|| server.store.list(&at.resource, at.namespace.as_deref()));
    let start = list.as_ref().map_or(since, |list| list.version);
    let now = Instant::now();
    let mut teller = Teller {
        resource: Arc::clone(&at.resource),
        namespace: at.namespace.clone(),
        labels: query.labels()?,
        fields: query.fields()?,
        form: Form::of(asked),
        watch: server.store.watch(&at.resource, start),
        initial: VecDeque::new(),
        initial_end: wants_end.then_some(start),
        bookmarks: query.is_set("allowWatchBookmarks").then_some(now + BOOKMARKS),
        end: now + query.seconds("timeoutSeconds")?.unwrap_or(LONGEST).min(LONGEST),
        has_header: false,
        is_over: false,
    };
    if let Some(list) = list {
        let initial = list.items.into_iter().filter(|object| teller.selects(object)).collect();
        teller.initial = initial;
    }
    let lines = futures::stream::unfold(teller, |mut teller| async move {
        let line = teller.next().await?;
        Some((line, teller))
    });
    Ok(reply::events(lines))
}

impl Teller {
    /// The next thing to tell; nothing when the watch is over.
    async fn next(&mut self) -> Option<Part> {
        loop {
            if let Some(object) = self.initial.pop_front() {
                let shown = self.show(&object);
                return Some(line("ADDED", shown));
            }
            if let Some(version) = self.initial_end.take() {
                let mut bookmark = self.bookmark(version);
                bookmark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
                return Some(line("BOOKMARK", bookmark.into()));
            }
            if self.is_over {
                return None;
            }
            let pause = self.bookmarks.map_or(self.end, |at| at.min(self.end));
            tokio::select! {
                biased;
                event = self.watch.next() => match event {
                    Ok(event) => if let Some(told) = self.tell(&event) {
                        return Some(told);
                    }
                    Err(gone) => {
                        self.is_over = true;
                        return Some(line("ERROR", gone.to_value().into()));
                    }
                },
                () = tokio::time::sleep_until(pause) => {
                    self.is_over = Instant::now() >= self.end;
                    if let Some(at) = &mut self.bookmarks {
                        *at = Instant::now() + BOOKMARKS;
                        let bookmark = self.bookmark(self.watch.position());
                        return Some(line("BOOKMARK", bookmark.into()));
                    }
                }
            }
        }
    }

    /// Tells an event as it looks through the selectors: an object that comes into
    /// view is added, one that leaves it is deleted.
    fn tell(&mut self, event: &Event) -> Option<Part> {
        let is_in = event.change != Change::Deleted && self.selects(&event.object);
        let was_in = match (&event.previous, event.change) {
            (Some(previous), _) => self.selects(previous),
            (None, Change::Deleted) => self.selects(&event.object),
            (None, _) => false,
        };
        let word = match (was_in, is_in) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        let shown = self.show(&event.object);
        Some(line(word, shown))
    }

    fn selects(&self, object: &Value) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|wanted| object["metadata"]["namespace"] == wanted.as_str())
            && self.labels.match_object(object)
            && self.fields.match_object(object)
    }

    fn show(&mut self, object: &Arc<Value>) -> Arc<Value> {
        match self.form {
            Form::Whole => Arc::clone(object),
            Form::Metadata => read::metadata_of(object).into(),
            Form::Table(rows) => {
                let version = object["metadata"]["resourceVersion"].clone();
                let mut shown =
                    table::of(&self.resource, std::slice::from_ref(object), rows, version);
                if std::mem::replace(&mut self.has_header, true) {
                    shown["columnDefinitions"] = Value::Null;
                }
                shown.into()
            }
        }
    }

    fn bookmark(&mut self, version: u64) -> Value {
        let version = version.to_string();
        match self.form {
            Form::Table(_) => table::of(&self.resource, &[], Rows::Bare, version.into()),
            _ => json!({
                "kind": self.resource.kind, "apiVersion": self.resource.api_version(),
                "metadata": {"resourceVersion": version, "creationTimestamp": null},
            }),
        }
    }
}

/// One line of the answer.
fn line(kind: &str, object: Arc<Value>) -> Part {
    let before = format!("{{\"type\":\"{kind}\",\"object\":");
    Part { before, object: Some(object), is_bare: false, after: "}\n" }
}

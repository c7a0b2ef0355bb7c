//! The configuration as a control plane has it: on demand, and kept up to date.
//!
//! One task drives the machine that knows the protocol, turns bodies into
//! resources, and says to waiting requests that their configuration is there.
//! Without a control plane, what is known stays in force.

mod passage;
mod saved;
mod wired;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs, io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use weft_config::{Directory, Interest, Part, Resource};
use weft_decide::Table;
use weft_delta::{Client, Name, Refusal, Request, Standing, Update};
use weft_wire::{
    Target,
    client::{Requests, Responses, StreamError},
    connect, tls,
};

use crate::{config::subscriptions::Question, options, upstream::dial::Dialer};
use saved::Saved;

/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What is known is written down this long after a change.
const WRITE_DELAY: Duration = Duration::from_millis(200);
/// New interests within one [`WINDOW`]; more wait for the next.
const MOST_NEW: usize = 256;
/// The time in which new interests are counted.
const WINDOW: Duration = Duration::from_millis(100);

/// What is known, and who waits for more.
pub struct Keeper {
    options: options::Stream,
    dialer: Dialer,
    client: Client,
    bodies: HashMap<Name, (u64, Kept)>,
    tables: watch::Sender<Arc<Table>>,
    waiting: BTreeMap<Interest, Vec<oneshot::Sender<()>>>,
    saved: Option<Saved>,
    write_at: Option<Instant>,
    window: (Instant, usize),
}

/// A resource's JSON; none for chunks of the directory, whose size follows the
/// mesh's: the table has them as numbers, and the dump says how many there are.
type Kept = Option<Arc<[u8]>>;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum NoStream {
    #[error("reading {path}")]
    File { path: String, source: io::Error },
    #[error("connecting to the control plane at {address}")]
    Passage { address: String, source: io::Error },
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the control plane does not keep to the protocol: {0}")]
    Violation(#[from] weft_delta::Violation),
}

impl Keeper {
    /// Begins with what was written down in an earlier life.
    pub fn new(
        options: options::Stream,
        tables: watch::Sender<Arc<Table>>,
        dialer: Dialer,
    ) -> Self {
        let mut client = Client::new();
        client.want_always(&Interest::Own.to_string());
        for part in Part::ALL {
            client.want_always(&Interest::Directory(part).to_string());
        }
        let saved = options.state.clone().map(Saved::new);
        let mut keeper = Self {
            options,
            dialer,
            client,
            bodies: HashMap::new(),
            tables,
            waiting: BTreeMap::new(),
            saved,
            write_at: None,
            window: (Instant::now(), 0),
        };
        keeper.restore();
        keeper
    }

    /// Keeps the table up to date until nobody asks any more.
    pub async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect().await {
                Ok((requests, responses)) => {
                    let began = Instant::now();
                    let ended = self.follow((requests, responses), &mut questions).await;
                    self.client.disconnected();
                    match ended {
                        None => return,
                        Some(error) => report(&error),
                    }
                    if began.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                }
                Err(error) => report(&error),
            }
            if !self.wait(pause, &mut questions).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&self) -> Result<(Requests, Responses), NoStream> {
        let read = |path: &std::path::Path| {
            fs::read_to_string(path)
                .map_err(|source| NoStream::File { path: path.display().to_string(), source })
        };
        let trusted = self.options.ca_pem.as_deref().map(read).transpose()?;
        let token = self.options.token.as_deref().map(read).transpose()?;
        let mut address = self.options.address.clone();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let name = self.options.name.clone().unwrap_or_else(|| host.to_owned());
        if self.dialer.mark.is_some() {
            let passage = passage::to(&address, self.dialer).await;
            let failed = |source| NoStream::Passage { address: address.clone(), source };
            address = passage.map_err(failed)?.to_string();
        }
        let tls = trusted.as_deref().map(tls::trusting).transpose()?;
        Ok(connect(&Target { address, name, tls }, token.as_deref()).await?)
    }

    /// Follows one stream; none when nobody asks any more.
    async fn follow(
        &mut self,
        (requests, mut responses): (Requests, Responses),
        questions: &mut mpsc::Receiver<Question>,
    ) -> Option<NoStream> {
        let first = wired::first(self.client.connected(), &self.options.node);
        if let Err(error) = requests.send(first).await {
            return Some(error.into());
        }
        loop {
            let outgoing = tokio::select! {
                response = responses.next() => {
                    let response = match response {
                        Ok(response) => response,
                        Err(error) => return Some(error.into()),
                    };
                    match self.client.received(wired::response(response)) {
                        Ok(update) => self.apply(update),
                        Err(violation) => return Some(violation.into()),
                    }
                }
                question = questions.recv() => {
                    self.take(question?);
                    self.client.request()
                }
                () = until(self.write_at) => {
                    self.write();
                    None
                }
            };
            if let Some(request) = outgoing
                && let Err(error) = requests.send(wired::request(request)).await
            {
                return Some(error.into());
            }
        }
    }

    /// Waits for `pause`, answering what can be answered; false when nobody asks any more.
    async fn wait(&mut self, pause: Duration, questions: &mut mpsc::Receiver<Question>) -> bool {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(end) => return true,
                question = questions.recv() => match question {
                    Some(question) => self.take(question),
                    None => return false,
                },
                () = until(self.write_at) => self.write(),
            }
        }
    }

    fn take(&mut self, question: Question) {
        match question {
            Question::Interest(interest, answered) => self.ask(interest, answered),
            Question::Known(told) => {
                let known = self.bodies.iter().filter_map(|(name, (_, kept))| {
                    kept.clone().map(|body| (name.to_string(), body))
                });
                let directory = ("directory".to_owned(), self.directory().into());
                let _ = told.send(known.chain([directory]).collect());
            }
        }
    }

    fn ask(&mut self, interest: Interest, answered: oneshot::Sender<()>) {
        if self.tables.borrow().knows(&interest) {
            let _ = answered.send(());
            return;
        }
        if self.window.0.elapsed() >= WINDOW {
            self.window = (Instant::now(), 0);
            // Whoever has given up is not waited for: without a control plane nobody
            // else would take them off the list.
            self.waiting.retain(|_, waiting| {
                waiting.retain(|waiting| !waiting.is_closed());
                !waiting.is_empty()
            });
        }
        let waiting = self.waiting.get(&interest);
        if waiting.is_none() && self.window.1 >= MOST_NEW {
            // Dropped: the request is told at once instead of after its deadline.
            return;
        }
        let name = interest.to_string();
        if self.client.want(&name) == Standing::Held {
            // It is held, and yet the table does not have it: it was refused.
            return;
        }
        self.window.1 += 1;
        let waiting = self.waiting.entry(interest).or_default();
        waiting.retain(|waiting| !waiting.is_closed());
        waiting.push(answered);
    }

    /// Puts an update in force as a whole, and says what of it cannot be.
    fn apply(&mut self, update: Update) -> Option<Request> {
        let mut refused = Vec::new();
        let mut changes: Vec<(String, Option<Arc<Resource>>)> = Vec::new();
        let mut bodies = Vec::new();
        for resource in update.changed {
            match serde_json::from_slice::<Resource>(&resource.body) {
                Ok(read) => {
                    let kept = keep(&read, &resource.body);
                    changes.push((resource.name.to_string(), Some(Arc::new(read))));
                    bodies.push((resource.name, (resource.version, kept)));
                }
                Err(error) => {
                    refused.push(Refusal { name: resource.name, why: error.to_string() });
                }
            }
        }
        for name in &update.removed {
            changes.push((name.to_string(), None));
        }
        let current = Arc::clone(&self.tables.borrow());
        let (table, rejected) = current.with(changes);
        for rejected in rejected {
            tracing::warn!(
                resource = rejected.name,
                reason = rejected.reason,
                "a piece of configuration cannot be used; the one before stays in force"
            );
            refused.push(Refusal { name: rejected.name.into(), why: rejected.reason });
        }
        for (name, body) in bodies {
            if !refused.iter().any(|refusal| refusal.name == name) {
                self.bodies.insert(name, body);
            }
        }
        for name in &update.removed {
            self.bodies.remove(name);
        }
        self.tables.send_replace(Arc::new(table));
        self.answer(&update.removed);
        self.write_at.get_or_insert_with(|| Instant::now() + WRITE_DELAY);
        self.client.refused(&update.nonce, refused)
    }

    /// Tells those whose configuration is in force, and those who will get none.
    fn answer(&mut self, removed: &[Name]) {
        let table = self.tables.borrow();
        self.waiting.retain(|interest, waiting| {
            if table.knows(interest) {
                for waiting in waiting.drain(..) {
                    let _ = waiting.send(());
                }
            }
            let gone = removed.iter().any(|name| **name == *interest.to_string());
            waiting.retain(|waiting| !waiting.is_closed());
            !gone && !waiting.is_empty()
        });
    }

    fn restore(&mut self) {
        let Some(saved) = &self.saved else { return };
        let mut changes = Vec::new();
        for (name, version, body) in saved.read() {
            let Ok(resource) = serde_json::from_slice::<Resource>(&body) else { continue };
            if let Resource::Answer(answer) = &resource
                && !matches!(answer.interest, Interest::Own | Interest::Directory(_))
            {
                self.client.want(&name);
            }
            self.client.restore(&name, version);
            let kept = keep(&resource, &body);
            self.bodies.insert(Arc::clone(&name), (version, kept));
            changes.push((name.to_string(), Some(Arc::new(resource))));
        }
        if !changes.is_empty() {
            let (table, _) = self.tables.borrow().with(changes);
            self.tables.send_replace(Arc::new(table));
        }
    }

    /// The size of the directory, as JSON for people.
    fn directory(&self) -> Vec<u8> {
        let tables = self.tables.borrow();
        let directory = tables.directory();
        let size = json!({"directory": {
            "hosts": directory.hosts(),
            "addresses": directory.addresses(),
            "httpPorts": directory.http_ports(),
        }});
        size.to_string().into_bytes()
    }

    fn write(&mut self) {
        self.write_at = None;
        if let Some(saved) = &self.saved {
            let directory = Arc::clone(self.tables.borrow().directory());
            let bodies = self.bodies.iter().filter_map(|(name, (version, kept))| {
                let body = match kept {
                    Some(body) => Cow::Borrowed(&**body),
                    None => Cow::Owned(chunk(&directory, name)?),
                };
                Some((&**name, *version, body))
            });
            if let Err(error) = saved.write(bodies) {
                tracing::warn!(%error, path = %saved.path().display(),
                    "what is known cannot be kept for a restart");
            }
        }
    }
}

/// What is kept of a resource: a copy, so that the message that it came in can go.
fn keep(resource: &Resource, body: &Bytes) -> Kept {
    match resource {
        Resource::Directory(_) => None,
        _ => Some(Arc::from(&**body)),
    }
}

/// The JSON of the directory's chunk that is called `name` on the stream.
fn chunk(directory: &Directory, name: &str) -> Option<Vec<u8>> {
    let chunk = directory.chunk(name.strip_prefix("directory/")?)?;
    serde_json::to_vec(&Resource::Directory((**chunk).clone())).ok()
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn report(error: &NoStream) {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::warn!("no configuration stream: {text}; what is known stays in force");
}

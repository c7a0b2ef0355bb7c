//! The configuration as a control plane has it: on demand, and kept up to date.
//!
//! One task drives the machine that knows the protocol, turns bodies into
//! resources, and lets waiting requests go on when their configuration is there.
//! Without a control plane, what is known stays in force.

mod control_plane_relay;
mod wire_messages;
mod waiting_requests;
mod unused_interests;
mod snapshot_file;
mod reconnect;

use std::{
    collections::{HashMap, VecDeque},
    fs,
    future::Future,
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};
use weft_balance::Rng;
use weft_config::{Interest, Part, Resource};
use weft_decide::Table;
use weft_delta::{Client, Name, Refusal, Request, Standing, Update};
use weft_wire::{
    Target,
    client::{Requests, Responses, StreamError},
    connect as connect_to, tls,
};

use crate::{config::handle::ConfigRequest, options, upstream::dial::Dialer};
use reconnect::Reconnect;
use snapshot_file::{Body, Changes, SavedResource, SnapshotFile};
use unused_interests::UnusedInterests;
use waiting_requests::WaitingRequests;

/// What is known is written down this long after a change.
const WRITE_DELAY: Duration = Duration::from_millis(200);

/// The client of the control plane: the task that holds the configuration.
pub struct ConfigClient {
    options: options::Stream,
    dialer: Dialer,
    subscriptions: Client,
    /// The JSON of each resource in force, for the dump, but for chunks of the directory,
    /// which grow with the mesh: the table has them as numbers, and the dump counts them.
    resources: HashMap<Name, Arc<[u8]>>,
    publish: Publish,
    waiting: WaitingRequests,
    unused: UnusedInterests,
    state: Option<SnapshotFile>,
    /// Changes that are not written down yet, and when they are to be.
    unwritten: Changes,
    write_at: Option<Instant>,
}

/// Where it is said what is known.
pub struct Publish {
    /// The table in force.
    pub tables: watch::Sender<Arc<Table>>,
    /// How many interests there are.
    pub interests: watch::Sender<usize>,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum NoStream {
    #[error("reading {path}")]
    File { path: String, source: io::Error },
    #[error("connecting to the control plane at {address}")]
    Connect { address: String, source: io::Error },
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the control plane does not keep to the protocol: {0}")]
    Violation(#[from] weft_delta::Violation),
}

impl ConfigClient {
    /// Begins with what was written down before a restart.
    pub fn new(options: options::Stream, publish: Publish, dialer: Dialer) -> Self {
        let mut subscriptions = Client::new();
        subscriptions.want_always(&Interest::Own.to_string());
        for part in Part::ALL {
            subscriptions.want_always(&Interest::Directory(part).to_string());
        }
        let opened = options.state.as_deref().map(SnapshotFile::open);
        let (state, written) = match opened {
            Some(Ok((state, written))) => (Some(state), written),
            Some(Err(error)) => {
                tracing::warn!(%error, "the configuration cannot be kept for a restart");
                (None, Vec::new())
            }
            None => (None, Vec::new()),
        };
        let mut this = Self {
            options,
            dialer,
            subscriptions,
            resources: HashMap::new(),
            publish,
            waiting: WaitingRequests::new(Instant::now()),
            unused: UnusedInterests::new(Instant::now()),
            state,
            unwritten: Changes::new(),
            write_at: None,
        };
        this.restore(written);
        this
    }

    /// Keeps the table up to date until nobody asks any more.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<ConfigRequest>, rng: Rng) {
        let mut reconnect = Reconnect::new(rng);
        loop {
            let connecting = connect(self.options.clone(), self.dialer.clone());
            let Some(connected) = self.answering(connecting, &mut inbox).await else { return };
            match connected {
                Ok((requests, responses)) => {
                    let began = Instant::now();
                    let ended = self.follow((requests, responses), &mut inbox).await;
                    self.subscriptions.disconnected();
                    let Some(error) = ended else { return };
                    if matches!(error, NoStream::Stream(StreamError::Violation(_))) {
                        self.subscriptions.drop_unanswered();
                    }
                    report(&error);
                    reconnect.lasted(began.elapsed());
                }
                Err(error) => report(&error),
            }
            if self.answering(sleep(reconnect.failed()), &mut inbox).await.is_none() {
                return;
            }
        }
    }

    /// Follows one stream; none when nobody asks any more.
    async fn follow(
        &mut self,
        (requests, mut responses): (Requests, Responses),
        inbox: &mut mpsc::Receiver<ConfigRequest>,
    ) -> Option<NoStream> {
        // To be sent, in order. Receiving goes on meanwhile: a server that waits for
        // this side to read does not read itself.
        let mut outgoing: VecDeque<_> = self.subscriptions.connected().into();
        let mut first = Some(self.options.node.clone());
        loop {
            tokio::select! {
                room = requests.room(), if !outgoing.is_empty() => match room {
                    Ok(room) => if let Some(request) = outgoing.pop_front() {
                        room.send(wire_messages::request(request, first.take()));
                    },
                    Err(error) => return Some(error.into()),
                },
                response = responses.next() => {
                    let response = match response {
                        Ok(response) => response,
                        Err(error) => return Some(error.into()),
                    };
                    match self.subscriptions.received(wire_messages::response(response)) {
                        Ok(update) => outgoing.extend(self.apply(update)),
                        Err(violation) => return Some(violation.into()),
                    }
                }
                request = inbox.recv() => self.take(request?),
                () = until(self.waiting.due()) => self.ask_queued(),
                () = until(self.write_at) => self.write(),
                // Without a stream nothing is given up: it could not be had again.
                () = sleep_until(self.unused.due()) => self.give_up_unused(),
            }
            if outgoing.is_empty() {
                outgoing.extend(self.subscriptions.request());
            }
        }
    }

    /// Waits for `event`, answering what can be answered meanwhile; none when nobody
    /// asks any more.
    async fn answering<T>(
        &mut self,
        event: impl Future<Output = T>,
        inbox: &mut mpsc::Receiver<ConfigRequest>,
    ) -> Option<T> {
        let mut event = std::pin::pin!(event);
        loop {
            tokio::select! {
                happened = &mut event => return Some(happened),
                request = inbox.recv() => self.take(request?),
                () = until(self.waiting.due()) => self.ask_queued(),
                () = until(self.write_at) => self.write(),
            }
        }
    }

    fn take(&mut self, request: ConfigRequest) {
        match request {
            ConfigRequest::Interest(interest, answered) => self.ask(interest, answered),
            ConfigRequest::Snapshot(sender) => {
                let held = self.resources.iter();
                let held = held.map(|(name, json)| (name.to_string(), Arc::clone(json)));
                let directory = ("directory".to_owned(), self.directory().into());
                let _ = sender.send(held.chain([directory]).collect());
            }
        }
    }

    fn ask(&mut self, interest: Interest, answered: oneshot::Sender<()>) {
        if self.publish.tables.borrow().knows(&interest) {
            let _ = answered.send(());
        } else if self.waiting.add(&interest, answered) {
            self.want(&interest);
        }
    }

    fn ask_queued(&mut self) {
        for interest in self.waiting.next_window(Instant::now()) {
            self.want(&interest);
        }
    }

    fn give_up_unused(&mut self) {
        let table = Arc::clone(&self.publish.tables.borrow());
        self.unused.look(Instant::now(), &table, &mut self.subscriptions);
        self.publish.interests.send_replace(self.subscriptions.interests().len());
    }

    /// Asks for `interest`, unless it is clear that there will be no answer: it is held
    /// and yet not in the table, so it was refused; or the server would read it as
    /// something else, or refuse it.
    fn want(&mut self, interest: &Interest) {
        let name = interest.to_string();
        let same = name.parse().is_ok_and(|read: Interest| read == *interest);
        if !same || self.subscriptions.want(&name) != Standing::Asked {
            self.waiting.refuse(interest);
        }
        self.publish.interests.send_replace(self.subscriptions.interests().len());
    }

    /// Puts an update in force as a whole, and says what of it cannot be.
    fn apply(&mut self, update: Update) -> Option<Request> {
        let mut refused = Vec::new();
        let mut changes: Vec<(String, Option<Arc<Resource>>)> = Vec::new();
        let mut bodies = Vec::new();
        for resource in update.changed {
            match weft_config::decode(&resource.body) {
                Ok(read) => {
                    let read = Arc::new(read);
                    let body = match is_kept(&read) {
                        // A copy, so that the message that it came in can go.
                        true => Body::Text(Arc::from(&*resource.body)),
                        false => Body::Resource(Arc::clone(&read)),
                    };
                    changes.push((resource.name.to_string(), Some(read)));
                    bodies.push((resource.name, resource.version, body));
                }
                Err(error) => {
                    refused.push(Refusal { name: resource.name, why: error.to_string() });
                }
            }
        }
        for name in &update.removed {
            changes.push((name.to_string(), None));
        }
        let current = Arc::clone(&self.publish.tables.borrow());
        let (table, rejected) = current.with(changes);
        for rejected in rejected {
            tracing::warn!(
                resource = rejected.name,
                reason = rejected.reason,
                "a piece of configuration cannot be used; the one before stays in force"
            );
            refused.push(Refusal { name: rejected.name.into(), why: rejected.reason });
        }
        for (name, version, body) in bodies {
            if !refused.iter().any(|refusal| refusal.name == name) {
                self.unwritten.insert(Arc::clone(&name), Some((version, body.clone())));
                if let Body::Text(json) = body {
                    self.resources.insert(name, json);
                }
            }
        }
        for name in &update.removed {
            self.unwritten.insert(Arc::clone(name), None);
            self.resources.remove(name);
        }
        self.publish.tables.send_replace(Arc::new(table));
        self.answer(&update.removed);
        self.write_at.get_or_insert_with(|| Instant::now() + WRITE_DELAY);
        self.subscriptions.refused(&update.nonce, refused)
    }

    /// Tells those whose configuration is in force, and those who will get none.
    fn answer(&mut self, removed: &[Name]) {
        let table = self.publish.tables.borrow();
        let gone: Vec<Interest> = removed.iter().filter_map(|name| name.parse().ok()).collect();
        self.waiting.answer(|interest| table.knows(interest), |interest| gone.contains(interest));
    }

    fn restore(&mut self, written: Vec<SavedResource>) {
        let mut changes = Vec::new();
        for SavedResource { name, version, body } in written {
            let Ok(resource) = weft_config::decode(&body) else { continue };
            if let Resource::Answer(answer) = &resource
                && !matches!(answer.interest, Interest::Own | Interest::Directory(_))
            {
                self.subscriptions.want(&name);
            }
            self.subscriptions.restore(&name, version);
            if is_kept(&resource) {
                self.resources.insert(Arc::clone(&name), Arc::from(&*body));
            }
            changes.push((name.to_string(), Some(Arc::new(resource))));
        }
        if !changes.is_empty() {
            let (table, _) = self.publish.tables.borrow().with(changes);
            self.publish.tables.send_replace(Arc::new(table));
        }
        self.publish.interests.send_replace(self.subscriptions.interests().len());
    }

    /// The size of the directory, as JSON for people.
    fn directory(&self) -> Vec<u8> {
        let tables = self.publish.tables.borrow();
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
        match &self.state {
            Some(state) => state.write(&mut self.unwritten),
            None => self.unwritten.clear(),
        }
        if !self.unwritten.is_empty() {
            // The writer is busy with what came before.
            self.write_at = Some(Instant::now() + WRITE_DELAY);
        }
    }
}

fn is_kept(resource: &Resource) -> bool {
    !matches!(resource, Resource::Directory(_))
}

/// Opens a stream.
async fn connect(
    options: options::Stream,
    dialer: Dialer,
) -> Result<(Requests, Responses), NoStream> {
    let read = |path: &Path| {
        fs::read_to_string(path)
            .map_err(|source| NoStream::File { path: path.display().to_string(), source })
    };
    let trusted = options.ca_pem.as_deref().map(read).transpose()?;
    let token = options.token.as_deref().map(read).transpose()?;
    let mut address = options.address;
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let name = options.name.unwrap_or_else(|| host.to_owned());
    if dialer.mark().is_some() {
        let tunnel = control_plane_relay::open(&address, &dialer).await;
        let failed = |source| NoStream::Connect { address: address.clone(), source };
        address = tunnel.map_err(failed)?.to_string();
    }
    let tls = trusted.as_deref().map(tls::trusting).transpose()?;
    Ok(connect_to(&Target { address, name, tls }, token.as_deref()).await?)
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
    tracing::warn!("no configuration stream: {text}; the configuration so far stays in force");
}

#[cfg(test)]
mod tests;

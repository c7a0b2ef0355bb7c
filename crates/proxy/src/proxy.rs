//! The whole proxy: its threads, and what they do from beginning to end.
//!
//! One thread keeps configuration, sockets and ports; the others serve. When the
//! end is asked for, nothing more is accepted, connections end as they become
//! idle, and after a while they are cut.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::LocalOptions,
    sync::{mpsc, watch},
    time::{Instant, interval, sleep_until, timeout_at},
};
use weft_balance::Rng;
use weft_decide::{Table, Unanswered};
use weft_process::{
    log::Levels,
    shutdown::{self, Stop, Stopping},
};

use crate::{
    admin::server::{self, Admin, Pages},
    config::{
        client::{ConfigClient, Publish},
        handle::{self, ConfigHandle, ConfigRequest},
    },
    io::buffer_limit::Buffers,
    listen::{
        admission::Admission,
        file_descriptors,
        listener_manager::Listeners,
        status::{ListenerState, ListenerStatus},
    },
    options::{Options, Source},
    telemetry::{
        access_log::{self, Sink},
        metrics::{Metrics, Turns},
    },
    upstream::{dial::Dialer, dns::Resolver, reach::OwnSockets},
    worker::{Handle, state::Parts},
};

/// How often the state of backends that are gone is looked at.
const SWEEP: Duration = Duration::from_secs(60);

/// Why a proxy cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The system does not give threads or event queues.
    #[error("starting the proxy's threads")]
    Start(#[source] io::Error),
    /// A port of its own is taken, or the application's probes cannot be read.
    #[error("opening the proxy's own ports (admin, metrics, probes)")]
    Ports(#[source] io::Error),
    /// The thread that keeps everything together broke.
    #[error("the proxy's main thread ended unexpectedly")]
    Broken,
}

/// A proxy that runs in threads of this process.
pub struct Proxy {
    stop: Stop,
    ready: watch::Receiver<bool>,
    listeners: watch::Receiver<Vec<ListenerStatus>>,
    addresses: watch::Receiver<BTreeMap<String, SocketAddr>>,
    thread: JoinHandle<Result<(), ProxyError>>,
}

/// Runs a proxy until the process is asked to end.
pub fn run(options: Options, levels: Levels) -> Result<(), ProxyError> {
    if let Err(error) = file_descriptors::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let proxy = Proxy::start(options, levels)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ProxyError::Start)?;
    let stop = proxy.stop.clone();
    runtime.block_on(stop.on_signals()).map_err(ProxyError::Start)?;
    proxy.end()
}

impl Proxy {
    /// Starts a proxy.
    pub fn start(options: Options, levels: Levels) -> Result<Self, ProxyError> {
        let (stop, stopping) = shutdown::channel();
        let (ready_sender, ready) = watch::channel(false);
        let (listeners_sender, listeners) = watch::channel(Vec::new());
        let (addresses_sender, addresses) = watch::channel(BTreeMap::new());
        let status = Status {
            ready: ready_sender,
            listeners: listeners_sender,
            addresses: addresses_sender,
        };
        let ends = (stop.clone(), stopping);
        let thread = thread::Builder::new()
            .name("proxy".into())
            .spawn(move || main(options, levels, ends, status))
            .map_err(ProxyError::Start)?;
        Ok(Self { stop, ready, listeners, addresses, thread })
    }

    /// Whether connections are served as configured.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// Every listener, and whether its socket is open.
    pub fn listeners(&self) -> watch::Receiver<Vec<ListenerStatus>> {
        self.listeners.clone()
    }

    /// Addresses of listeners and ports, by name.
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.addresses.borrow().clone()
    }

    /// Asks for the end, without waiting for it.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Asks for the end, and waits for it.
    pub fn end(self) -> Result<(), ProxyError> {
        self.stop.stop();
        self.thread.join().unwrap_or(Err(ProxyError::Broken))
    }
}

/// What the owner of a proxy sees of it.
struct Status {
    ready: watch::Sender<bool>,
    listeners: watch::Sender<Vec<ListenerStatus>>,
    addresses: watch::Sender<BTreeMap<String, SocketAddr>>,
}

fn main(
    options: Options,
    levels: Levels,
    ends: (Stop, Stopping),
    status: Status,
) -> Result<(), ProxyError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(ProxyError::Start)?;
    let stop = ends.0.clone();
    let ended = runtime.block_on(keep(options, levels, ends, status));
    // Everything that waits for the end is woken, whatever the reason.
    stop.stop();
    // Connections that are still open have exceeded the drain limit.
    runtime.shutdown_background();
    ended
}

async fn keep(
    options: Options,
    levels: Levels,
    (stop, mut stopping): (Stop, Stopping),
    status: Status,
) -> Result<(), ProxyError> {
    let sink = access_log::start().map_err(ProxyError::Start)?;
    let (config, requests) = handle::channel();
    let own = OwnSockets::default();
    let dialer = Dialer::new(options.mark).reaching(options.reach).sparing(own.clone());
    let first = Arc::new(Table::new());
    let (sender, tables) = watch::channel(Arc::clone(&first));
    let closed = Arc::default();
    let buffers: Arc<Buffers> = Arc::default();
    let (counted, interests) = watch::channel(0);
    let metrics = Arc::<Metrics>::default();
    let parts = Parts {
        dialer: dialer.clone(),
        resolver: Resolver::start(),
        sink: sink.clone(),
        metrics: Arc::clone(&metrics),
        config: config.clone(),
        tables: tables.clone(),
        closed: Arc::clone(&closed),
        buffers: Arc::clone(&buffers),
    };
    let workers = workers(options.workers, &parts).map_err(ProxyError::Start)?;
    let pages = Pages {
        tables: tables.clone(),
        workers: Arc::clone(&workers),
        config: config.clone(),
        interests,
        metrics,
        ready: status.ready.subscribe(),
        closed: Arc::clone(&closed),
        listeners: status.listeners.subscribe(),
        sink: sink.clone(),
        stop,
        levels,
        dialer: dialer.clone(),
        application: options.application,
        turns: Turns::default(),
    };
    let admin = Admin::start(pages, options.ports).map_err(ProxyError::Ports)?;
    let (ended, ending) = shutdown::channel();
    let publish = Publish { tables: sender, interests: counted };
    let (source, of_config) = (options.source, dialer.clone());
    thread::Builder::new()
        .name("config".into())
        .spawn(move || configuration(source, publish, requests, (of_config, ending)))
        .map_err(ProxyError::Start)?;
    tokio::task::spawn_local(sweep(tables.clone()));
    let admission = Admission::new(Arc::clone(&workers), closed);
    let listeners = Listeners::new(admission, options.sockets);
    let ports = admin.addresses();
    let mut supervisor =
        Supervisor { listeners, ports, status, tables, first, buffers, dialer, own };
    supervisor.keep(&mut stopping).await;
    supervisor.listeners.close();
    drain(&workers, options.drain).await;
    ended.stop();
    admin.end();
    finish(&sink, config);
    Ok(())
}

fn workers(count: usize, parts: &Parts) -> io::Result<Arc<Vec<Handle>>> {
    let workers = (0..count.max(1)).map(|number| Handle::start(number, parts.clone()));
    Ok(Arc::new(workers.collect::<io::Result<_>>()?))
}

/// The thread of the configuration, which is busy when there is much of it.
fn configuration(
    source: Source,
    publish: Publish,
    requests: mpsc::Receiver<ConfigRequest>,
    (dialer, mut ending): (Dialer, Stopping),
) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    match builder.enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                () = configure(source, publish, requests, dialer) => {}
                () = ending.stopped() => {}
            }
        }),
        Err(error) => tracing::error!(%error, "the configuration's thread cannot start"),
    }
}

/// Keeps the table what the source says.
async fn configure(
    source: Source,
    publish: Publish,
    mut requests: mpsc::Receiver<ConfigRequest>,
    dialer: Dialer,
) {
    let file = match source {
        Source::Stream(stream) => {
            let rng = Rng::new(fastrand::u64(..));
            return ConfigClient::new(stream, publish, dialer).run(requests, rng).await;
        }
        Source::File(file) => file,
    };
    let known = server::bodies(&file.resources);
    let changes = file.resources.into_iter().map(|one| (one.name(), Some(Arc::new(one))));
    let (table, rejected) = Table::new().when_unanswered(Unanswered::Outside).with(changes);
    for rejected in rejected {
        tracing::error!(
            resource = rejected.name,
            reason = rejected.reason,
            "a piece of the configuration cannot be used"
        );
    }
    publish.tables.send_replace(Arc::new(table));
    while let Some(request) = requests.recv().await {
        // A file answers no further interests: their senders are dropped.
        if let ConfigRequest::Snapshot(answer) = request {
            let _ = answer.send(known.clone());
        }
    }
}

/// Drops, from time to time, what is remembered of backends that are gone for long.
async fn sweep(tables: watch::Receiver<Arc<Table>>) {
    let mut tick = interval(SWEEP);
    while tables.has_changed().is_ok() {
        tick.tick().await;
        tables.borrow().register().sweep(Instant::now().into_std());
    }
}

/// Keeps the listeners in step with the table, and the status in step with both.
struct Supervisor {
    listeners: Listeners,
    ports: Vec<(&'static str, SocketAddr)>,
    status: Status,
    tables: watch::Receiver<Arc<Table>>,
    /// The table that knows nothing.
    first: Arc<Table>,
    buffers: Arc<Buffers>,
    dialer: Dialer,
    own: OwnSockets,
}

impl Supervisor {
    async fn keep(&mut self, stopping: &mut Stopping) {
        loop {
            let table = Arc::clone(&self.tables.borrow_and_update());
            let limits = table.settings().limits;
            self.buffers.limit(&limits);
            self.dialer.limit(&limits);
            self.listeners.reconcile(table.listeners(), &limits, Instant::now());
            // A listener that cannot be opened must not keep the others from being used.
            let every_listener_was_tried = !Arc::ptr_eq(&table, &self.first);
            self.report(every_listener_was_tried);
            let again = self.listeners.next_try();
            tokio::select! {
                changed = self.tables.changed() => if changed.is_err() { return },
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
                () = stopping.stopped() => return,
            }
        }
    }

    fn report(&self, ready: bool) {
        let listeners = self.listeners.status();
        let open = listeners.iter().filter_map(|one| match one.state {
            ListenerState::Open { address } => Some((one.name.clone(), address)),
            ListenerState::Failed { .. } => None,
        });
        let ports = self.ports.iter().map(|(name, at)| ((*name).to_owned(), *at));
        let addresses: BTreeMap<_, _> = open.chain(ports).collect();
        self.own.set(addresses.values().copied().collect());
        self.status.addresses.send_replace(addresses);
        self.status.listeners.send_if_modified(|known| {
            *known != listeners && {
                *known = listeners;
                true
            }
        });
        // Once ready, always ready: a proxy that served keeps what it has.
        self.status.ready.send_if_modified(|known| ready && !std::mem::replace(known, true));
    }
}

/// Waits until the workers have no connections left, or `limit` is over.
async fn drain(workers: &[Handle], limit: Duration) {
    let deadline = Instant::now() + limit;
    for worker in workers {
        let _ = timeout_at(deadline, worker.drain()).await;
    }
    let mut look = interval(Duration::from_millis(5));
    while !workers.iter().all(Handle::has_ended) {
        tokio::select! {
            _ = look.tick() => {}
            () = sleep_until(deadline) => return,
        }
    }
}

fn finish(sink: &Sink, config: ConfigHandle) {
    drop(config);
    sink.flush();
}

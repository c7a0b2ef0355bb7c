//! One thread's share of the work: its table, connections, counts and log.
//!
//! Nothing here is shared with other workers but what `balance` shares; others
//! talk to a worker by commands.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{SocketAddr, TcpStream as StdTcpStream},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use http::HeaderValue;
use tokio::{
    net::TcpStream,
    runtime::LocalOptions,
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use weft_balance::Rng;
use weft_decide::{CompiledBackend, CompiledRule, Table};

use crate::{
    admin::drain::Drain,
    config::subscriptions::Asks,
    connection,
    listen::listener::Listener,
    record::{access_log::Sink, access_log_buffer::Journal, metrics::Registry},
    upstream::{dial::Dialer, pool::Lines, resolve::Names},
};

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(30);
/// Connections that wait for a worker that is busy.
const WAITING: usize = 4096;

/// One thread's share of the work.
pub struct Worker {
    /// How connections are made.
    pub dialer: Dialer,
    /// Connections to servers.
    pub lines: Lines,
    /// What is counted.
    pub registry: RefCell<Registry>,
    /// The access log.
    pub journal: Rc<Journal>,
    /// Questions about configuration.
    pub asks: Asks,
    /// Connections, and whether they are to end.
    pub drain: Rc<Drain>,
    /// Addresses of names.
    pub names: Names,
    decorators: RefCell<HashMap<(usize, usize), Decorator>>,
    updates: RefCell<watch::Receiver<Arc<Table>>>,
    table: RefCell<Arc<Table>>,
    rng: RefCell<Rng>,
}

/// The name of an operation, with what it was made for, so that the addresses it
/// is found by stay theirs.
struct Decorator {
    _rule: Arc<CompiledRule>,
    _backend: Arc<CompiledBackend>,
    text: HeaderValue,
}

/// What is told to a worker.
pub enum Command {
    /// Serve this connection.
    Serve(StdTcpStream, Arc<Listener>, SocketAddr),
    /// Say what was counted.
    Count(oneshot::Sender<Registry>),
    /// End connections as they become idle, and the thread after the last one.
    Drain,
}

/// The others' end of a worker.
pub struct Handle {
    commands: mpsc::Sender<Command>,
    connections: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

/// What a worker is made of.
#[derive(Clone)]
pub struct Parts {
    /// How connections are made.
    pub dialer: Dialer,
    /// Where lines of the access log go.
    pub sink: Sink,
    /// Questions about configuration.
    pub asks: Asks,
    /// The table in force.
    pub tables: watch::Receiver<Arc<Table>>,
}

impl Handle {
    /// Starts worker number `number`.
    pub fn start(number: usize, parts: Parts) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel(WAITING);
        let connections = Arc::new(AtomicUsize::new(0));
        let load = Arc::clone(&connections);
        let name = format!("worker-{number}");
        let (told, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name(name).spawn(move || {
            // It belongs to the thread that makes it.
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = match builder.enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return drop(told.send(Err(error))),
            };
            let _ = told.send(Ok(()));
            let worker = Rc::new(Worker::new(parts, fastrand::u64(..)));
            runtime.block_on(worker.run(receiver, load));
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self { commands, connections, thread })
    }

    /// How many connections it has.
    pub fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Tells it something; false when it is gone or far behind.
    pub fn tell(&self, command: Command) -> bool {
        let serve = matches!(command, Command::Serve(..));
        let told = self.commands.try_send(command).is_ok();
        if told && serve {
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
        told
    }

    /// What it counted.
    pub async fn count(&self) -> Option<Registry> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Count(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

impl Worker {
    fn new(parts: Parts, seed: u64) -> Self {
        let Parts { dialer, sink, asks, mut tables } = parts;
        let table = Arc::clone(&tables.borrow_and_update());
        let journal = Journal::new(sink);
        journal.configure(table.settings().access_log.as_ref());
        Self {
            dialer,
            asks,
            lines: Lines::default(),
            registry: RefCell::default(),
            journal: Rc::new(journal),
            drain: Rc::default(),
            names: Names::default(),
            decorators: RefCell::default(),
            updates: RefCell::new(tables),
            table: RefCell::new(table),
            rng: RefCell::new(Rng::new(seed)),
        }
    }

    /// Looks something up in the table in force.
    pub fn decide<T>(&self, look: impl FnOnce(&Table, &mut Rng) -> T) -> T {
        let mut updates = self.updates.borrow_mut();
        if updates.has_changed().unwrap_or(false) {
            let table = Arc::clone(&updates.borrow_and_update());
            self.journal.configure(table.settings().access_log.as_ref());
            *self.table.borrow_mut() = table;
        }
        look(&self.table.borrow(), &mut self.rng.borrow_mut())
    }

    /// Randomness of this thread.
    pub fn random(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    /// Randomness for what takes it as an argument.
    pub fn with_rng<T>(&self, use_it: impl FnOnce(&mut Rng) -> T) -> T {
        use_it(&mut self.rng.borrow_mut())
    }

    /// The name of the operation that `rule` sends to `backend`.
    pub fn decorator(
        &self,
        rule: &Arc<CompiledRule>,
        backend: &Arc<CompiledBackend>,
    ) -> Option<HeaderValue> {
        let key = (Arc::as_ptr(rule).addr(), Arc::as_ptr(backend).addr());
        let mut decorators = self.decorators.borrow_mut();
        if let Some(known) = decorators.get(&key) {
            return Some(known.text.clone());
        }
        let text = crate::upstream::decorator::operation(&rule.data, &backend.data)?;
        if decorators.len() >= 1024 {
            decorators.clear();
        }
        let (_rule, _backend) = (Arc::clone(rule), Arc::clone(backend));
        decorators.insert(key, Decorator { _rule, _backend, text: text.clone() });
        Some(text)
    }

    async fn run(self: Rc<Self>, mut commands: mpsc::Receiver<Command>, load: Arc<AtomicUsize>) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                _ = sweep.tick() => {
                    self.lines.sweep(Instant::now());
                    self.names.sweep();
                    continue;
                }
            };
            match command {
                Some(Command::Serve(stream, listener, client)) => {
                    self.serve(stream, listener, client, &load)
                }
                Some(Command::Count(told)) => {
                    let _ = told.send(self.registry.borrow().clone());
                }
                Some(Command::Drain) => {
                    self.drain.start();
                    break;
                }
                None => return,
            }
        }
        self.end(commands).await;
    }

    /// Stays until the last connection has ended; whoever waits has the deadline.
    async fn end(&self, mut commands: mpsc::Receiver<Command>) {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while self.drain.count() > 0 {
            tokio::select! {
                _ = look.tick() => {}
                command = commands.recv() => match command {
                    Some(Command::Count(told)) => {
                        let _ = told.send(self.registry.borrow().clone());
                    }
                    Some(_) => {}
                    None => break,
                },
            }
        }
        self.journal.finish();
    }

    fn serve(
        self: &Rc<Self>,
        stream: StdTcpStream,
        listener: Arc<Listener>,
        client: SocketAddr,
        load: &Arc<AtomicUsize>,
    ) {
        let worker = Rc::clone(self);
        let (guard, counted) = (self.drain.enter(), Counted(Arc::clone(load)));
        tokio::task::spawn_local(async move {
            let _counted = counted;
            match TcpStream::from_std(stream) {
                Ok(stream) => connection::serve(worker, listener, (stream, client), guard).await,
                Err(error) => tracing::debug!(%error, "a connection cannot be used"),
            }
        });
    }
}

/// A connection that counts until this is dropped, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

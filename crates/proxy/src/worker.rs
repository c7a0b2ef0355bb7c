//! One worker: a thread that serves connections, and the others' end of it.

pub mod state;
pub mod open_connections;
pub mod live_relays;
mod pair_cache;

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpStream as StdTcpStream},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::LocalOptions,
    sync::{Notify, mpsc, oneshot},
};

use weft_process::allocator;

use crate::{
    connection::{self, accepted_connection::AcceptedConnection},
    listen::listener::Listener,
    worker::open_connections::IdleConnection,
    worker::state::{Parts, WorkerState},
};

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(30);
/// How often memory that was freed is given back.
const GIVE_BACK: Duration = Duration::from_secs(10);
/// Commands that wait for a worker that is busy. Connections beyond that wait in the kernel's
/// queue, so that no question about idle ones waits behind many that are new.
const WAITING: usize = 1024;

/// What a worker is to do.
pub enum Command {
    /// Serve this connection, one of the worker's.
    Serve(NewConnection, Counted),
    /// Say which connections are idle.
    Idlest(Idlest),
    /// Close these connections, where they are still idle.
    Shed(Vec<IdleConnection>, StillOpen),
    /// End connections as they become idle, and the thread after the last one.
    Drain,
}

/// A connection for a worker.
pub struct NewConnection {
    /// The connection.
    pub socket: StdTcpStream,
    /// The other end's address.
    pub client: SocketAddr,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Its place among the listener's connections.
    pub counted: Counted,
    /// Says that it has ended.
    pub freed: Freed,
}

/// Held by connections that are being closed, so that the receiver ends with the last of them.
pub type StillOpen = mpsc::Sender<std::convert::Infallible>;

/// A question for the idlest connections.
pub struct Idlest {
    /// How many.
    count: usize,
    /// Of the listener that counts its connections in this; of any when absent.
    of: Option<Arc<AtomicUsize>>,
    /// Since when they have been idle, at the latest.
    before: Instant,
    answer: oneshot::Sender<Vec<IdleConnection>>,
}

/// The others' end of a worker.
pub struct Handle {
    commands: mpsc::Sender<Command>,
    connections: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Handle {
    /// Starts worker number `number`.
    pub fn start(number: usize, parts: Parts) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel(WAITING);
        let connections = Arc::new(AtomicUsize::new(0));
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
            let state = Rc::new(WorkerState::new(parts, fastrand::u64(..)));
            runtime.block_on(Worker { state }.run(receiver));
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self { commands, connections, thread })
    }

    /// How many connections it has; none can be had of one whose thread has ended.
    pub fn load(&self) -> Option<usize> {
        (!self.commands.is_closed()).then(|| self.connections.load(Ordering::Relaxed))
    }

    /// A place for a connection that it is to serve, once it is not far behind; none when it
    /// has ended.
    pub async fn place(&self) -> Option<WorkerPlace<'_>> {
        let permit = self.commands.reserve().await.ok()?;
        Some(WorkerPlace { permit, connections: &self.connections })
    }

    /// The same, where it is not far behind now.
    pub fn place_now(&self) -> Option<WorkerPlace<'_>> {
        let permit = self.commands.try_reserve().ok()?;
        Some(WorkerPlace { permit, connections: &self.connections })
    }

    /// Asks for its `count` idlest connections, idle since `before` at the latest, of the listener
    /// that counts its connections in `of` where that is given. One that has ended does not
    /// answer.
    pub async fn idlest(
        &self,
        count: usize,
        of: Option<&Arc<AtomicUsize>>,
        before: Instant,
    ) -> oneshot::Receiver<Vec<IdleConnection>> {
        let (answer, answered) = oneshot::channel();
        let question = Idlest { count, of: of.cloned(), before, answer };
        let _ = self.commands.send(Command::Idlest(question)).await;
        answered
    }

    /// Has it close these connections, where they are still idle; until they have ended they
    /// hold `open`.
    pub async fn shed(&self, idle: Vec<IdleConnection>, open: &StillOpen) {
        if !idle.is_empty() {
            // It fails only when the thread has ended.
            let _ = self.commands.send(Command::Shed(idle, open.clone())).await;
        }
    }

    /// Has it end connections as they become idle, and its thread after the last one.
    pub async fn drain(&self) {
        // It fails only when the thread has ended.
        let _ = self.commands.send(Command::Drain).await;
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// A place for a connection at a worker.
pub struct WorkerPlace<'h> {
    permit: mpsc::Permit<'h, Command>,
    connections: &'h Arc<AtomicUsize>,
}

impl WorkerPlace<'_> {
    /// Has the worker serve `incoming`.
    pub fn serve(self, incoming: NewConnection) {
        self.permit.send(Command::Serve(incoming, Counted::one_of(self.connections)));
    }
}

/// The loop of a worker.
struct Worker {
    state: Rc<WorkerState>,
}

impl Worker {
    /// Serves what it is given until it is to drain, and then until the last connection ends.
    async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP);
        let mut give_back = tokio::time::interval(GIVE_BACK);
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                _ = sweep.tick() => {
                    self.state.sweep();
                    continue;
                }
                _ = give_back.tick() => {
                    allocator::give_back();
                    continue;
                }
            };
            match command {
                Some(Command::Drain) => break,
                Some(command) => self.obey(command),
                None => return,
            }
        }
        self.state.connections.start();
        self.end(commands).await;
    }

    fn obey(&self, command: Command) {
        match command {
            Command::Serve(incoming, counted) => self.serve(incoming, counted),
            Command::Idlest(Idlest { count, of, before, answer }) => {
                let _ = answer.send(self.state.connections.idlest(count, of.as_ref(), before));
            }
            Command::Shed(idle, open) => self.state.connections.shed(&idle, &open),
            Command::Drain => {}
        }
    }

    /// Stays until the last connection has ended; the supervisor has the deadline. Connections
    /// that were accepted before are still served.
    async fn end(&self, mut commands: mpsc::Receiver<Command>) {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while self.state.connections.count() > 0 || !commands.is_empty() {
            tokio::select! {
                _ = look.tick() => {}
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
            }
        }
        self.state.access_log.finish();
    }

    fn serve(&self, incoming: NewConnection, counted: Counted) {
        let NewConnection { socket, client, listener, counted: of_listener, freed } = incoming;
        let state = Rc::clone(&self.state);
        let counts = Rc::new(Counts {
            listener: of_listener,
            _worker: counted,
            _freed: freed,
            still_open: RefCell::default(),
        });
        let guard = state.connections.enter(Some(&counts.listener.0)).counted(counts);
        let limits = state.decide(|table, _| table.settings().limits);
        tokio::task::spawn_local(async move {
            match AcceptedConnection::tcp(socket, client, &listener, &limits) {
                Ok(accepted) => connection::serve(state, listener, accepted, guard).await,
                Err(reason) => state.closed.count(reason),
            }
        });
    }
}

/// The counts that a connection is part of, until the last of its parts has ended: the HTTP
/// connection, or what became of it by an upgrade.
#[derive(Debug)]
pub struct Counts {
    /// The connections of its listener.
    pub listener: Counted,
    _worker: Counted,
    // After the counts have changed, others learn of it.
    _freed: Freed,
    still_open: RefCell<Option<StillOpen>>,
}

impl Counts {
    /// Holds this until the connection no longer counts.
    pub fn hold(&self, still_open: StillOpen) {
        self.still_open.replace(Some(still_open));
    }
}

/// Says when it is dropped that there is room for another connection.
#[derive(Debug)]
pub struct Freed(pub Arc<Notify>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// One of a count, until it is dropped.
#[derive(Debug)]
pub struct Counted(pub Arc<AtomicUsize>);

impl Counted {
    /// One more of `count`.
    pub fn one_of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! One worker: a thread that serves connections, and the others' end of it.

pub mod state;
pub mod open_connections;
mod pair_cache;

use std::{
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

use tokio::{
    runtime::LocalOptions,
    sync::{mpsc, oneshot},
};

use crate::{
    connection::{self, original_destination::AcceptedConnection},
    listen::listener::Listener,
    worker::open_connections::IdleConnection,
    worker::state::{Parts, WorkerState},
};

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(30);
/// Connections that wait for a worker that is busy.
const WAITING: usize = 4096;

/// What a worker is to do.
pub enum Command {
    /// Serve this connection, one of the worker's.
    Serve(Incoming, Counted),
    /// Say which connections are idle.
    Idlest(Idlest),
    /// Close these connections, where they are still idle.
    Shed(Vec<IdleConnection>),
    /// End connections as they become idle, and the thread after the last one.
    Drain,
}

/// A connection for a worker.
pub struct Incoming {
    /// The connection.
    pub socket: StdTcpStream,
    /// The other end's address.
    pub client: SocketAddr,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Its place among the listener's connections.
    pub counted: Counted,
}

/// A question for the idlest connections.
pub struct Idlest {
    /// How many.
    count: usize,
    /// Of the listener that counts its connections in this; of any when absent.
    of: Option<Arc<AtomicUsize>>,
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

    /// Gives it a connection to serve, and gets that back when it has ended or is far behind.
    pub fn serve(&self, incoming: Incoming) -> Result<(), Incoming> {
        let counted = Counted::one_of(&self.connections);
        let sent = self.commands.try_send(Command::Serve(incoming, counted));
        sent.or_else(|error| match error.into_inner() {
            Command::Serve(incoming, _) => Err(incoming),
            Command::Idlest(_) | Command::Shed(_) | Command::Drain => Ok(()),
        })
    }

    /// Asks for its `count` idlest connections, of the listener that counts its connections
    /// in `of` where that is given. One that is far behind does not answer.
    pub fn idlest(
        &self,
        count: usize,
        of: Option<&Arc<AtomicUsize>>,
    ) -> oneshot::Receiver<Vec<IdleConnection>> {
        let (answer, answered) = oneshot::channel();
        let question = Idlest { count, of: of.cloned(), answer };
        let _ = self.commands.try_send(Command::Idlest(question));
        answered
    }

    /// Has it close these connections, where they are still idle.
    pub fn shed(&self, idle: Vec<IdleConnection>) {
        if !idle.is_empty() {
            // One that is too far behind to hear of it is asked again with the next connection.
            let _ = self.commands.try_send(Command::Shed(idle));
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

/// The loop of a worker.
struct Worker {
    state: Rc<WorkerState>,
}

impl Worker {
    /// Serves what it is given until it is to drain, and then until the last connection ends.
    async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                _ = sweep.tick() => {
                    self.state.sweep();
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
            Command::Idlest(Idlest { count, of, answer }) => {
                let _ = answer.send(self.state.connections.idlest(count, of.as_ref()));
            }
            Command::Shed(idle) => self.state.connections.shed(&idle),
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

    fn serve(&self, incoming: Incoming, counted: Counted) {
        let Incoming { socket, client, listener, counted: of_listener } = incoming;
        let state = Rc::clone(&self.state);
        let counts = Rc::new(Counts { listener: of_listener, _worker: counted });
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

//! The process's one resolver: a task that owns the cache, and threads for lookups.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, interval, timeout},
};

use super::cache::{Answer, Cache, Name, ResolveError};

/// Threads that wait for the system's resolver at a time.
const MOST_THREADS: usize = 32;
/// Those of them that names with one ending may have: the server that knows them may be silent.
const MOST_THREADS_OF_ENDING: usize = 8;
/// Questions that wait for the task.
const MOST_QUESTIONS: usize = 4096;
/// How long one lookup may take; its thread may take longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often what is too old is forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// Asks the process's resolver.
#[derive(Clone, Debug)]
pub struct Resolver {
    questions: mpsc::Sender<Question>,
}

type Question = (Name, oneshot::Sender<Answer>);

/// What the system's resolver says of a name; called on a thread that may wait.
pub type Lookup = fn(&Name) -> io::Result<Vec<SocketAddr>>;

impl Resolver {
    /// Starts the resolver as a task of this runtime.
    pub fn start() -> Self {
        Self::with(|name| Ok((&*name.host, name.port).to_socket_addrs()?.collect()))
    }

    /// The same, on top of `lookup`.
    pub fn with(lookup: Lookup) -> Self {
        let (questions, receiver) = mpsc::channel(MOST_QUESTIONS);
        tokio::spawn(run(receiver, lookup));
        Self { questions }
    }

    /// The addresses of `name`, of all families, as the system orders them.
    pub async fn addresses(&self, name: Name) -> Answer {
        let (sender, answer) = oneshot::channel();
        if self.questions.try_send((name, sender)).is_err() {
            return Err(ResolveError::Overload);
        }
        answer.await.unwrap_or(Err(ResolveError::Overload))
    }
}

async fn run(mut questions: mpsc::Receiver<Question>, lookup: Lookup) {
    let mut threads = Threads::default();
    let (done, mut answers) = mpsc::unbounded_channel();
    let mut cache = Cache::default();
    let mut sweep = interval(SWEEP);
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some((name, answer)) = question else { return };
                if cache.ask(&name, answer, Instant::now()) {
                    let (threads, done) = (threads.of(&name), done.clone());
                    tokio::spawn(async move {
                        let looking = timeout(DEADLINE, look_up(name.clone(), threads, lookup));
                        let answer = looking.await.unwrap_or(Err(ResolveError::Silent));
                        let _ = done.send((name, answer));
                    });
                }
            }
            Some((name, answer)) = answers.recv() => {
                cache.answered(&name, &answer, Instant::now());
            }
            _ = sweep.tick() => {
                cache.sweep(Instant::now());
                threads.sweep();
            }
        }
    }
}

/// The threads that lookups may have.
struct Threads {
    all: Arc<Semaphore>,
    /// The share of names with one ending, by that.
    shares: HashMap<Box<str>, Arc<Semaphore>>,
}

impl Default for Threads {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST_THREADS)), shares: HashMap::new() }
    }
}

impl Threads {
    /// The share of `name`, and all of them.
    fn of(&mut self, name: &Name) -> [Arc<Semaphore>; 2] {
        let share = || Arc::new(Semaphore::new(MOST_THREADS_OF_ENDING));
        let share = self.shares.entry(ending(&name.host).into()).or_insert_with(share);
        [Arc::clone(share), Arc::clone(&self.all)]
    }

    /// Forgets shares that nobody has a part of.
    fn sweep(&mut self) {
        self.shares.retain(|_, share| Arc::strong_count(share) > 1);
    }
}

/// The last two labels of a name, which one organisation's servers know.
fn ending(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rmatch_indices('.').nth(1).map_or(host, |(dot, _)| &host[dot + 1..])
}

async fn look_up(name: Name, threads: [Arc<Semaphore>; 2], lookup: Lookup) -> Answer {
    let mut permits = Vec::with_capacity(threads.len());
    for threads in threads {
        permits.push(threads.acquire_owned().await.map_err(|_| ResolveError::Overload)?);
    }
    let looking = tokio::task::spawn_blocking(move || {
        // They are given back when the thread is free, which may be long after the deadline.
        let _permits = permits;
        lookup(&name)
    });
    match looking.await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(ResolveError::None("no records".into())),
        Ok(Ok(addresses)) => Ok(addresses.into()),
        Ok(Err(error)) => Err(ResolveError::None(error.to_string().into())),
        Err(_) => Err(ResolveError::None("the lookup broke".into())),
    }
}

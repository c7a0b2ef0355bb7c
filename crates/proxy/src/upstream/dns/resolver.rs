//! The process's one resolver: a task that owns the cache, and threads for lookups.

use std::{
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
    let threads = Arc::new(Semaphore::new(MOST_THREADS));
    let (done, mut answers) = mpsc::unbounded_channel();
    let mut cache = Cache::default();
    let mut sweep = interval(SWEEP);
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some((name, answer)) = question else { return };
                if cache.ask(&name, answer, Instant::now()) {
                    let (threads, done) = (Arc::clone(&threads), done.clone());
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
            _ = sweep.tick() => cache.sweep(Instant::now()),
        }
    }
}

async fn look_up(name: Name, threads: Arc<Semaphore>, lookup: Lookup) -> Answer {
    let permit = threads.acquire_owned().await.map_err(|_| ResolveError::Overload)?;
    let looking = tokio::task::spawn_blocking(move || {
        // It is given back when the thread is free, which may be long after the deadline.
        let _permit = permit;
        lookup(&name)
    });
    match looking.await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(ResolveError::None("no records".into())),
        Ok(Ok(addresses)) => Ok(addresses.into()),
        Ok(Err(error)) => Err(ResolveError::None(error.to_string().into())),
        Err(_) => Err(ResolveError::None("the lookup broke".into())),
    }
}

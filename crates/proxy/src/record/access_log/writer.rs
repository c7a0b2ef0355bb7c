//! The thread that writes lines to where they belong.
//!
//! Workers hand over whole buffers through a bounded queue. When the file does
//! not take them fast enough the queue is full, and lines are counted as lost.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

/// Buffers that wait to be written; beyond that lines are lost.
const WAITING: usize = 64;

/// A place that lines go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination(pub String);

/// A worker's end of the queue.
#[derive(Clone, Debug)]
pub struct Sink {
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

enum Job {
    Lines(Destination, Vec<u8>),
    /// Everything before it is written when the sender is told.
    Flush(SyncSender<()>),
}

/// Starts the thread.
pub fn start() -> io::Result<Sink> {
    let (queue, jobs) = sync_channel(WAITING);
    thread::Builder::new().name("access-log".into()).spawn(move || write_all(&jobs))?;
    Ok(Sink { queue, lost: Arc::default() })
}

impl Sink {
    /// Hands over `lines`, which are `count` many; never waits.
    pub fn put(&self, destination: &Destination, lines: Vec<u8>, count: u64) {
        if self.queue.try_send(Job::Lines(destination.clone(), lines)).is_err() {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over is written. For the end of a process.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Job::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(std::time::Duration::from_secs(1));
        }
    }
}

fn write_all(jobs: &Receiver<Job>) {
    let mut open: Vec<(Destination, Option<Box<dyn Write>>)> = Vec::new();
    for job in jobs {
        let (destination, lines) = match job {
            Job::Lines(destination, lines) => (destination, lines),
            Job::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        let at = open.iter().position(|(one, _)| *one == destination).unwrap_or_else(|| {
            let file = open_file(&destination);
            open.push((destination, file));
            open.len() - 1
        });
        if let Some(file) = &mut open[at].1
            && let Err(error) = file.write_all(&lines).and_then(|()| file.flush())
        {
            tracing::warn!(%error, path = open[at].0.0, "an access log cannot be written");
            open[at].1 = None;
        }
    }
}

fn open_file(destination: &Destination) -> Option<Box<dyn Write>> {
    match destination.0.as_str() {
        "/dev/stdout" => Some(Box::new(io::stdout())),
        "/dev/stderr" => Some(Box::new(io::stderr())),
        path => match OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => Some(Box::new(file)),
            Err(error) => {
                tracing::warn!(%error, path, "an access log cannot be opened; its lines are lost");
                None
            }
        },
    }
}

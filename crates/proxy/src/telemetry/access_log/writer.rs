//! The thread that writes lines to where they belong.
//!
//! Workers hand over whole buffers through a bounded queue. When the file does
//! not take them fast enough the queue is full, and lines are counted as lost. Nobody
//! waits for a file that blocks, not even at the end of the process.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Buffers that wait to be written; beyond that lines are lost.
const WAITING: usize = 64;
/// How often a file is looked at: whether it can be opened, or is still the one that
/// its path names.
const LOOK: Duration = Duration::from_secs(1);
/// How long the end of a process waits for what was handed over.
const PATIENCE: Duration = Duration::from_secs(1);

/// A place that lines go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination(pub String);

/// A worker's end of the queue.
#[derive(Clone, Debug)]
pub struct Sink {
    queue: SyncSender<Lines>,
    shared: Arc<Shared>,
}

/// Lines that were written together.
#[derive(Debug)]
struct Lines {
    destination: Destination,
    text: Vec<u8>,
    count: u64,
}

#[derive(Debug, Default)]
struct Shared {
    lost: AtomicU64,
    /// Buffers that were handed over and are not written yet.
    waiting: Mutex<usize>,
    written: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, usize> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_done(&self) {
        *self.waiting() -= 1;
        self.written.notify_all();
    }
}

/// Starts the thread.
pub fn start() -> io::Result<Sink> {
    let (queue, lines) = sync_channel(WAITING);
    let shared = Arc::<Shared>::default();
    let counted = Arc::clone(&shared);
    thread::Builder::new().name("access-log".into()).spawn(move || write_all(&lines, &counted))?;
    Ok(Sink { queue, shared })
}

impl Sink {
    /// Hands over `text`, which is `count` lines; never waits.
    pub fn write(&self, destination: &Destination, text: Vec<u8>, count: u64) {
        let lines = Lines { destination: destination.clone(), text, count };
        *self.shared.waiting() += 1;
        if self.queue.try_send(lines).is_err() {
            self.shared.lost.fetch_add(count, Relaxed);
            self.shared.is_done();
        }
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    /// Waits until everything handed over is written, but not for a file that blocks. For
    /// the end of a process.
    pub fn flush(&self) {
        let waiting = self.shared.waiting();
        // How it ends makes no difference: what is not written now is lost.
        drop(self.shared.written.wait_timeout_while(waiting, PATIENCE, |waiting| *waiting > 0));
    }
}

fn write_all(all: &Receiver<Lines>, shared: &Shared) {
    let mut outputs: Vec<LogOutput> = Vec::new();
    for Lines { destination, text, count } in all {
        let known = outputs.iter().position(|one| one.destination == destination);
        let at = known.unwrap_or_else(|| {
            outputs.push(LogOutput { destination, open: None, looked: None });
            outputs.len() - 1
        });
        if !outputs[at].write(&text) {
            shared.lost.fetch_add(count, Relaxed);
        }
        shared.is_done();
    }
}

/// One file, while it can be written.
struct LogOutput {
    destination: Destination,
    open: Option<Open>,
    looked: Option<Instant>,
}

enum Open {
    Stream(Box<dyn Write>),
    File(File),
}

impl LogOutput {
    /// Whether the lines are written.
    fn write(&mut self, text: &[u8]) -> bool {
        self.look();
        let written = match &mut self.open {
            Some(Open::Stream(stream)) => stream.write_all(text).and_then(|()| stream.flush()),
            Some(Open::File(file)) => file.write_all(text),
            None => return false,
        };
        if let Err(error) = &written {
            tracing::warn!(%error, path = self.destination.0, "the access log cannot be written");
            self.open = None;
        }
        written.is_ok()
    }

    /// Opens the file if it is not open, or if its path names another one by now.
    fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let path = &self.destination.0;
        if let Some(Open::File(file)) = &self.open {
            let same = |one: &fs::Metadata, other: &fs::Metadata| {
                (one.dev(), one.ino()) == (other.dev(), other.ino())
            };
            match (file.metadata(), fs::metadata(path)) {
                (Ok(open), Ok(named)) if same(&open, &named) => {}
                _ => self.open = None,
            }
        }
        if self.open.is_some() {
            return;
        }
        self.open = match path.as_str() {
            "/dev/stdout" => Some(Open::Stream(Box::new(io::stdout()))),
            "/dev/stderr" => Some(Open::Stream(Box::new(io::stderr()))),
            path => match OpenOptions::new().append(true).create(true).open(path) {
                Ok(file) => Some(Open::File(file)),
                Err(error) => {
                    tracing::warn!(%error, path, "the access log cannot be opened; its lines are lost");
                    None
                }
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &std::path::Path) -> Destination {
        Destination(path.display().to_string())
    }

    #[test]
    fn a_file_that_blocks_costs_lines_and_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        // Opening a pipe that nobody reads blocks for ever.
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let sink = start().unwrap();
        for _ in 0..WAITING + 11 {
            sink.write(&named(&pipe), b"a\nb\n".to_vec(), 2);
        }
        // One buffer may be in the writer's hands.
        assert!((20..=22).contains(&sink.lost()), "{}", sink.lost());
        let began = Instant::now();
        sink.flush();
        sink.flush();
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_file_that_fails_is_opened_again_and_what_was_lost_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("log");
        let mut output = LogOutput { destination: named(&path), open: None, looked: None };
        assert!(!output.write(b"lost\n"));
        fs::create_dir(folder.path().join("missing")).unwrap();
        assert!(!output.write(b"lost\n"), "not looked at again so soon");
        output.looked = None;
        assert!(output.write(b"one\n"));
        fs::rename(&path, path.with_extension("1")).unwrap();
        output.looked = None;
        assert!(output.write(b"two\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(path.with_extension("1")).unwrap(), "one\n");
        let sink = start().unwrap();
        sink.write(&Destination("/no/such/folder/log".to_owned()), b"x\n".to_vec(), 1);
        sink.flush();
        assert_eq!(sink.lost(), 1);
    }
}

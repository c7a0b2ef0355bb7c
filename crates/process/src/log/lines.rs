//! Lines on their way to standard error, which may block.
//!
//! A thread writes them. Who logs waits until the line is out, so that nothing is lost
//! when the process ends; but only for a moment, and not at all while the reader of
//! standard error does not read.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written; beyond that they are lost.
const WAITING: usize = 1024;
/// How long one line may hold up who logs it.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where the lines of a process go.
#[derive(Clone, Debug)]
pub struct Lines {
    queue: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lost: AtomicU64,
    progress: Mutex<Progress>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    queued: u64,
    written: u64,
    /// A line was not written in time, and no other one since.
    blocked: bool,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Lines that a thread writes to `output`.
    pub fn to(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(WAITING);
        let shared = Arc::<Shared>::default();
        let writing = Arc::clone(&shared);
        let builder = thread::Builder::new().name("log".into());
        builder.spawn(move || write_all(&lines, output, &writing))?;
        Ok(Self { queue, shared })
    }

    fn write(&self, line: Vec<u8>) {
        let mut progress = self.shared.progress();
        if self.queue.try_send(line).is_err() {
            self.shared.lost.fetch_add(1, Relaxed);
            return;
        }
        progress.queued += 1;
        let own = progress.queued;
        if progress.blocked {
            return;
        }
        let waiting = |progress: &mut Progress| progress.written < own && !progress.blocked;
        let waited = self.shared.moved.wait_timeout_while(progress, PATIENCE, waiting);
        let (mut progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if progress.written < own && !progress.blocked {
            progress.blocked = true;
            self.shared.moved.notify_all();
        }
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut output: impl Write, shared: &Shared) {
    for line in lines {
        let lost = shared.lost.swap(0, Relaxed);
        if lost > 0 {
            let _ = writeln!(output, "{lost} lines of this log are lost: its reader was too slow");
        }
        // There is nowhere to say that a line could not be written.
        let _ = output.write_all(&line);
        let mut progress = shared.progress();
        progress.written += 1;
        progress.blocked &= progress.written < progress.queued;
        shared.moved.notify_all();
    }
}

/// One line, which is handed over when it is dropped.
#[derive(Debug)]
pub struct Line<'l> {
    to: &'l Lines,
    text: Vec<u8>,
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line { to: self, text: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.to.write(std::mem::take(&mut self.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, time::Instant};

    /// Blocks in each write until it is let go.
    struct Blocking {
        go: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Blocking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_out_when_it_was_logged() {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (go, going) = mpsc::channel();
        let lines = Lines::to(Blocking { go: going, written: Arc::clone(&written) }).unwrap();
        for _ in 0..2 {
            go.send(()).unwrap();
            writeln!(lines.make_writer(), "hello").unwrap();
        }
        assert_eq!(*written.lock().unwrap(), b"hello\nhello\n");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody_and_hears_what_it_missed() {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (go, going) = mpsc::channel();
        let lines = Lines::to(Blocking { go: going, written: Arc::clone(&written) }).unwrap();
        let began = Instant::now();
        for _ in 0..WAITING + 100 {
            writeln!(lines.make_writer(), "x").unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(go);
        let behind = || {
            let progress = lines.shared.progress();
            progress.written < progress.queued
        };
        while behind() {
            thread::yield_now();
        }
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.contains(" lines of this log are lost"), "{text}");
    }
}

//! What a container has written: the latest lines, and who reads along.
//!
//! Lines keep the time when they were written; a line without an end is shown
//! when its container ends.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::watch;
use weft_apiserver::LogOptions;

/// The memory that a container's output may take. A mebibyte of text and more,
/// unless the lines are very short.
const CAPACITY: usize = 2 << 20;
/// What keeping a line takes beside its text: its place in the queue (48 bytes, of
/// which a queue may have twice as many as it uses), and its allocation.
const OVERHEAD: usize = 2 * size_of::<Line>() + 32;
/// A line that is longer is cut into several.
const LONGEST_LINE: usize = 16 << 10;

/// One run of a container, as it was written.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// How many lines there have been, and whether more will come.
    written: watch::Sender<Written>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    lines: u64,
    closed: bool,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the first line that is kept.
    first: u64,
    partial: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Line {
    time: SystemTime,
    text: Bytes,
}

impl Log {
    /// An empty log.
    pub(crate) fn new() -> Self {
        let (written, _) = watch::channel(Written::default());
        Self { shared: Arc::new(Shared { state: Mutex::default(), written }) }
    }

    /// Adds what was written at `time`.
    pub(crate) fn write(&self, bytes: &[u8], time: SystemTime) {
        let mut state = self.state();
        state.partial.extend_from_slice(bytes);
        let written = std::mem::take(&mut state.partial);
        let mut rest = written.as_slice();
        while let Some(end) = line_end(rest) {
            let (line, after) = rest.split_at(end);
            state.keep(Line { time, text: Bytes::copy_from_slice(line) });
            rest = after;
        }
        state.partial = rest.to_vec();
        self.announce(&state, false);
    }

    /// Nothing more will be written.
    pub(crate) fn close(&self, time: SystemTime) {
        let mut state = self.state();
        if !state.partial.is_empty() {
            let mut line = std::mem::take(&mut state.partial);
            line.push(b'\n');
            state.keep(Line { time, text: line.into() });
        }
        self.announce(&state, true);
    }

    /// The lines that `options` ask for, as they are to be sent.
    pub(crate) fn read(&self, options: &LogOptions) -> BoxStream<'static, Bytes> {
        let position = self.start(options);
        let reader = Reader {
            log: self.clone(),
            changes: self.shared.written.subscribe(),
            position,
            left: options.limit_bytes,
            options: options.clone(),
        };
        futures::stream::unfold(reader, |mut reader| async move {
            reader.next().await.map(|chunk| (chunk, reader))
        })
        .boxed()
    }

    fn start(&self, options: &LogOptions) -> u64 {
        let state = self.state();
        let end = state.first + state.lines.len() as u64;
        let by_tail = options.tail_lines.map_or(0, |lines| end.saturating_sub(lines));
        let by_time = options.since.map_or(0, |since| {
            let skipped = state.lines.iter().take_while(|line| line.time < since).count();
            state.first + skipped as u64
        });
        state.first.max(by_tail).max(by_time)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Lines are whole or not there, whatever panicked.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, state: &State, closed: bool) {
        let written = Written { lines: state.first + state.lines.len() as u64, closed };
        self.shared.written.send_replace(written);
    }
}

impl State {
    fn keep(&mut self, line: Line) {
        self.bytes += line.text.len() + OVERHEAD;
        self.lines.push_back(line);
        while self.bytes > CAPACITY {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len() + OVERHEAD;
            self.first += 1;
        }
    }
}

struct Reader {
    log: Log,
    changes: watch::Receiver<Written>,
    position: u64,
    left: Option<u64>,
    options: LogOptions,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Seen before it is read, so that nothing falls between.
            let written = *self.changes.borrow_and_update();
            let chunk = self.take();
            if !chunk.is_empty() {
                return Some(self.limited(chunk));
            }
            if self.left == Some(0) || !self.options.follow || written.closed {
                return None;
            }
            self.changes.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Vec<u8> {
        if self.left == Some(0) {
            return Vec::new();
        }
        let state = self.log.state();
        let from = self.position.saturating_sub(state.first);
        let mut chunk = Vec::new();
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        for line in state.lines.iter().skip(skip) {
            if self.options.timestamps {
                chunk.extend_from_slice(timestamp(line.time).as_bytes());
                chunk.push(b' ');
            }
            chunk.extend_from_slice(&line.text);
        }
        self.position = state.first + state.lines.len() as u64;
        chunk
    }

    fn limited(&mut self, mut chunk: Vec<u8>) -> Bytes {
        if let Some(left) = &mut self.left {
            chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= chunk.len() as u64;
        }
        chunk.into()
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    match end {
        Some(end) if end <= LONGEST_LINE => Some(end),
        _ if bytes.len() >= LONGEST_LINE => Some(LONGEST_LINE),
        end => end,
    }
}

/// RFC 3339 in UTC with nanoseconds, as kubectl shows it.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_nanos()
    )
}

/// The date of a day counted from 1970-01-01, by counting in eras of 400 years
/// that begin in March, where every era is alike.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    async fn text(log: &Log, options: LogOptions) -> String {
        let chunks: Vec<Bytes> = log.read(&options).collect().await;
        String::from_utf8(chunks.concat()).unwrap()
    }

    #[tokio::test]
    async fn lines_can_be_cut_by_number_time_and_size() {
        let log = Log::new();
        log.write(b"one\ntwo\nth", at(1));
        log.write(b"ree\nrest", at(3));
        let all = LogOptions::default();
        assert_eq!(text(&log, all.clone()).await, "one\ntwo\nthree\n");
        assert_eq!(text(&log, LogOptions { tail_lines: Some(1), ..all.clone() }).await, "three\n");
        assert_eq!(text(&log, LogOptions { since: Some(at(2)), ..all.clone() }).await, "three\n");
        assert_eq!(text(&log, LogOptions { limit_bytes: Some(5), ..all.clone() }).await, "one\nt");
        log.close(at(4));
        let stamped = LogOptions { timestamps: true, tail_lines: Some(1), ..all };
        assert_eq!(text(&log, stamped).await, "1970-01-01T00:00:04.000000000Z rest\n");
    }

    #[tokio::test]
    async fn a_follower_reads_until_the_container_ends() {
        let log = Log::new();
        log.write(b"early\n", at(0));
        let mut stream = log.read(&LogOptions { follow: true, ..LogOptions::default() });
        assert_eq!(stream.next().await.unwrap(), "early\n");
        log.write(b"late\n", at(1));
        assert_eq!(stream.next().await.unwrap(), "late\n");
        log.close(at(2));
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_however_short_the_lines_are() {
        let log = Log::new();
        for number in 0..40_000 {
            log.write(format!("line {number:0194}\n").as_bytes(), at(0));
        }
        let kept = text(&log, LogOptions::default()).await;
        assert!(kept.len() >= 1 << 20, "{}", kept.len());
        assert!(kept.ends_with("39999\n"));
        for _ in 0..64 {
            log.write(&[b'\n'; 64 << 10], at(0));
        }
        let state = log.state();
        let memory = state.lines.capacity() * size_of::<Line>();
        assert!(memory <= CAPACITY && state.lines.len() > 1000, "{memory}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000000Z"),
            (1_767_225_600, "2026-01-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(timestamp(at(seconds)), expected);
        }
    }
}

//! A worker's access log: lines are gathered here and handed over together.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use weft_config::AccessLog;

use crate::telemetry::access_log::{Clock, Destination, Facts, Format, Sink};

/// Lines are handed over at this size.
const FULL: usize = 64 * 1024;
/// Lines wait no longer than this.
const LATENCY: Duration = Duration::from_millis(5);

/// One access log: what lines look like, where they go, and those that wait. Dropping
/// it hands them over.
#[derive(Debug)]
pub struct Log {
    /// What a line looks like.
    pub format: Format,
    source: AccessLog,
    destination: Destination,
    sink: Sink,
    clock: RefCell<Clock>,
    lines: RefCell<Vec<u8>>,
    count: Cell<u64>,
    /// Whether a task will hand over what there is when it has waited long enough.
    awaited: Cell<bool>,
}

impl Log {
    fn new(settings: &AccessLog, sink: Sink) -> Self {
        let format = Format::compile(&settings.format);
        for operator in &format.unknown {
            tracing::warn!("access log: %{operator}% is not known here and prints as -");
        }
        Self {
            format,
            source: settings.clone(),
            destination: Destination(settings.path.clone()),
            sink,
            clock: RefCell::default(),
            lines: RefCell::default(),
            count: Cell::new(0),
            awaited: Cell::new(false),
        }
    }

    /// Writes the line of `facts`.
    pub fn write(self: &Rc<Self>, facts: &Facts<'_>) {
        let mut lines = self.lines.borrow_mut();
        self.format.write(facts, &mut self.clock.borrow_mut(), &mut lines);
        self.count.set(self.count.get() + 1);
        let full = lines.len() >= FULL;
        drop(lines);
        if full {
            self.hand_over();
        } else if !self.awaited.replace(true) {
            let log = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LATENCY).await;
                log.awaited.set(false);
                log.hand_over();
            });
        }
    }

    fn hand_over(&self) {
        let lines = std::mem::take(&mut *self.lines.borrow_mut());
        if !lines.is_empty() {
            self.lines.borrow_mut().reserve(1024);
            self.sink.write(&self.destination, lines, self.count.take());
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// The access log that a worker writes now.
pub struct AccessLogBuffer {
    sink: Sink,
    log: RefCell<Option<Rc<Log>>>,
}

impl AccessLogBuffer {
    /// No log yet.
    pub fn new(sink: Sink) -> Self {
        Self { sink, log: RefCell::default() }
    }

    /// Uses these settings for the exchanges that begin from now on.
    pub fn configure(&self, settings: Option<&AccessLog>) {
        let mut log = self.log.borrow_mut();
        if log.as_ref().map(|log| &log.source) != settings {
            *log = settings.map(|settings| Rc::new(Log::new(settings, self.sink.clone())));
        }
    }

    /// The log of an exchange that begins now, if there is one.
    pub fn log(&self) -> Option<Rc<Log>> {
        self.log.borrow().clone()
    }

    /// Hands over what there is, and waits for a moment until it is written.
    pub fn finish(&self) {
        if let Some(log) = self.log() {
            log.hand_over();
        }
        self.sink.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_log;

    #[tokio::test(start_paused = true)]
    async fn exchanges_under_way_are_logged_where_they_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let settings = |name: &str| AccessLog {
            path: path(name).display().to_string(),
            format: weft_config::LogFormat::Text(format!("{name} %RESPONSE_CODE%")),
        };
        let lines = async {
            let buffer = AccessLogBuffer::new(access_log::start().unwrap());
            buffer.configure(Some(&settings("old")));
            let old = buffer.log().unwrap();
            buffer.configure(Some(&settings("new")));
            let new = buffer.log().unwrap();
            let none = access_log::Captured::new();
            old.write(&access_log::tests::facts(None, &none, &none));
            new.write(&access_log::tests::facts(None, &none, &none));
            drop((old, new));
            tokio::time::sleep(2 * LATENCY).await;
            buffer.finish();
        };
        tokio::task::LocalSet::new().run_until(lines).await;
        for name in ["old", "new"] {
            let text = std::fs::read_to_string(path(name)).unwrap();
            assert_eq!(text, format!("{name} 200\n"));
        }
    }
}

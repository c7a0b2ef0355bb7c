//! A worker's access log: lines are gathered here and handed over together.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use weft_config::AccessLog;

use crate::record::access_log::{Clock, Destination, Facts, Format, Sink};

/// Lines are handed over at this size.
const FULL: usize = 64 * 1024;
/// Lines wait no longer than this.
const LATENCY: Duration = Duration::from_millis(5);

/// What lines look like, and where they go.
#[derive(Debug)]
pub struct Log {
    /// What a line looks like.
    pub format: Format,
    source: AccessLog,
    destination: Destination,
}

/// A worker's access log.
pub struct Journal {
    sink: Sink,
    log: RefCell<Option<Rc<Log>>>,
    clock: RefCell<Clock>,
    lines: RefCell<Vec<u8>>,
    count: Cell<u64>,
    /// Whether somebody will hand over what there is when it has waited long enough.
    awaited: Cell<bool>,
}

impl Journal {
    /// A journal that writes nothing yet.
    pub fn new(sink: Sink) -> Self {
        Self {
            sink,
            log: RefCell::default(),
            clock: RefCell::default(),
            lines: RefCell::default(),
            count: Cell::new(0),
            awaited: Cell::new(false),
        }
    }

    /// Uses these settings for the exchanges that begin from now on.
    pub fn configure(&self, settings: Option<&AccessLog>) {
        let mut log = self.log.borrow_mut();
        if log.as_ref().map(|log| &log.source) == settings {
            return;
        }
        *log = settings.map(|settings| {
            let format = Format::compile(&settings.format);
            for operator in &format.unknown {
                tracing::warn!("access log: %{operator}% is not known here and prints as -");
            }
            let destination = Destination(settings.path.clone());
            Rc::new(Log { format, source: settings.clone(), destination })
        });
    }

    /// What is written about an exchange that begins now; nothing when there is no log.
    pub fn log(&self) -> Option<Rc<Log>> {
        self.log.borrow().clone()
    }

    /// Writes the line of `facts`.
    pub fn write(self: &Rc<Self>, log: &Rc<Log>, facts: &Facts<'_>) {
        let mut lines = self.lines.borrow_mut();
        log.format.write(facts, &mut self.clock.borrow_mut(), &mut lines);
        self.count.set(self.count.get() + 1);
        let full = lines.len() >= FULL;
        drop(lines);
        if full {
            self.hand_over(&log.destination);
        } else if !self.awaited.replace(true) {
            let (journal, log) = (Rc::clone(self), Rc::clone(log));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LATENCY).await;
                journal.awaited.set(false);
                journal.hand_over(&log.destination);
            });
        }
    }

    /// Hands over what there is, and waits until it is written.
    pub fn finish(&self) {
        if let Some(log) = self.log() {
            self.hand_over(&log.destination);
        }
        self.sink.flush();
    }

    fn hand_over(&self, destination: &Destination) {
        let lines = std::mem::take(&mut *self.lines.borrow_mut());
        if !lines.is_empty() {
            self.lines.borrow_mut().reserve(1024);
            self.sink.put(destination, lines, self.count.take());
        }
    }
}

//! The output of `weft up`: text, or JSON for programs.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};
use weft_pods::host::HostPort;

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Text
    Text,
    /// One JSON object per line
    Json,
}

/// Writes progress to standard error and results to standard output.
#[derive(Debug)]
pub struct Report {
    output: Output,
    begun: Instant,
    /// The line that the next progress overwrites, on a terminal.
    pending: Mutex<bool>,
}

impl Report {
    /// A report of a start that begins now.
    pub fn new(output: Output) -> Self {
        Self { output, begun: Instant::now(), pending: Mutex::new(false) }
    }

    /// Seconds since the start began.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// How far the start has come.
    pub fn progress(&self, text: &str, done: usize, total: usize) {
        if self.output == Output::Json {
            return self.event(&json!({
                "event": "progress", "text": text, "done": done, "total": total, "seconds": self.seconds(),
            }));
        }
        let count = match total {
            0 => String::new(),
            _ => format!(" {done}/{total}"),
        };
        let line = format!("{:5.1}s  {text}{count}", self.seconds());
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stderr = io::stderr().lock();
        let finished = done >= total;
        // A reader that is gone needs no progress.
        let _ = match (stderr.is_terminal(), *pending) {
            (true, true) => write!(stderr, "\r\x1b[K{line}"),
            (true, false) => write!(stderr, "{line}"),
            (false, _) if finished => writeln!(stderr, "{line}"),
            (false, _) => Ok(()),
        };
        *pending = stderr.is_terminal() && !finished;
        if stderr.is_terminal() && finished {
            let _ = writeln!(stderr);
        }
    }

    /// A warning, an error, or an object that was applied.
    pub fn line(&self, text: &str) {
        if self.output == Output::Json {
            return self.event(&json!({"event": "log", "text": text}));
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if std::mem::take(&mut *pending) { "\r\x1b[K" } else { "" };
        let _ = writeln!(io::stderr().lock(), "{clear}{text}");
    }

    /// A port of a Service can be reached on the host now.
    pub fn port(&self, port: &HostPort) {
        self.port_event("port", port);
    }

    /// A port of a Service can no longer be reached on the host.
    pub fn port_closed(&self, port: &HostPort) {
        self.port_event("portClosed", port);
    }

    fn port_event(&self, event: &str, port: &HostPort) {
        let HostPort { namespace, service, port: number, wanted: usual, addresses } = port;
        if self.output == Output::Json {
            let address = addresses.first().map(ToString::to_string);
            return self.event(&json!({
                "event": event, "namespace": namespace, "service": service, "port": number, "address": address,
            }));
        }
        match (event, addresses.first()) {
            ("port", Some(address)) => {
                let why = match address.port() == *usual {
                    true => String::new(),
                    false => format!(", since {usual} is taken"),
                };
                let at = Self::spelled(*address);
                self.line(&format!("{service}.{namespace} port {number} is at http://{at}{why}"));
            }
            _ => self.line(&format!("{service}.{namespace} port {number} is closed on the host")),
        }
    }

    /// An address as people type it.
    pub fn spelled(address: std::net::SocketAddr) -> String {
        match address.ip().is_loopback() {
            true => format!("localhost:{}", address.port()),
            false => address.to_string(),
        }
    }

    /// The API can be used, with this kubeconfig.
    pub fn kubeconfig(&self, path: &Path) {
        match self.output {
            Output::Json => self.event(&json!({"event": "kubeconfig", "path": path})),
            Output::Text => self.line(&format!("kubeconfig: {}", path.display())),
        }
    }

    /// The start has ended.
    pub fn ready(&self, ready: Value, table: &str) {
        match self.output {
            Output::Json => self.event(&ready),
            Output::Text => {
                let _ = writeln!(io::stdout().lock(), "\n{table}");
            }
        }
    }

    fn event(&self, event: &Value) {
        let mut stdout = io::stdout().lock();
        // A reader that is gone ends the mesh through its own ways.
        let _ = writeln!(stdout, "{event}").and_then(|()| stdout.flush());
    }
}

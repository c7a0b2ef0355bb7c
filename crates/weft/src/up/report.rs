//! The output of `weft up`: text, or JSON for programs.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};
use weft_api::visible;
use weft_pods::host::HostPort;

use crate::terminal::one_line;

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
    /// Ports of Services that have lines of their own.
    ports: Mutex<BTreeMap<(String, String), usize>>,
}

/// Ports of one Service that have a line each.
pub const LINES_OF_SERVICE: usize = 8;

impl Report {
    /// A report of a start that begins now.
    pub fn new(output: Output) -> Self {
        Self { output, begun: Instant::now(), pending: Mutex::new(false), ports: Mutex::default() }
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
        let line = format!("{:5.1}s  {}{count}", self.seconds(), one_line(text));
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
        // Much of this is text of images, objects and programs.
        let _ = writeln!(io::stderr().lock(), "{clear}{}", visible(text));
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
        let Some(more) = self.lines_of(port, event == "port") else { return };
        match (event, addresses.first()) {
            ("port", _) if !more.is_empty() => self.line(&more),
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

    /// Whether a port has a line of its own: nothing when it has none, and the line in its
    /// place when it is the first of those that have none.
    fn lines_of(&self, port: &HostPort, is_open: bool) -> Option<String> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let service = (port.namespace.clone(), port.service.clone());
        let open = ports.entry(service).or_default();
        *open = if is_open { *open + 1 } else { open.saturating_sub(1) };
        match (*open, is_open) {
            (open, _) if open < LINES_OF_SERVICE => Some(String::new()),
            (LINES_OF_SERVICE, true) => Some(format!(
                "{0}.{1} has more ports, which are not listed; `weft get service {0} -n {1} -o yaml` \
                 shows them",
                port.service, port.namespace
            )),
            _ => None,
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
                let _ = writeln!(io::stdout().lock(), "\n{}", visible(table));
            }
        }
    }

    fn event(&self, event: &Value) {
        let mut stdout = io::stdout().lock();
        // A reader that is gone ends the mesh through its own ways.
        let _ = writeln!(stdout, "{event}").and_then(|()| stdout.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_with_many_ports_has_one_line_for_most_of_them() {
        let report = Report::new(Output::Text);
        let port = |port| HostPort {
            namespace: "evil".into(),
            service: "lb".into(),
            port,
            wanted: port,
            addresses: Vec::new(),
        };
        let lines = |is_open| -> Vec<String> {
            (1..=100).filter_map(|number| report.lines_of(&port(number), is_open)).collect()
        };
        let opened = lines(true);
        assert_eq!(opened.len(), 8);
        assert_eq!(
            opened[7],
            "lb.evil has more ports, which are not listed; `weft get service lb -n evil -o yaml` \
             shows them"
        );
        assert_eq!(lines(false).len(), 8, "of those with lines");
    }
}

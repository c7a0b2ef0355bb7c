//! The pages of the admin ports: metrics, configuration and backends, streamed while they
//! are read.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;
use weft_decide::Table;
use weft_process::{
    admin::{Answer, Body, Gone, Pieces},
    log::Levels,
    metrics::{Exposition, Kind, memory},
    shutdown::Stop,
};

use crate::{
    admin::application_metrics::Metrics as ApplicationMetrics,
    config::handle::ConfigHandle,
    connection::close_reason::CloseCounts,
    listen::status::ListenerStatus,
    options,
    telemetry::{
        access_log::Sink,
        metrics::{Metrics, Output, Turns, expose},
    },
    upstream::dial::Dialer,
    worker::Handle,
};

/// What the pages of the admin ports are made of.
#[derive(Clone)]
pub struct Pages {
    /// The table in force.
    pub tables: watch::Receiver<Arc<Table>>,
    /// The workers.
    pub workers: Arc<Vec<Handle>>,
    /// The configuration client.
    pub config: ConfigHandle,
    /// How many interests it has.
    pub interests: watch::Receiver<usize>,
    /// What the workers count.
    pub metrics: Arc<Metrics>,
    /// Whether connections are served as configured.
    pub ready: watch::Receiver<bool>,
    /// Connections that were closed before anything was served on them.
    pub closed: Arc<CloseCounts>,
    /// Every listener, and whether its socket is open.
    pub listeners: watch::Receiver<Vec<ListenerStatus>>,
    /// The access log.
    pub sink: Sink,
    /// The end of the process.
    pub stop: Stop,
    /// Levels of the log.
    pub levels: Levels,
    /// How the application is reached.
    pub dialer: Dialer,
    /// The application.
    pub application: options::Application,
    /// Makes pages with much text take turns.
    pub turns: Turns,
}

impl Pages {
    /// Metrics of this proxy.
    pub fn scrape(self: &Arc<Self>) -> Answer {
        let pages = Arc::clone(self);
        Answer::streamed_metrics(Body::streamed(|pieces| async move {
            let mut to = Output::new(pieces, pages.turns.clone());
            pages.expose(&mut to, true).await?;
            to.end().await
        }))
    }

    /// Metrics of this proxy and of the application, as far as that gives any.
    pub fn merged_scrape(self: &Arc<Self>) -> Answer {
        let pages = Arc::clone(self);
        Answer::streamed_metrics(Body::streamed(|pieces| async move {
            let mut to = Output::new(pieces, pages.turns.clone());
            let application = pages.application.metrics.as_deref();
            pages.expose(&mut to, application.is_none()).await?;
            if let Some(url) = application {
                let metrics = ApplicationMetrics { url, dialer: pages.dialer.clone() };
                if let Err(error) = metrics.copy(&mut to).await {
                    tracing::debug!(url, %error, "no metrics of the application");
                }
            }
            to.end().await
        }))
    }

    /// `alone` says that no other process gives its numbers on the same page.
    async fn expose(&self, to: &mut Output, alone: bool) -> Result<(), Gone> {
        let settings = Arc::clone(self.tables.borrow().settings());
        expose(&self.metrics, &settings.workload, to).await?;
        to.write(|text| self.own(text, alone)).await
    }

    fn own(&self, text: &mut Exposition, alone: bool) {
        let connections: usize = self.workers.iter().filter_map(Handle::load).sum();
        text.family("weft_connections", Kind::Gauge, "Open connections from clients.");
        text.count("weft_connections", "", connections as u64);
        let help = "Connections closed before a request or a byte was served on them, by reason.";
        text.family("weft_connections_closed_total", Kind::Counter, help);
        for (reason, count) in self.closed.all() {
            let labels = format!("reason=\"{}\"", reason.as_str());
            text.count("weft_connections_closed_total", &labels, count);
        }
        let listeners = self.listeners.borrow().clone();
        let open = listeners.iter().filter(|listener| listener.is_open()).count();
        let help =
            "Configured listeners, by whether their listening socket is open or failed to open.";
        text.family("weft_listeners", Kind::Gauge, help);
        for (state, count) in [("open", open), ("failed", listeners.len() - open)] {
            text.count("weft_listeners", &format!("state=\"{state}\""), count as u64);
        }
        let help = "Access-log lines dropped because the writer was behind.";
        text.family("weft_access_log_lost_total", Kind::Counter, help);
        text.count("weft_access_log_lost_total", "", self.sink.lost());
        let help = "Hosts and addresses that this proxy subscribes to at the control plane.";
        text.family("weft_interests", Kind::Gauge, help);
        text.count("weft_interests", "", *self.interests.borrow() as u64);
        if let Some(memory) = memory() {
            if alone {
                let help = "Resident memory size of the process in bytes.";
                text.family("process_resident_memory_bytes", Kind::Gauge, help);
                text.count("process_resident_memory_bytes", "", memory.resident);
            }
            let help =
                "Resident anonymous memory of the process (heap and stacks, no files) in bytes.";
            text.family("weft_anonymous_memory_bytes", Kind::Gauge, help);
            text.count("weft_anonymous_memory_bytes", "", memory.anonymous);
        }
    }

    /// Each listener as configured, and whether its socket is open.
    pub fn listeners(&self) -> Answer {
        let table = Arc::clone(&self.tables.borrow());
        let known = self.listeners.borrow();
        let all = table.listeners().map(|listener| {
            let status = known.iter().find(|status| status.name == listener.name);
            json!({ "listener": &**listener, "status": status })
        });
        Answer::json(&all.collect::<Vec<_>>())
    }

    /// All resources in force, as JSON.
    pub fn dump(self: &Arc<Self>) -> Answer {
        let pages = Arc::clone(self);
        Answer::streamed_json(Body::streamed(|pieces| async move {
            let mut list = List::new("{\n\"resources\": [", pieces, &pages.turns);
            let mut resources = pages.config.snapshot().await;
            resources.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            for (_, body) in resources {
                list.item(&serde_json::from_slice(&body).unwrap_or(Value::Null)).await?;
            }
            list.end("]\n}\n").await
        }))
    }

    /// The backends and their endpoints, as JSON.
    pub fn backends(self: &Arc<Self>) -> Answer {
        let pages = Arc::clone(self);
        Answer::streamed_json(Body::streamed(|pieces| async move {
            let mut list = List::new("[", pieces, &pages.turns);
            let mut resources = pages.config.snapshot().await;
            resources.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            let table = Arc::clone(&pages.tables.borrow());
            let names = resources.iter().filter_map(|(name, _)| name.strip_prefix("backend/"));
            for backend in names.filter_map(|name| table.backend(name)) {
                let endpoints = backend.endpoints().map(
                    |one| json!({ "address": one.address, "busy": backend.in_flight(one.address) }),
                );
                let endpoints: Vec<Value> = endpoints.collect();
                list.item(&json!({ "name": &*backend.name, "endpoints": endpoints })).await?;
            }
            list.end("]\n").await
        }))
    }
}

/// A list in JSON, item by item.
struct List {
    to: Output,
    begin: &'static str,
    begun: bool,
}

impl List {
    fn new(begin: &'static str, pieces: Pieces, turns: &Turns) -> Self {
        Self { to: Output::new(pieces, turns.clone()), begin, begun: false }
    }

    async fn item(&mut self, value: &Value) -> Result<(), Gone> {
        let before = if std::mem::replace(&mut self.begun, true) { "," } else { self.begin };
        self.to
            .write(|text| {
                text.raw(before);
                text.raw("\n");
                text.raw(&serde_json::to_string_pretty(value).unwrap_or_default());
            })
            .await
    }

    async fn end(mut self, end: &str) -> Result<(), Gone> {
        let begin = if self.begun { "\n" } else { self.begin };
        self.to
            .write(|text| {
                text.raw(begin);
                text.raw(end);
            })
            .await?;
        self.to.end().await
    }
}

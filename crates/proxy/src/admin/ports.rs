//! The ports where people, probes and Prometheus ask about this proxy.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use weft_config::{Interest, Resource};
use weft_decide::Table;
use weft_process::{
    admin::{Answer, Asked, Paths},
    log::Levels,
    metrics::{Kind, memory},
    shutdown::{Stop, Stopping},
};

use crate::{
    admin::{fetch::Get, probes::Probes},
    config::subscriptions::Asks,
    connection::closed::ClosedCounts,
    listen::status::ListenerStatus,
    options,
    record::{access_log::Sink, metrics},
    upstream::dial::Dialer,
    worker::Handle,
};

/// How long the application may take to say its metrics.
const SCRAPE: Duration = Duration::from_secs(5);

/// What the ports tell of, and may ask for.
#[derive(Clone)]
pub struct View {
    /// The table in force.
    pub tables: watch::Receiver<Arc<Table>>,
    /// The workers.
    pub workers: Arc<Vec<Handle>>,
    /// Whoever keeps the configuration.
    pub asks: Asks,
    /// Whether connections are served as configured.
    pub ready: watch::Receiver<bool>,
    /// Connections that were closed before anything was served on them.
    pub closed: Arc<ClosedCounts>,
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
}

/// Serves the ports of `options` until the end; the addresses they got.
pub async fn serve(
    view: View,
    ports: options::Ports,
    stopping: &Stopping,
) -> std::io::Result<Vec<(&'static str, SocketAddr)>> {
    let view = Arc::new(view);
    let probes = match view.application.probes.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Probes::parse(text, view.application.address)?,
        None => Probes::default(),
    };
    let all: [(&'static str, Option<SocketAddr>, Paths); 4] = [
        ("admin", ports.admin, admin(&view)),
        ("metrics", ports.metrics, metrics(&view, Paths::default())),
        ("merged", ports.merged, merged(&view, probes)),
        ("readiness", ports.readiness, readiness(&view, Paths::default())),
    ];
    let mut addresses = Vec::new();
    for (name, address, paths) in all {
        let Some(address) = address else { continue };
        let listener = TcpListener::bind(address).await?;
        addresses.push((name, listener.local_addr()?));
        tokio::spawn(paths.serve(listener, stopping.clone()));
    }
    Ok(addresses)
}

fn admin(view: &Arc<View>) -> Paths {
    let [dump, backends, listeners, ready, logging] = [(); 5].map(|()| Arc::clone(view));
    let [quit, drain] = [(); 2].map(|()| view.stop.clone());
    let paths = Paths::default()
        .get("/config_dump", move |_| {
            let view = Arc::clone(&dump);
            async move { view.dump().await }
        })
        .get("/backends", move |_| {
            let view = Arc::clone(&backends);
            async move { view.backends().await }
        })
        .get("/listeners", move |_| {
            let view = Arc::clone(&listeners);
            async move { view.listeners() }
        })
        .get("/ready", move |_| {
            let view = Arc::clone(&ready);
            async move { view.readiness() }
        })
        .any("/logging", move |asked| {
            let view = Arc::clone(&logging);
            async move { view.logging(&asked) }
        })
        .post("/quitquitquit", move |_| ending(&quit))
        .post("/drain_listeners", move |_| ending(&drain));
    metrics(view, paths)
}

fn metrics(view: &Arc<View>, paths: Paths) -> Paths {
    let view = Arc::clone(view);
    paths.get("/stats/prometheus", move |_| {
        let view = Arc::clone(&view);
        async move { Answer::metrics(view.exposition().await) }
    })
}

fn merged(view: &Arc<View>, probes: Probes) -> Paths {
    let (scraped, quit, dialer) = (Arc::clone(view), view.stop.clone(), view.dialer);
    let probes = Arc::new(probes);
    let paths = Paths::default()
        .get("/stats/prometheus", move |_| {
            let view = Arc::clone(&scraped);
            async move { view.merged().await }
        })
        .any("/app-health/*", move |asked: Asked| {
            let probes = Arc::clone(&probes);
            async move {
                let (status, text) = probes.probe(asked.uri.path(), dialer).await;
                Answer::text(text).with_status(status)
            }
        })
        .post("/quitquitquit", move |_| ending(&quit));
    readiness(view, paths)
}

fn readiness(view: &Arc<View>, paths: Paths) -> Paths {
    let view = Arc::clone(view);
    paths.get("/healthz/ready", move |_| {
        let view = Arc::clone(&view);
        async move { view.readiness() }
    })
}

fn ending(stop: &Stop) -> std::future::Ready<Answer> {
    stop.stop();
    std::future::ready(Answer::text("OK\n"))
}

impl View {
    fn readiness(&self) -> Answer {
        match *self.ready.borrow() {
            true => Answer::text("LIVE\n"),
            false => Answer::text("the configuration of this proxy has not arrived yet\n")
                .with_status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn logging(&self, asked: &Asked) -> Answer {
        match asked.query("level") {
            None => Answer::text("say ?level=debug, or ?level=info,weft_proxy=trace\n"),
            Some(level) => match self.levels.set(level) {
                Ok(()) => Answer::text("OK\n"),
                Err(error) => {
                    Answer::text(format!("{error}\n")).with_status(StatusCode::BAD_REQUEST)
                }
            },
        }
    }

    async fn dump(&self) -> Answer {
        let mut known = self.asks.known().await;
        known.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let resources: Vec<Value> = known
            .iter()
            .map(|(_, body)| serde_json::from_slice(body).unwrap_or(Value::Null))
            .collect();
        Answer::json(&json!({ "resources": resources }))
    }

    async fn backends(&self) -> Answer {
        let known = self.asks.known().await;
        let table = Arc::clone(&self.tables.borrow());
        let mut backends: Vec<Value> = known
            .iter()
            .filter_map(|(name, _)| table.backend(name.strip_prefix("backend/")?))
            .map(|backend| {
                let endpoints = backend.members().iter().map(
                    |member| json!({ "address": member.endpoint.address, "busy": member.busy() }),
                );
                json!({ "name": &*backend.name, "endpoints": endpoints.collect::<Vec<_>>() })
            })
            .collect();
        backends.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        Answer::json(&backends)
    }

    /// Each listener as configured, and whether its socket is open.
    fn listeners(&self) -> Answer {
        let table = Arc::clone(&self.tables.borrow());
        let known = self.listeners.borrow();
        let all = table.listeners().map(|listener| {
            let status = known.iter().find(|status| status.name == listener.name);
            json!({ "listener": &**listener, "status": status })
        });
        Answer::json(&all.collect::<Vec<_>>())
    }

    async fn exposition(&self) -> String {
        let mut registries = Vec::new();
        for worker in self.workers.iter() {
            registries.extend(worker.count().await);
        }
        let settings = Arc::clone(self.tables.borrow().settings());
        let mut text = metrics::exposition(&registries, &settings.workload);
        let connections: usize = self.workers.iter().filter_map(Handle::load).sum();
        text.family("weft_connections", Kind::Gauge, "Connections of clients.");
        text.sample("weft_connections", "", connections as f64);
        let help = "Connections closed before anything was served on them.";
        text.family("weft_connections_closed_total", Kind::Counter, help);
        for (reason, count) in self.closed.all() {
            let labels = format!("reason=\"{}\"", reason.as_str());
            text.sample("weft_connections_closed_total", &labels, count as f64);
        }
        let listeners = self.listeners.borrow().clone();
        let open = listeners.iter().filter(|listener| listener.is_open()).count();
        let help = "Listeners by whether their socket could be opened.";
        text.family("weft_listeners", Kind::Gauge, help);
        for (state, count) in [("open", open), ("failed", listeners.len() - open)] {
            text.sample("weft_listeners", &format!("state=\"{state}\""), count as f64);
        }
        text.family("weft_access_log_lost_total", Kind::Counter, "Lines that nobody took.");
        text.sample("weft_access_log_lost_total", "", self.sink.lost() as f64);
        let known = self.asks.known().await;
        let is_interest = |name: &str| name.parse::<Interest>().is_ok();
        let interests = known.iter().filter(|(name, _)| is_interest(name)).count();
        text.family("weft_interests", Kind::Gauge, "Subscriptions at the control plane.");
        text.sample("weft_interests", "", interests as f64);
        if let Some(memory) = memory() {
            let help = "Resident memory size in bytes.";
            text.family("process_resident_memory_bytes", Kind::Gauge, help);
            text.sample("process_resident_memory_bytes", "", memory.resident as f64);
            let help = "Resident memory that no file backs, in bytes.";
            text.family("weft_anonymous_memory_bytes", Kind::Gauge, help);
            text.sample("weft_anonymous_memory_bytes", "", memory.anonymous as f64);
        }
        text.finish()
    }

    /// The proxy's metrics and the application's; what the application cannot say
    /// never costs what the proxy can.
    async fn merged(&self) -> Answer {
        let mut text = self.exposition().await;
        if let Some(url) = &self.application.metrics {
            match self.scrape(url).await {
                Some(more) => text.push_str(&more),
                None => tracing::debug!(url, "the application does not say its metrics"),
            }
        }
        Answer::metrics(text)
    }

    async fn scrape(&self, url: &str) -> Option<String> {
        let url: Uri = url.parse().ok()?;
        let host = url.host()?.parse().unwrap_or([127, 0, 0, 1].into());
        let get = Get {
            address: SocketAddr::new(host, url.port_u16().unwrap_or(80)),
            path: url.path_and_query().map_or("/metrics", |target| target.as_str()).to_owned(),
            limit: SCRAPE,
        };
        match get.send(self.dialer).await {
            Ok((StatusCode::OK, body)) => String::from_utf8(body.to_vec()).ok(),
            Ok(_) | Err(_) => None,
        }
    }
}

/// The JSON of resources that came from a file.
pub fn bodies(resources: &[Resource]) -> Vec<(String, Arc<[u8]>)> {
    let body = |resource| serde_json::to_vec(resource).unwrap_or_default().into();
    resources.iter().map(|resource| (resource.name(), body(resource))).collect()
}

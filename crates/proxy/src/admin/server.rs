//! The ports where people, probes and Prometheus ask about this proxy.
//!
//! They have a thread of their own: whatever is asked here, workers serve and
//! connections are accepted meanwhile.

use std::{io, net::SocketAddr, sync::Arc, thread};

use http::StatusCode;
use tokio::{net::TcpListener, task::JoinSet};
use weft_config::Resource;
use weft_process::{
    admin::{Answer, Asked, Paths},
    shutdown::{self, Stop},
};

pub use crate::admin::handlers::Pages;
use crate::{admin::application_probes::Probes, options};

/// The thread of the ports, until it is ended.
pub struct Admin {
    addresses: Vec<(&'static str, SocketAddr)>,
    end: Stop,
    thread: thread::JoinHandle<()>,
}

impl Admin {
    /// Opens the ports of `options`, and serves them.
    pub fn start(pages: Pages, ports: options::Ports) -> io::Result<Self> {
        let pages = Arc::new(pages);
        let probes = match pages.application.probes.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Probes::parse(text, pages.application.address)?,
            None => Probes::default(),
        };
        let all: [(&'static str, Option<SocketAddr>, Paths); 4] = [
            ("admin", ports.admin, admin(&pages)),
            ("metrics", ports.metrics, metrics(&pages, Paths::default())),
            ("merged", ports.merged, merged(&pages, probes)),
            ("readiness", ports.readiness, readiness(&pages, Paths::default())),
        ];
        let mut addresses = Vec::new();
        let mut open = Vec::new();
        for (name, address, paths) in all {
            let Some(address) = address else { continue };
            let listener = listen(address)?;
            addresses.push((name, listener.local_addr()?));
            open.push((listener, paths));
        }
        let (end, ending) = shutdown::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            let mut serving = JoinSet::new();
            for (listener, paths) in open {
                match TcpListener::from_std(listener) {
                    Ok(listener) => drop(serving.spawn(paths.serve(listener, ending.clone()))),
                    Err(error) => tracing::error!(%error, "a port of the proxy cannot be served"),
                }
            }
            while serving.join_next().await.is_some() {}
        };
        let builder = thread::Builder::new().name("admin".into());
        let thread = builder.spawn(move || runtime.block_on(serve))?;
        Ok(Self { addresses, end, thread })
    }

    /// The addresses that the ports got, by name.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.addresses.clone()
    }

    /// Closes the ports.
    pub fn end(self) {
        self.end.stop();
        // It has nothing to say that would matter now.
        let _ = self.thread.join();
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn admin(pages: &Arc<Pages>) -> Paths {
    let [dump, backends, listeners, ready, logging] = [(); 5].map(|()| Arc::clone(pages));
    let [quit, drain] = [(); 2].map(|()| pages.stop.clone());
    let paths = Paths::default()
        .get("/config_dump", move |_| {
            let pages = Arc::clone(&dump);
            async move { pages.dump() }
        })
        .get("/backends", move |_| {
            let pages = Arc::clone(&backends);
            async move { pages.backends() }
        })
        .get("/listeners", move |_| {
            let pages = Arc::clone(&listeners);
            async move { pages.listeners() }
        })
        .get("/ready", move |_| {
            let pages = Arc::clone(&ready);
            async move { readiness_of(&pages) }
        })
        .post("/logging", move |asked| {
            let pages = Arc::clone(&logging);
            async move { set_levels(&pages, &asked) }
        })
        .post("/quitquitquit", move |_| ending(&quit))
        .post("/drain_listeners", move |_| ending(&drain));
    metrics(pages, paths)
}

fn metrics(pages: &Arc<Pages>, paths: Paths) -> Paths {
    let pages = Arc::clone(pages);
    paths.get("/stats/prometheus", move |_| {
        let pages = Arc::clone(&pages);
        async move { pages.scrape() }
    })
}

fn merged(pages: &Arc<Pages>, probes: Probes) -> Paths {
    let (scraped, quit, dialer) = (Arc::clone(pages), pages.stop.clone(), pages.dialer.clone());
    let probes = Arc::new(probes);
    let paths = Paths::default()
        .get("/stats/prometheus", move |_| {
            let pages = Arc::clone(&scraped);
            async move { pages.merged_scrape() }
        })
        .get("/app-health/*", move |asked: Asked| {
            let (probes, dialer) = (Arc::clone(&probes), dialer.clone());
            async move {
                let (status, text) = probes.probe(asked.uri.path(), &dialer).await;
                Answer::text(text).with_status(status)
            }
        })
        .post("/quitquitquit", move |_| ending(&quit));
    readiness(pages, paths)
}

fn readiness(pages: &Arc<Pages>, paths: Paths) -> Paths {
    let pages = Arc::clone(pages);
    paths.get("/healthz/ready", move |_| {
        let pages = Arc::clone(&pages);
        async move { readiness_of(&pages) }
    })
}

fn ending(stop: &Stop) -> std::future::Ready<Answer> {
    stop.stop();
    std::future::ready(Answer::text("OK\n"))
}

fn readiness_of(pages: &Pages) -> Answer {
    let text = match *pages.ready.borrow() {
        _ if pages.stop.watch().is_stopping() => "this proxy is ending\n",
        true => return Answer::text("LIVE\n"),
        false => "the configuration of this proxy has not arrived yet\n",
    };
    Answer::text(text).with_status(StatusCode::SERVICE_UNAVAILABLE)
}

fn set_levels(pages: &Pages, asked: &Asked) -> Answer {
    let wrong = |text: String| Answer::text(text).with_status(StatusCode::BAD_REQUEST);
    let Some(level) = asked.query("level") else {
        return wrong("?level=debug or ?level=info,weft_proxy=trace is needed\n".to_owned());
    };
    match pages.levels.set(level) {
        Ok(()) => Answer::text("OK\n"),
        Err(error) => wrong(format!("{error}\n")),
    }
}

/// The JSON of resources that came from a file.
pub fn bodies(resources: &[Resource]) -> Vec<(String, Arc<[u8]>)> {
    let body = |resource| serde_json::to_vec(resource).unwrap_or_default().into();
    resources.iter().map(|resource| (resource.name(), body(resource))).collect()
}

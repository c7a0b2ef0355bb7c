//! A proxy in this process that runs what a world is translated to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use weft_config::{AccessLog, Destination, File, Layer, LogFormat, Resource, Scope};
use weft_process::log::Levels;
use weft_proxy::{Options, Ports, Proxy, Reach, Source};
use weft_testkit::waiting::eventually;

/// Nothing here takes this long unless it hangs.
pub const HANGS: Duration = Duration::from_secs(20);

/// What a line of the access log says.
const LOGGED: &[(&str, &str)] = &[
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("exchange", "%REQ(X-EXCHANGE)%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("upstream", "%UPSTREAM_HOST%"),
];

/// A proxy, and its access log.
pub struct Engine {
    proxy: Proxy,
    /// Where each listener is now, by the port that it had, and by its name.
    listeners: BTreeMap<String, SocketAddr>,
    log: TempDir,
    read: usize,
}

impl Engine {
    /// Runs a configuration in a place such as `r1/z1`, with its listeners moved to free ports of
    /// the loopback address.
    pub fn start(mut file: File, place: &str) -> Self {
        let log = tempfile::tempdir().expect("a folder");
        let path = log.path().join("log").display().to_string();
        let format = LOGGED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let access_log = AccessLog { path, format: LogFormat::Json(format.collect()) };
        let mut ports = BTreeMap::new();
        for resource in &mut file.resources {
            match resource {
                Resource::Listener(listener) => {
                    ports.insert(listener.bind.port().to_string(), listener.name.clone());
                    listener.bind = SocketAddr::from(([127, 0, 0, 1], 0));
                    listener.destination = Destination::Socket;
                    listener.layers = vec![Layer::ProxyProtocol];
                }
                Resource::Settings(settings) => {
                    settings.access_log = Some(access_log.clone());
                    place.clone_into(&mut settings.locality);
                }
                _ => {}
            }
        }
        let options = Options {
            source: Source::File(Box::new(file)),
            ports: Ports::default(),
            reach: Reach::Anywhere,
            ..Options::default()
        };
        let proxy = Proxy::start(options, Levels::detached()).expect("the proxy starts");
        let mut ready = proxy.ready();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let waiting = tokio::time::timeout(HANGS, ready.wait_for(|ready| *ready)).await;
            waiting.expect("in time").expect("a proxy that runs");
        });
        let mut listeners = proxy.addresses();
        let by_port: Vec<_> = ports
            .into_iter()
            .filter_map(|(port, name)| Some((port, *listeners.get(&name)?)))
            .collect();
        listeners.extend(by_port);
        Self { proxy, listeners, log, read: 0 }
    }

    /// The listener of this name, or the one that was at this port.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.get(name).copied()
    }

    /// The next `count` lines of the access log, or fewer after `patience`.
    pub fn logged(&mut self, count: usize, patience: Duration) -> Vec<Value> {
        let path = self.log.path().join("log");
        let lines = || -> Vec<Value> {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let new = whole.lines().skip(self.read);
            new.map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
        };
        let enough = || Some(lines()).filter(|lines| lines.len() >= count);
        let found = eventually(patience, enough).unwrap_or_else(lines);
        self.read += found.len();
        found
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.proxy.stop();
    }
}

/// Addresses at which backends listen: of endpoints, and of ports behind a server's proxy.
pub fn endpoints(file: &File, workload: &str) -> BTreeSet<SocketAddr> {
    let mut found = BTreeSet::new();
    for resource in &file.resources {
        match resource {
            Resource::Endpoints(part) => {
                found.extend(part.endpoints.iter().map(|endpoint| endpoint.address));
            }
            Resource::Listener(listener) => {
                let Scope::Servers(servers) = &listener.scope else { continue };
                let ports = servers.iter().filter_map(|server| server.port);
                let workload = workload.parse::<IpAddr>().expect("an address");
                found.extend(ports.map(|port| SocketAddr::new(workload, port)));
            }
            _ => {}
        }
    }
    found
}

//! A proxy with its configuration.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weft_config::File;
use weft_process::log::Levels;
use weft_proxy::{ListenerStatus, Options, Ports, Proxy, Reach, Source};
pub use weft_testkit::http1::{Client, Server, brief, get, message, ok, server, serving};

/// Nothing here takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(20);

/// The resources of a proxy with one listener and one server, in words.
pub struct World {
    resources: Vec<Value>,
    server: Value,
    layers: Vec<&'static str>,
    limits: Value,
    pub options: Options,
}

impl World {
    /// A server of HTTP, with whatever the cases add.
    pub fn new() -> Self {
        let server = json!({
            "name": "http.80", "protocol": "http", "routes": [],
            "origin": { "object": "Gateway/default/test" },
        });
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let ports = Ports { admin: any, metrics: None, merged: any, readiness: any };
        let options = Options { ports, reach: Reach::Anywhere, ..Options::default() };
        Self { resources: Vec::new(), server, layers: Vec::new(), limits: json!({}), options }
    }

    /// Sets a field of the server.
    pub fn server(mut self, field: &str, value: Value) -> Self {
        self.server[field] = value;
        self
    }

    /// Adds a layer to the listener.
    pub fn layer(mut self, layer: &'static str) -> Self {
        self.layers.push(layer);
        self
    }

    /// The listener's limits, where they are not the defaults.
    pub fn limits(mut self, limits: Value) -> Self {
        self.limits = limits;
        self
    }

    /// A route of `hosts` with these rules.
    pub fn route(mut self, hosts: &[&str], rules: Value) -> Self {
        let name = format!("route{}", self.resources.len());
        self.server["routes"].as_array_mut().unwrap().push(json!(name));
        self.resources.push(json!({ "route": {
            "name": name, "hosts": hosts, "rules": rules,
            "origin": { "object": "VirtualService/default/test" },
        }}));
        self
    }

    /// A route that sends everything to `backend`.
    pub fn all_to(self, backend: &str) -> Self {
        let rule = rule(backend);
        self.route(&["*"], json!([rule]))
    }

    /// A backend with these endpoints.
    pub fn backend(mut self, name: &str, endpoints: &[SocketAddr]) -> Self {
        let mut endpoints: Vec<Value> =
            endpoints.iter().map(|address| json!({ "address": address })).collect();
        endpoints.sort_by_key(ToString::to_string);
        self.resources.push(json!({ "endpoints": { "name": name, "endpoints": endpoints } }));
        self.resources.push(json!({ "chunkList": { "name": name, "chunks": [name] } }));
        self.resources.push(json!({ "backend": backend(name, json!({ "endpoints": name })) }));
        self
    }

    /// Sends everything to `address`, which is spoken to in this way whatever clients speak.
    pub fn spoken(self, upstream: &str, address: SocketAddr) -> Self {
        let mut one = backend("one", json!({ "endpoints": "there" }));
        one["upstream"] = json!(upstream);
        self.backend("there", &[address]).resource(json!({ "backend": one })).all_to("one")
    }

    /// Any other resource.
    pub fn resource(mut self, resource: Value) -> Self {
        self.resources.push(resource);
        self
    }

    /// The access log in `format`; the file it goes to.
    pub fn log(self, format: &str) -> (Self, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let world = self.resource(json!({ "settings": {
            "workload": { "name": "tester", "namespace": "default" },
            "accessLog": { "path": path, "format": { "text": format } },
        }}));
        (world, folder)
    }

    /// Starts the proxy.
    pub fn start(mut self) -> Running {
        self.resources.push(json!({ "listener": {
            "name": "test", "bind": "127.0.0.1:0", "destination": "socket",
            "layers": self.layers, "limits": self.limits,
            "scope": { "servers": [self.server] },
        }}));
        self.run()
    }

    /// Starts the proxy with the resources as they are.
    pub fn run(mut self) -> Running {
        let file: File = serde_json::from_value(json!({ "resources": self.resources })).unwrap();
        self.options.source = Source::File(Box::new(file));
        running(self.options)
    }
}

/// Starts a proxy and waits until it is ready.
pub fn running(options: Options) -> Running {
    let proxy = Proxy::start(options, Levels::detached()).unwrap();
    until(proxy.ready(), |ready| *ready);
    Running { addresses: proxy.addresses(), proxy: Some(proxy) }
}

/// Waits until `is_met` by what is watched.
fn until<T: Send + Sync + 'static>(
    mut watched: tokio::sync::watch::Receiver<T>,
    is_met: impl Fn(&T) -> bool + Send + 'static,
) {
    // On a thread of its own, since the caller may be in a runtime.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let waiting = async { tokio::time::timeout(HANGS, watched.wait_for(is_met)).await };
        runtime.block_on(waiting).expect("in time").expect("a proxy that runs");
    })
    .join()
    .unwrap();
}

/// A backend as JSON.
pub fn backend(name: &str, discovery: Value) -> Value {
    json!({
        "name": name, "service": format!("{name}.default.svc.cluster.local"),
        "serviceName": [name, "default"], "port": 80, "discovery": discovery,
        "upstream": "sameAsClient", "loadBalancer": "roundRobin", "connectTimeout": "5s",
        "origin": { "object": format!("Service/default/{name}") },
    })
}

/// A rule that sends everything to `backend`.
pub fn rule(backend: &str) -> Value {
    json!({
        "name": "default", "action": { "forward": [{ "backend": backend, "weight": 1 }] },
        "origin": { "object": "VirtualService/default/test", "rule": "http[0]" },
    })
}

/// A proxy that runs until it is dropped.
pub struct Running {
    pub addresses: BTreeMap<String, SocketAddr>,
    pub proxy: Option<Proxy>,
}

impl Running {
    /// The address of a listener or port.
    pub fn at(&self, name: &str) -> SocketAddr {
        self.addresses[name]
    }

    /// A client of the listener.
    pub fn client(&self) -> Client {
        Client::to(self.at("test"))
    }

    /// Sends `request` on a new connection and returns the whole answer.
    pub fn ask(&self, request: &str) -> String {
        self.client().ask(request)
    }

    /// What a port says to a GET.
    pub fn get(&self, port: &str, path: &str) -> String {
        Client::to(self.at(port)).ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }

    /// Waits until the listeners' status is as `is_met` says.
    pub fn until_listeners(&self, is_met: impl Fn(&[ListenerStatus]) -> bool + Send + 'static) {
        until(self.proxy.as_ref().unwrap().listeners(), move |all: &Vec<ListenerStatus>| {
            is_met(all)
        });
    }

    /// Ends the proxy and waits for it.
    pub fn end(mut self) {
        self.proxy.take().unwrap().end().unwrap();
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.proxy.as_ref().unwrap().stop();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
    }
}

/// Lines of a file once there are `count` of them.
pub fn lines(folder: &tempfile::TempDir, count: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(began.elapsed() < HANGS, "only {text:?}");
        thread::yield_now();
    }
}

/// Runs an ignored test in a process of its own.
pub fn alone(name: &str) {
    let mut this = std::process::Command::new(std::env::current_exe().unwrap());
    let ran = this.args(["--exact", name, "--ignored", "--nocapture"]).output().unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// Anonymous memory of this process, in which the proxy runs.
pub fn memory() -> u64 {
    weft_process::metrics::memory().unwrap().anonymous
}

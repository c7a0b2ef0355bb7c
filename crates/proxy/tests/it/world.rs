//! A proxy with its configuration, servers that answer as told, and a client that
//! speaks bytes.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weft_config::File;
use weft_process::log::Levels;
use weft_proxy::{ListenerStatus, Options, Ports, Proxy, Reach, Source};

/// Nothing here takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(20);

/// What a server says to each request, in order; the last one again and again.
pub fn server(answers: &[&str]) -> Server {
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let [connections, closed] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let (noted, counted) = (Arc::clone(&heard), Arc::clone(&connections));
    let ended = Arc::clone(&closed);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answers, noted) = (answers.clone(), Arc::clone(&noted));
            let ended = Arc::clone(&ended);
            counted.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                serve(stream, &answers, &noted);
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    Server { address, heard, connections, closed }
}

/// A server, and what it heard.
pub struct Server {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Server {
    /// Requests heard, with bodies.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until the server has closed `count` connections.
    pub fn until_closed(&self, count: usize) {
        while self.closed.load(Ordering::SeqCst) < count {
            thread::yield_now();
        }
    }

    /// Waits until the server has heard `count` requests.
    pub fn until_heard(&self, count: usize) {
        while self.heard.lock().unwrap().len() < count {
            thread::yield_now();
        }
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// `close` ends the connection without a word, `hang` says nothing more,
/// `… then close` ends it after the answer.
fn serve(mut stream: TcpStream, answers: &[String], noted: &Mutex<Vec<String>>) {
    loop {
        let Some(request) = message(&mut stream) else { return };
        let number = {
            let mut heard = noted.lock().unwrap();
            heard.push(request);
            heard.len() - 1
        };
        match answers[number.min(answers.len() - 1)].as_str() {
            "close" => return,
            "hang" => {
                let _ = stream.read(&mut [0]);
                return;
            }
            answer => {
                let (answer, close) = match answer.strip_suffix(" then close") {
                    Some(answer) => (answer, true),
                    None => (answer, false),
                };
                if stream.write_all(answer.as_bytes()).is_err() || close {
                    return;
                }
            }
        }
    }
}

/// Reads one message with its body; none at the end of the connection.
pub fn message(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    let head = loop {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        }
    };
    if head.contains("transfer-encoding: chunked") {
        let head = bytes.len();
        while !bytes[head..].ends_with(b"0\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            bytes.push(byte[0]);
        }
    } else if let Some((_, rest)) = head.split_once("content-length: ") {
        let length = rest.lines().next().unwrap().trim().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        bytes.extend(body);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A server that does `serve` with each connection.
pub fn serving(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A short answer with a length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

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

/// A client that speaks bytes.
pub struct Client(pub TcpStream);

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        Self(stream)
    }

    /// A client with this address of its own.
    pub fn from(own: [u8; 4], address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(HANGS)).unwrap();
        Self(stream)
    }

    pub fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// One message of HTTP; empty at the end of the connection.
    pub fn hear(&mut self) -> String {
        message(&mut self.0).unwrap_or_default()
    }

    /// The head of a message.
    pub fn head(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") && self.0.read(&mut byte).unwrap() > 0 {
            bytes.push(byte[0]);
        }
        String::from_utf8(bytes).unwrap()
    }

    pub fn ask(&mut self, request: &str) -> String {
        self.say(request);
        self.hear()
    }

    /// Whether the connection has not ended, and nothing has come.
    pub fn is_open(&mut self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let read = self.0.read(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Everything until the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.0.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
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

/// The status line's number and the body.
pub fn brief(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    format!("{status} {body}")
}

/// A GET of `path` for `host`.
pub fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

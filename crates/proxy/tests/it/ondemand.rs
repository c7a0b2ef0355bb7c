//! Configuration that comes when it is needed, from a control plane made of words.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use weft_config::{DirectoryChunk, Fingerprint};
use weft_proxy::{Options, Source, Stream};
use weft_wire::{
    message::{DeltaResponse, Resource, TYPE_URL},
    server::{Entrance, Limits, serve},
};

use crate::{
    hello::{hello, named},
    world::{Running, World, backend, brief, get, ok, rule, running, server},
};

/// Answers by interest: the resources that come along. Without resources, the interest is
/// reported as removed.
type Answers = BTreeMap<String, Vec<Value>>;

struct ControlPlane {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl ControlPlane {
    fn start(answers: Answers) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let (calls, mut received) = tokio::sync::mpsc::channel(1);
                let socket = tokio::net::TcpListener::from_std(socket).unwrap();
                let entrance = Entrance { socket, tls: None, admission: None };
                let serving = serve(entrance, Limits::default(), calls, std::future::pending());
                tokio::spawn(serving);
                let answering = async {
                    let mut nonce = 0;
                    while let Some(mut call) = received.recv().await {
                        while let Some(request) = call.requests.next().await {
                            noted.lock().unwrap().extend(request.subscribe.clone());
                            if !request.subscribe.is_empty() {
                                nonce += 1;
                                let response = respond(&answers, &request.subscribe, nonce);
                                call.responses.send(response).await;
                            }
                        }
                    }
                };
                tokio::select! { () = answering => {}, _ = stopped => {} }
            });
        });
        Self { address, asked, stop: Some(stop) }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

fn respond(answers: &Answers, names: &[String], nonce: u64) -> DeltaResponse {
    let mut response = DeltaResponse {
        type_url: TYPE_URL.to_owned(),
        nonce: nonce.to_string(),
        ..DeltaResponse::default()
    };
    for name in names {
        match answers.get(name) {
            None => response.removed.push(name.clone()),
            Some(resources) => response.resources.extend(resources.iter().map(|resource| {
                let read: weft_config::Resource = serde_json::from_value(resource.clone()).unwrap();
                let body = serde_json::to_vec(resource).unwrap();
                Resource::new(&read.name(), 1, body.into())
            })),
        }
    }
    response
}

/// What every proxy asks for when it starts.
const BEFORE: [&str; 3] = ["directory/own", "directory/shared", "self"];

/// Two hosts on port 80.
fn directory() -> Vec<Value> {
    let host = |name| Fingerprint::of_host(name, 80);
    let directory = DirectoryChunk {
        name: "shared/0".to_owned(),
        hosts: ["shop.example", "ghost.example"].into_iter().map(host).collect(),
        http_ports: [80].into(),
        ..DirectoryChunk::default()
    };
    shared(&directory)
}

fn shared(directory: &DirectoryChunk) -> Vec<Value> {
    vec![
        json!({ "answer": { "interest": "directory/shared", "entry": "directory" } }),
        json!({ "directory": directory }),
    ]
}

/// What a sidecar knows at first, besides the directory: no outside.
fn own() -> Vec<Value> {
    vec![
        json!({ "answer": { "interest": "self", "entry": "own" } }),
        json!({ "settings": { "workload": { "name": "w", "namespace": "n" }, "outside": "refuse" } }),
        json!({ "listener": { "name": "test", "bind": "127.0.0.1:0",
            "destination": "socket", "layers": ["proxyProtocol"], "scope": "directory" } }),
    ]
}

fn shop(address: SocketAddr) -> Vec<Value> {
    vec![
        json!({ "answer": { "interest": "shop.example:80", "entry": { "route": "80/shop.example" },
            "needs": ["backend/shop", "chunks/shop", "endpoints/shop", "route/80/shop.example"] } }),
        json!({ "route": { "name": "80/shop.example", "hosts": ["shop.example"],
            "rules": [rule("shop")], "origin": { "object": "Service/default/shop" } } }),
        json!({ "backend": backend("shop", json!({ "endpoints": "shop" })) }),
        json!({ "chunkList": { "name": "shop", "chunks": ["shop"] } }),
        json!({ "endpoints": { "name": "shop", "endpoints": [{ "address": address }] } }),
    ]
}

fn proxy(control: SocketAddr, state: Option<PathBuf>) -> Running {
    let stream = Stream {
        address: control.to_string(),
        name: None,
        ca_pem: None,
        token: None,
        node: "test".to_owned(),
        state,
    };
    running(Options { source: Source::Stream(stream), ..World::new().options })
}

fn ask(proxy: &Running, host: &str) -> String {
    let request = get(host, "/");
    brief(&proxy.ask(&format!("PROXY TCP4 10.0.0.9 10.0.0.5 4000 80\r\n{request}")))
}

#[test]
fn a_name_is_asked_for_once_when_it_is_first_used() {
    let server = server(&[&ok("shop")]);
    let answers = [
        ("self".to_owned(), own()),
        ("directory/shared".to_owned(), directory()),
        ("shop.example:80".to_owned(), shop(server.address)),
    ];
    let control = ControlPlane::start(answers.into());
    let proxy = proxy(control.address, None);
    assert_eq!(control.asked(), BEFORE);
    assert_eq!(ask(&proxy, "shop.example"), "200 shop");
    assert_eq!(ask(&proxy, "shop.example"), "200 shop");
    assert_eq!(control.asked(), [&BEFORE[..], &["shop.example:80"]].concat());
    for number in 0..50 {
        assert_eq!(ask(&proxy, &format!("random{number}.example")), "502 ");
    }
    assert_eq!(control.asked().len(), 4, "the directory answers for what is not in the mesh");
    let unknown = "503 the mesh's configuration for this destination has not arrived";
    assert_eq!(ask(&proxy, "ghost.example"), unknown);
}

#[test]
fn a_proxy_that_restarts_without_its_control_plane_serves_what_it_knew() {
    let server = server(&[&ok("shop")]);
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path().to_owned());
    let answers = [
        ("self".to_owned(), own()),
        ("directory/shared".to_owned(), directory()),
        ("shop.example:80".to_owned(), shop(server.address)),
    ];
    let control = ControlPlane::start(answers.into());
    let first = proxy(control.address, state.clone());
    assert_eq!(ask(&first, "shop.example"), "200 shop");
    let file = folder.path().join("known.log");
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    while !written().contains("shop.example:80") {
        std::thread::yield_now();
    }
    first.end();
    let gone = control.address;
    drop(control);
    let second = proxy(gone, state);
    assert_eq!(ask(&second, "shop.example"), "200 shop");
    assert_eq!(ask(&second, "other.example"), "502 ");
}

/// The answer for a server name, whose clients go to `address`.
fn vault(address: SocketAddr) -> Vec<Value> {
    let origin = json!({ "object": "Service/default/vault" });
    let target = json!({ "backends": [["vault", 1]], "origin": origin });
    vec![
        json!({ "answer": { "interest": "tls/vault.example:443",
            "entry": { "server": { "name": "vault", "protocol": "tcp", "tcp": [target],
                "origin": origin } },
            "needs": ["backend/vault", "chunks/vault", "endpoints/vault"] } }),
        json!({ "backend": backend("vault", json!({ "endpoints": "vault" })) }),
        json!({ "chunkList": { "name": "vault", "chunks": ["vault"] } }),
        json!({ "endpoints": { "name": "vault", "endpoints": [{ "address": address }] } }),
    ]
}

#[test]
fn a_server_name_is_asked_for_once_and_unknown_ones_are_not() {
    let directory = DirectoryChunk {
        name: "shared/0".to_owned(),
        hosts: [Fingerprint::of_host("vault.example", 443)].into_iter().collect(),
        tls_ports: [443].into(),
        ..DirectoryChunk::default()
    };
    let answers = [
        ("self".to_owned(), own()),
        ("directory/shared".to_owned(), shared(&directory)),
        ("tls/vault.example:443".to_owned(), vault(named("vault"))),
    ];
    let control = ControlPlane::start(answers.into());
    let proxy = proxy(control.address, None);
    let heard = |says: &[u8]| {
        let mut client = proxy.client();
        client.0.write_all(b"PROXY TCP4 10.0.0.9 203.0.113.7 4000 443\r\n").unwrap();
        client.0.write_all(says).unwrap();
        let _ = client.0.shutdown(Shutdown::Write);
        let mut heard = Vec::new();
        let _ = client.0.read_to_end(&mut heard);
        heard
    };
    for name in ["vault.example", "Vault.Example"] {
        let says = hello(name, &[]);
        assert_eq!(heard(&says), [b"vault", &says[..]].concat());
    }
    for number in 0..20 {
        assert_eq!(heard(&hello(&format!("random{number}.example"), &[])), b"");
    }
    assert_eq!(heard(&hello("", &[])), b"");
    assert_eq!(heard(b"GET / HTTP/1.1\r\nhost: vault.example\r\n\r\n"), b"");
    assert_eq!(control.asked(), [&BEFORE[..], &["tls/vault.example:443"]].concat());
}

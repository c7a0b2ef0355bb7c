//! Connections in memory, with a clock that the tests move.

use super::*;
use std::{io, sync::OnceLock};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{mpsc, watch},
    task::LocalSet,
};
use weft_config::{DirectoryChunk, Fingerprint, Resource};
use weft_decide::Table;

use crate::{
    config::handle::{self, ConfigRequest},
    io::stream::Stream,
    telemetry::access_log,
    upstream::{
        dial::Dialer,
        dns::{Lookup, Name, Resolver},
        reach::Reach,
    },
    worker::state::Parts,
};

const SECOND: Duration = Duration::from_secs(1);

/// A worker with one listener, whose server answers everything itself.
struct World {
    worker: Rc<WorkerState>,
    listener: Arc<Listener>,
    _requests: mpsc::Receiver<ConfigRequest>,
    _tables: watch::Sender<Arc<Table>>,
    log: tempfile::TempDir,
}

impl World {
    /// A listener with these fields beside the usual ones.
    fn new(fields: Value) -> Self {
        Self::with(fields, &[], |_| Ok(Vec::new()))
    }

    /// The same with more resources, and names that `lookup` finds.
    fn with(fields: Value, more: &[Value], lookup: Lookup) -> Self {
        let log = tempfile::tempdir().unwrap();
        let mut listener = json!({
            "name": "test", "bind": "10.0.0.1:80", "destination": "socket",
            "scope": { "servers": [{
                "name": "http.80", "protocol": "http", "routes": ["all"],
                "origin": { "object": "Gateway/default/test" },
            }] },
        });
        let Value::Object(fields) = fields else { panic!("fields") };
        for (name, value) in fields {
            listener[name] = value;
        }
        let mut resources = vec![
            json!({ "listener": listener }),
            json!({ "route": {
                "name": "all", "hosts": ["*"], "origin": { "object": "VirtualService/x/y" },
                "rules": [{
                    "action": { "respond": { "status": 200, "body": "hi", "details": "direct" } },
                    "origin": { "object": "VirtualService/x/y" },
                }],
            } }),
            json!({ "settings": { "accessLog": {
                "path": log.path().join("log"),
                "format": { "text": "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%" },
            } } }),
        ];
        resources.extend_from_slice(more);
        let resources: Vec<Resource> = serde_json::from_value(Value::Array(resources)).unwrap();
        let changes = resources.into_iter().map(|one| (one.name(), Some(Arc::new(one))));
        let (table, rejected) = Table::new().with(changes);
        assert!(rejected.is_empty(), "{rejected:?}");
        let listener = Arc::new(Listener::of(table.listeners().next().unwrap()));
        let (_tables, tables) = watch::channel(Arc::new(table));
        let (config, _requests) = handle::channel();
        let parts = Parts {
            metrics: Arc::default(),
            dialer: Dialer::default().reaching(Reach::Anywhere),
            resolver: Resolver::with(lookup),
            sink: access_log::start().unwrap(),
            config,
            tables,
            closed: Arc::default(),
            buffers: Arc::default(),
        };
        let worker = Rc::new(WorkerState::new(parts, 7));
        Self { worker, listener, _requests, _tables, log }
    }

    /// A client of the listener, and the task that serves it.
    fn connect(&self) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, near) = duplex(64 * 1024);
        let accepted = AcceptedConnection {
            stream: Stream::layered(near),
            client: ([10, 0, 0, 9], 4000).into(),
            local: ([10, 0, 0, 1], 80).into(),
            destination: ([10, 0, 0, 1], 80).into(),
        };
        let guard = self.worker.connections.enter(None);
        let (worker, listener) = (Rc::clone(&self.worker), Arc::clone(&self.listener));
        (client, tokio::task::spawn_local(serve(worker, listener, accepted, guard)))
    }

    /// How many connections were closed for `reason`.
    fn closed(&self, reason: CloseReason) -> u64 {
        self.worker.closed.all().find(|(one, _)| *one == reason).unwrap().1
    }

    /// The access log so far.
    fn log(&self) -> String {
        self.worker.access_log.finish();
        std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }
}

/// What `client` says is sent as one piece; what it hears until the end of the connection.
async fn talk(world: &World, says: &[u8]) -> String {
    let (mut client, serving) = world.connect();
    client.write_all(says).await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    // A relay lasts until both sides have ended.
    drop(client);
    serving.await.unwrap();
    heard
}

fn local<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), test)
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[test]
fn http_is_served_on_a_stream_in_memory() {
    local(async {
        let world = World::new(json!({}));
        let heard = talk(&world, REQUEST).await;
        assert!(
            heard.starts_with("HTTP/1.1 200 OK\r\n") && heard.ends_with("\r\n\r\nhi"),
            "{heard}"
        );
    });
}

#[test]
fn a_request_that_came_in_one_piece_with_a_header_of_a_layer_is_detected_at_once() {
    local(async {
        for protocol in ["http", "detect"] {
            let world = World::new(json!({ "layers": ["proxyProtocol"], "scope": { "servers": [{
                "name": "any", "protocol": protocol, "routes": ["all"],
                "tcp": [{ "backends": [["none", 1]], "origin": { "object": "Service/a/b" } }],
                "origin": { "object": "Service/a/b" },
            }] } }));
            let says = [b"PROXY TCP4 1.2.3.4 10.0.0.5 4000 8080\r\n", REQUEST].concat();
            let began = tokio::time::Instant::now();
            let heard = talk(&world, &says).await;
            assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
            assert_eq!(began.elapsed(), Duration::ZERO, "{protocol}");
        }
    });
}

#[test]
fn a_worker_without_requests_does_not_keep_an_old_table() {
    local(async {
        let world = World::new(json!({}));
        let old = Arc::downgrade(&world._tables.borrow());
        world._tables.send_replace(Arc::new(Table::new()));
        assert!(old.upgrade().is_some());
        world.worker.sweep();
        assert!(old.upgrade().is_none());
    });
}

/// How long a client that says `says`, and then nothing, is kept.
#[track_caller]
fn check_kept(fields: Value, says: &str, expected: Duration, reason: CloseReason, log: &str) {
    local(async {
        let world = World::new(fields);
        let began = tokio::time::Instant::now();
        talk(&world, says.as_bytes()).await;
        let kept = began.elapsed();
        assert!(kept >= expected && kept < expected + SECOND, "{kept:?} after {says:?}");
        assert_eq!(world.closed(reason), 1, "{says:?}");
        assert_eq!(world.log(), log, "{says:?}");
    });
}

#[test]
fn half_a_request_line_is_waited_for_and_answered() {
    local(async {
        let world = World::new(json!({ "limits": { "head": "10s" } }));
        let began = tokio::time::Instant::now();
        let heard = talk(&world, b"GET / HT").await;
        assert_eq!(began.elapsed().as_secs(), 10);
        assert!(heard.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{heard}");
        assert_eq!(world.log(), "408 - request_header_timeout\n");
    });
}

#[test]
fn clients_that_say_nothing_or_half_of_it_are_closed_counted_and_logged() {
    let limits = json!({ "limits": { "head": "10s", "idle": "900s" } });
    check_kept(limits.clone(), "", 900 * SECOND, CloseReason::Silent, "");
    let silent = "0 - silent\n";
    check_kept(limits, "PRI * HT", 10 * SECOND, CloseReason::Silent, silent);
    let layer = json!({ "limits": { "head": "10s" }, "layers": ["proxyProtocol"] });
    check_kept(layer.clone(), "PROXY TCP4 1.2", 10 * SECOND, CloseReason::Silent, silent);
    check_kept(
        layer,
        "GET / HTTP/1.1\r\n",
        Duration::ZERO,
        CloseReason::ProxyHeader,
        "0 DPE proxy_header\n",
    );
    let tls = "\u{16}\u{3}\u{1}";
    check_kept(
        json!({}),
        tls,
        Duration::ZERO,
        CloseReason::UnexpectedTls,
        "0 DPE unexpected_tls\n",
    );
}

#[test]
fn a_client_that_has_sent_nothing_does_not_hold_up_the_end() {
    local(async {
        let world = World::new(json!({ "layers": ["proxyProtocol"] }));
        for world in [World::new(json!({})), world] {
            let (mut client, serving) = world.connect();
            tokio::task::yield_now().await;
            world.worker.connections.start();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            serving.await.unwrap();
            assert_eq!(world.closed(CloseReason::Drained), 1);
        }
    });
}

#[test]
fn the_idlest_connection_is_closed_when_there_are_too_many() {
    local(async {
        let world = World::new(json!({}));
        let (mut one, first) = world.connect();
        tokio::task::yield_now().await;
        let connections = &world.worker.connections;
        let (still_open, _) = mpsc::channel(1);
        connections.shed(&connections.idlest(1, None, std::time::Instant::now()), &still_open);
        assert_eq!(one.read(&mut [0]).await.unwrap(), 0);
        first.await.unwrap();
        assert_eq!(world.closed(CloseReason::Shed), 1);
    });
}

/// Two addresses of one name: nothing listens at the first.
static ADDRESSES: OnceLock<[SocketAddr; 2]> = OnceLock::new();

fn two_addresses(_: &Name) -> io::Result<Vec<SocketAddr>> {
    Ok(ADDRESSES.get().unwrap().to_vec())
}

#[test]
fn every_address_of_a_name_is_tried() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async {
        let (dead, server) = (bind("127.0.0.1:0").await, bind("127.0.0.1:0").await);
        ADDRESSES.set([dead.local_addr().unwrap(), server.local_addr().unwrap()]).unwrap();
        drop(dead);
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                let answer =
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nnamed";
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let backend = json!({ "backend": {
            "name": "named", "service": "", "port": 80,
            "discovery": { "dns": { "host": "two.example", "port": 80 } },
            "upstream": "http1", "loadBalancer": "roundRobin", "connectTimeout": "5s",
            "origin": { "object": "ServiceEntry/a/b" },
        } });
        let route = json!({ "route": {
            "name": "to-named", "hosts": ["*"], "origin": { "object": "VirtualService/x/y" },
            "rules": [{
                "action": { "forward": [{ "backend": "named", "weight": 1 }] },
                "origin": { "object": "VirtualService/x/y" },
            }],
        } });
        for protocol in ["http", "tcp"] {
            let fields = json!({ "scope": { "servers": [{
                "name": "any", "protocol": protocol, "routes": ["to-named"],
                "tcp": [{ "backends": [["named", 1]], "origin": { "object": "Service/a/b" } }],
                "origin": { "object": "Service/a/b" },
            }] } });
            let world = World::with(fields, &[backend.clone(), route.clone()], two_addresses);
            // Twice, since the second time it is known that the first address does not answer.
            for _ in 0..2 {
                let heard = talk(&world, REQUEST).await;
                assert!(heard.ends_with("named"), "{protocol} {heard:?}");
            }
        }
    };
    LocalSet::new().block_on(&runtime, test);
}

async fn bind(address: &str) -> tokio::net::TcpListener {
    tokio::net::TcpListener::bind(address).await.unwrap()
}

/// The interests that were used since this was last asked.
fn used(world: &World) -> Vec<String> {
    world._tables.borrow().take_used().iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_relay_goes_by_counts_as_used_while_it_lives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async {
        let server = bind("127.0.0.1:0").await;
        let (interest, origin) = ("10.0.0.1:80", json!({ "object": "Service/a/b" }));
        let addresses = [Fingerprint::of_address(interest.parse().unwrap())].into_iter().collect();
        let name = "shared/0".to_owned();
        let chunk = DirectoryChunk { name, addresses, ..DirectoryChunk::default() };
        for protocol in ["tcp", "http"] {
            let entry = json!({ "server": {
                "name": "any", "protocol": protocol, "routes": ["to-there"], "origin": origin,
                "tcp": [{ "backends": [["there", 1]], "origin": origin }],
            } });
            let resources = [
                json!({ "directory": chunk }),
                json!({ "answer": { "interest": interest, "entry": entry } }),
                json!({ "endpoints": { "name": "there", "endpoints": [
                    { "address": server.local_addr().unwrap() },
                ] } }),
                json!({ "chunkList": { "name": "there", "chunks": ["there"] } }),
                json!({ "backend": {
                    "name": "there", "service": "", "port": 80, "connectTimeout": "5s",
                    "discovery": { "endpoints": "there" }, "upstream": "http1",
                    "loadBalancer": "roundRobin", "origin": origin,
                } }),
                json!({ "route": { "name": "to-there", "hosts": ["*"], "origin": origin, "rules": [{
                    "action": { "forward": [{ "backend": "there", "weight": 1 }] },
                    "origin": origin,
                }] } }),
            ];
            let world = World::with(json!({ "scope": "directory" }), &resources, |_| Ok(vec![]));
            let (mut client, serving) = world.connect();
            let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
                           upgrade: websocket\r\n\r\n";
            client.write_all(upgrade.as_bytes()).await.unwrap();
            let (mut accepted, _) = server.accept().await.unwrap();
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\n\r\n";
            accepted.write_all(format!("{switch}relayed").as_bytes()).await.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"relayed") {
                assert_ne!(client.read_buf(&mut heard).await.unwrap(), 0);
            }
            assert_eq!((used(&world), used(&world)), (vec![interest.to_owned()], vec![]));
            world.worker.sweep();
            assert_eq!(used(&world), [interest], "{protocol}");
            drop((client, accepted));
            serving.await.unwrap();
            while !world.worker.relays.are_none() {
                tokio::task::yield_now().await;
            }
            world.worker.sweep();
            assert_eq!(used(&world), [""; 0], "{protocol}");
        }
    };
    LocalSet::new().block_on(&runtime, test);
}

/// What one connection costs while nothing happens on it, beside its socket.
#[test]
fn the_future_of_a_connection_is_small() {
    local(async {
        let world = World::new(json!({}));
        let (_, near) = duplex(1);
        let accepted = AcceptedConnection {
            stream: Stream::layered(near),
            client: ([10, 0, 0, 9], 4000).into(),
            local: ([10, 0, 0, 1], 80).into(),
            destination: ([10, 0, 0, 1], 80).into(),
        };
        let guard = world.worker.connections.enter(None);
        let serving = serve(Rc::clone(&world.worker), Arc::clone(&world.listener), accepted, guard);
        assert!(size_of_val(&serving) < 8 * 1024, "{} bytes", size_of_val(&serving));
    });
}

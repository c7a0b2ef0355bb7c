//! Backends that limit their connections and requests, as both ends see it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use serde_json::{Value, json};
use weft_testkit::waiting::eventually;

use crate::{
    streams::{LARGE, h2_server},
    world::{Client, Running, World, backend, brief, get, lines, message, ok, server},
};

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";
const OVERFLOW: &str =
    "503 upstream connect error or disconnect/reset before headers. reset reason: overflow";
const HANGS: Duration = Duration::from_secs(20);

/// A world whose only backend has these settings for connections.
fn limited(pool: &Value, addresses: &[SocketAddr]) -> World {
    let mut one = backend("one", json!({ "endpoints": "there" }));
    one["connectionPool"] = pool.clone();
    World::new().backend("there", addresses).resource(json!({ "backend": one })).all_to("one")
}

/// Rules that relay what comes to the only backend.
fn to_one() -> Value {
    let origin = json!({ "object": "VirtualService/default/test" });
    json!([{ "backends": [["one", 1]], "origin": origin }])
}

/// A proxy with so many workers.
fn with_workers(mut world: World, workers: usize) -> Running {
    world.options.workers = workers;
    world.start()
}

/// A server that answers each request once it may, and counts.
#[derive(Clone, Default)]
struct Held(Arc<(Mutex<Counts>, Condvar)>);

#[derive(Default)]
struct Counts {
    may_answer: usize,
    most_open: usize,
    asked: usize,
}

impl Held {
    fn start() -> (Self, SocketAddr) {
        let (held, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (server, address) = (held.clone(), listener.local_addr().unwrap());
        thread::spawn(move || {
            let mut all = Vec::new();
            for mut stream in listener.incoming().flatten() {
                all.push(stream.try_clone().unwrap());
                // The end of one that is closed before another is opened has come by now.
                let open = all.iter().filter(|stream| is_open(stream)).count();
                let server = server.clone();
                server.change(|counts| counts.most_open = counts.most_open.max(open));
                thread::spawn(move || {
                    while message(&mut stream).is_some() {
                        server.wait();
                        if stream.write_all(ok("hi").as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (held, address)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        let changed = change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        changed
    }

    /// Waits until one more may be answered.
    fn wait(&self) {
        let mut counts = self.0.0.lock().unwrap();
        counts.asked += 1;
        self.0.1.notify_all();
        let mut counts = self.0.1.wait_while(counts, |counts| counts.may_answer == 0).unwrap();
        counts.may_answer -= 1;
    }

    /// So many more are answered.
    fn answer(&self, count: usize) {
        self.change(|counts| counts.may_answer += count);
    }

    fn until(&self, is_met: impl Fn(&Counts) -> bool) {
        let counts = self.0.0.lock().unwrap();
        let (counts, waited) =
            self.0.1.wait_timeout_while(counts, HANGS, |counts| !is_met(counts)).unwrap();
        assert!(!waited.timed_out(), "{} asked", counts.asked);
    }
}

/// Whether the peer has not ended the connection, whatever else was read of it.
fn is_open(stream: &TcpStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(recv(stream, &mut [0], flags), Ok((_, 0)) | Err(Errno::CONNRESET | Errno::PIPE))
}

/// Sends a request on each of `count` new connections at once; the answers as they come.
struct Asking {
    answers: Arc<Mutex<Vec<String>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Asking {
    fn begin(proxy: &Running, count: usize) -> Self {
        let answers = Arc::<Mutex<Vec<String>>>::default();
        let threads = (0..count).map(|_| {
            let (mut client, answers) = (proxy.client(), Arc::clone(&answers));
            thread::spawn(move || {
                let answer = client.ask(&get("x", "/"));
                answers.lock().unwrap().push(answer);
            })
        });
        let threads = threads.collect();
        Self { answers, threads }
    }

    fn until(&self, count: usize) {
        let met = || (self.answers.lock().unwrap().len() >= count).then_some(());
        eventually(HANGS, met).unwrap_or_else(|| panic!("{:?}", self.answers));
    }

    /// How many got an answer of the server, and how many of the proxy, once all have one.
    fn end(self) -> (usize, usize) {
        self.threads.into_iter().for_each(|one| one.join().unwrap());
        let answers: Vec<_> = self.answers.lock().unwrap().iter().map(|one| brief(one)).collect();
        let count = |wanted: &str| answers.iter().filter(|answer| *answer == wanted).count();
        let counted = (count("200 hi"), count(OVERFLOW));
        assert_eq!(counted.0 + counted.1, answers.len(), "{answers:?}");
        counted
    }
}

#[test]
fn four_workers_let_in_as_many_requests_as_the_limit_says() {
    let (held, address) = Held::start();
    let proxy = with_workers(limited(&json!({ "maxRequests": 10 }), &[address]), 4);
    for round in 1..=3 {
        let asking = Asking::begin(&proxy, 40);
        asking.until(30);
        held.until(|counts| counts.asked == 10 * round);
        held.answer(10);
        assert_eq!(asking.end(), (10, 30), "round {round}");
    }
    // Those that were one too many have opened no connection.
    assert!(held.change(|counts| counts.most_open) <= 30);
}

#[test]
fn one_more_than_may_be_is_told_so() {
    let (held, address) = Held::start();
    let (world, log) = limited(&json!({ "maxRequests": 1 }), &[address]).log(LOG);
    let proxy = world.start();
    let asking = Asking::begin(&proxy, 1);
    held.until(|counts| counts.asked == 1);
    let answer = proxy.client().ask(&get("x", "/"));
    assert_eq!(brief(&answer), OVERFLOW);
    assert!(answer.contains("\r\nx-envoy-overloaded: true\r\n"), "{answer}");
    held.answer(1);
    assert_eq!(asking.end(), (1, 0));
    assert_eq!(lines(&log, 1)[0], "503 UO upstream_reset_before_response_started{overflow}");
}

#[test]
fn a_request_waits_for_the_only_connection_and_more_than_may_wait_do_not() {
    let pool = json!({ "maxConnections": 1, "maxPending": 1 });
    for _ in 0..3 {
        let (held, address) = Held::start();
        let proxy = with_workers(limited(&pool, &[address]), 4);
        let asking = Asking::begin(&proxy, 5);
        asking.until(3);
        held.answer(2);
        assert_eq!(asking.end(), (2, 3));
        assert_eq!(held.change(|counts| counts.most_open), 1);
    }
}

#[test]
fn workers_hand_the_only_connection_on() {
    let (held, address) = Held::start();
    held.answer(usize::MAX);
    let other = server(&[&ok("hi")]);
    let pool = json!({ "maxConnections": 1 });
    let proxy = with_workers(limited(&pool, &[address, other.address]), 4);
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
    for _ in 0..6 {
        for client in &mut clients {
            assert_eq!(brief(&client.ask(&get("x", "/"))), "200 hi");
        }
    }
    assert_eq!(held.change(|counts| counts.most_open), 1);
    let asking = Asking::begin(&proxy, 40);
    assert_eq!(asking.end(), (40, 0));
    assert_eq!(held.change(|counts| counts.most_open), 1);
}

#[test]
fn clients_that_leave_make_room_for_others_that_wait() {
    let (held, address) = Held::start();
    let pool = json!({ "maxConnections": 1, "maxPending": 2 });
    let proxy = limited(&pool, &[address]).start();
    let first = Asking::begin(&proxy, 1);
    held.until(|counts| counts.asked == 1);
    for _ in 0..20 {
        let mut leaving: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
        leaving.iter_mut().for_each(|client| client.say(&get("x", "/")));
        let full = || (brief(&proxy.client().ask(&get("x", "/"))) == OVERFLOW).then_some(());
        // The proxy reads connections in turns: both wait before it reads the third.
        eventually(HANGS, full).expect("two wait");
        drop(leaving);
        let waiting = || {
            let mut client = proxy.client();
            client.say(&get("x", "/"));
            client.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            // One that may wait hears nothing.
            client.0.read(&mut [0]).is_err().then_some(())
        };
        eventually(HANGS, waiting).expect("there is room again");
    }
    held.answer(usize::MAX);
    assert_eq!(first.end(), (1, 0));
    assert_eq!(Asking::begin(&proxy, 1).end(), (1, 0));
    assert_eq!(held.change(|counts| counts.most_open), 1);
}

#[test]
fn what_waits_for_servers_that_take_no_connection_has_its_turn() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = gone.local_addr().unwrap();
    drop(gone);
    let proxy = with_workers(limited(&json!({ "maxConnections": 1 }), &[refusing]), 2);
    let answers: Vec<_> = (0..20)
        .map(|_| {
            let mut client = proxy.client();
            thread::spawn(move || brief(&client.ask(&get("x", "/"))))
        })
        .collect();
    for answer in answers {
        let answer = answer.join().unwrap();
        assert!(answer.contains("reset reason: remote connection failure"), "{answer}");
    }
}

#[test]
fn connections_that_are_relayed_as_they_are_have_the_same_limit() {
    let (held, address) = Held::start();
    let (world, log) = limited(&json!({ "maxConnections": 2 }), &[address]).log(LOG);
    let world = world.server("protocol", json!("tcp")).server("tcp", to_one());
    let proxy = with_workers(world, 4);
    let mut clients: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.say(&get("x", "/")));
    held.until(|counts| counts.asked == 2);
    assert_eq!(proxy.client().rest(), "");
    assert!(lines(&log, 1)[0].starts_with("0 UO "), "{:?}", lines(&log, 1));
    clients.pop();
    held.answer(100);
    let again = || {
        let mut client = proxy.client();
        let _ = client.0.write_all(get("x", "/").as_bytes());
        client.hear().ends_with("hi").then_some(())
    };
    eventually(HANGS, again).expect("the place of the one that left is free");
    assert!(held.change(|counts| counts.most_open) <= 2);
}

#[test]
fn a_silent_client_of_an_undeclared_port_keeps_no_connection_that_others_want() {
    let one = server(&[&ok("hi")]);
    let world = limited(&json!({ "maxConnections": 1 }), &[one.address])
        .server("protocol", json!("detect"))
        .server("tcp", to_one());
    let proxy = with_workers(world, 2);
    let mut silent = proxy.client();
    let dialled = || (one.connections() == 1).then_some(());
    eventually(HANGS, dialled).expect("the server may speak first");
    for client in [&mut proxy.client(), &mut silent] {
        assert_eq!(brief(&client.ask(&get("x", "/"))), "200 hi");
    }
}

#[test]
fn a_client_that_the_proxy_has_answered_itself_keeps_no_connection() {
    let one = server(&[&ok("hi")]);
    let (mut there, mine) =
        (backend("one", json!({ "endpoints": "there" })), crate::world::rule("one"));
    there["connectionPool"] = json!({ "maxConnections": 1 });
    let proxy = World::new()
        .backend("there", &[one.address])
        .resource(json!({ "backend": there }))
        .route(&["x"], json!([mine]))
        .server("protocol", json!("detect"))
        .server("tcp", to_one())
        .start();
    let mut answered = proxy.client();
    let dialled = || (one.connections() == 1).then_some(());
    eventually(HANGS, dialled).expect("the server may speak first");
    assert_eq!(brief(&answered.ask(&get("unknown", "/"))), "404 ");
    assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "200 hi");
    assert_eq!(brief(&answered.ask(&get("x", "/"))), "200 hi");
}

#[test]
fn a_server_whose_connections_are_limited_may_speak_first() {
    let greeting = crate::world::serving(|mut stream| {
        let _ = stream.write_all(b"5.7.0-greeting");
        let _ = stream.read(&mut [0]);
    });
    let world = limited(&json!({ "maxConnections": 1 }), &[greeting])
        .server("protocol", json!("detect"))
        .server("tcp", to_one());
    let mut heard = [0; 14];
    world.start().client().0.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"5.7.0-greeting");
}

#[test]
fn connections_that_are_relayed_as_they_are_end_when_their_time_is_over() {
    let quiet = crate::world::serving(|mut stream| {
        let _ = stream.read(&mut [0]);
    });
    let (world, log) = limited(&json!({ "maxDuration": "0.05s" }), &[quiet]).log(LOG);
    let proxy = world.server("protocol", json!("tcp")).server("tcp", to_one()).start();
    assert_eq!(proxy.client().rest(), "");
    assert!(lines(&log, 1)[0].starts_with("0 DT "), "{:?}", lines(&log, 1));
}

#[test]
fn connections_serve_as_many_requests_as_they_may_for_as_long_as_they_may() {
    for (pool, connections) in [
        (json!({ "maxRequestsPerConnection": 2 }), 4),
        (json!({ "maxRequestsPerConnection": 1, "maxConnections": 1 }), 8),
        (json!({ "idle": "0.000001s" }), 8),
        (json!({ "maxDuration": "0.000001s" }), 8),
        (json!({ "idle": "0s", "maxDuration": "3600s" }), 1),
    ] {
        let one = server(&[&ok("hi")]);
        let proxy = limited(&pool, &[one.address]).start();
        let mut client = proxy.client();
        for _ in 0..8 {
            assert_eq!(brief(&client.ask(&get("x", "/"))), "200 hi");
        }
        assert_eq!(one.connections(), connections, "{pool}");
    }
}

#[test]
fn further_tries_are_limited() {
    for pool in [
        json!({ "maxRetries": 0 }),
        json!({ "maxRetries": 9, "retryBudget": { "percent": 0.0, "least": 0 } }),
    ] {
        let one = server(&[BROKEN]);
        let mut there = backend("one", json!({ "endpoints": "there" }));
        there["connectionPool"] = pool;
        let rule = json!([{
            "name": "default", "action": { "forward": [{ "backend": "one", "weight": 1 }] },
            "retries": { "attempts": 2, "on": ["5xx"], "backoff": "0.001s", "avoidTried": true },
            "origin": { "object": "VirtualService/default/test", "rule": "http[0]" },
        }]);
        let (world, log) = World::new().backend("there", &[one.address]).log(LOG);
        let proxy = world.resource(json!({ "backend": there })).route(&["*"], rule).start();
        assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "500 no");
        assert_eq!(one.heard().len(), 1);
        assert_eq!(lines(&log, 1)[0], "500 UO via_upstream");
    }
}

#[test]
fn one_further_try_at_a_time_is_each_requests_turn() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let address = crate::world::serving(move |mut stream| {
        while message(&mut stream).is_some() {
            let nth = counted.fetch_add(1, SeqCst);
            let answer = if nth.is_multiple_of(2) { BROKEN.to_owned() } else { ok("hi") };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let mut there = backend("one", json!({ "endpoints": "there" }));
    there["connectionPool"] = json!({ "maxRetries": 1 });
    let rule = json!([{
        "name": "default", "action": { "forward": [{ "backend": "one", "weight": 1 }] },
        "retries": { "attempts": 3, "on": ["5xx"], "backoff": "0.001s", "avoidTried": true },
        "origin": { "object": "VirtualService/default/test", "rule": "http[0]" },
    }]);
    let world = World::new().backend("there", &[address]);
    let proxy = world.resource(json!({ "backend": there })).route(&["*"], rule).start();
    for _ in 0..5 {
        assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "200 hi");
    }
}

/// Asks `count` times at once, and has answers sent once `under_way` have come and `refused` have
/// not; the answers of the server, and the connections of HTTP/2.
async fn over_http2(
    pool: Value,
    count: usize,
    (under_way, refused): (usize, usize),
) -> (usize, usize) {
    let (go, wait) = tokio::sync::watch::channel(());
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let (address, connections) = h2_server(LARGE, move |_, mut respond| {
        let (mut wait, counted) = (wait.clone(), Arc::clone(&counted));
        async move {
            counted.fetch_add(1, SeqCst);
            let _ = wait.wait_for(|()| false).await;
            let _ = respond.send_response(http::Response::new(()), true);
        }
    })
    .await;
    let mut one = backend("one", json!({ "endpoints": "there" }));
    one["upstream"] = json!("http2");
    one["connectionPool"] = pool;
    let proxy = World::new()
        .backend("there", &[address])
        .resource(json!({ "backend": one }))
        .all_to("one")
        .start();
    let asking = Asking::begin(&proxy, count);
    let answered = tokio::task::spawn_blocking(move || {
        let come = || (asked.load(SeqCst) >= under_way).then_some(());
        eventually(HANGS, come).unwrap_or_else(|| panic!("{asked:?} of {under_way}"));
        asking.until(refused);
        // The server's tasks learn that nothing more comes.
        drop(go);
        let answers = Arc::clone(&asking.answers);
        asking.threads.into_iter().for_each(|one| one.join().unwrap());
        let answers = answers.lock().unwrap();
        answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 200 ")).count()
    });
    let answered = answered.await.unwrap();
    (answered, connections.load(SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_limited_for_each_connection_and_wait_where_connections_are() {
    let no_more = json!({ "maxStreams": 1, "maxConnections": 1 });
    assert_eq!(over_http2(no_more, 3, (1, 0)).await, (3, 1));
    let some_wait = json!({ "maxStreams": 1, "maxConnections": 2, "maxPending": 1 });
    assert_eq!(over_http2(some_wait, 9, (2, 6)).await, (3, 2));
    let each = json!({ "maxStreams": 1 });
    assert_eq!(over_http2(each, 3, (3, 0)).await, (3, 3));
    let worn = json!({ "maxRequestsPerConnection": 1 });
    assert_eq!(over_http2(worn, 3, (3, 0)).await, (3, 3));
    let one_each = json!({ "maxRequestsPerConnection": 1, "maxConnections": 1, "maxPending": 3 });
    assert_eq!(over_http2(one_each, 8, (1, 4)).await, (4, 4));
}

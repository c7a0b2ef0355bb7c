//! How many connections there may be, how long they last, and how they end.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use socket2::SockRef;
use std::time::Duration;

use crate::{
    frames::{PING, Peer, frame},
    world::{Client, Running, World, brief, get, ok, server, serving},
};

fn to(backend: &str) -> Value {
    json!([{ "backends": [[backend, 1]], "origin": { "object": "Service/default/tcp" } }])
}

/// A client whose worker has greeted it: its connection is idle from then on, and counts as new
/// while it waits for its worker.
fn idle(proxy: &Running) -> Peer {
    Peer::greeted(proxy.at("test"))
}

fn until_closed(mut client: Peer) {
    while client.next().is_some() {}
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn a_reset_of_either_side_of_a_relay_is_a_reset_to_the_other() {
    let (sender, ends) = std::sync::mpsc::channel();
    let greets_then = move |mut stream: TcpStream| {
        stream.write_all(b"hello").unwrap();
        let mut heard = [0];
        match stream.read(&mut heard) {
            // The client asks for it.
            Ok(1) => reset(stream),
            end => sender.send(end.map_err(|error| error.kind())).unwrap(),
        }
    };
    let proxy = World::new()
        .server("protocol", json!("tcp"))
        .server("tcp", to("one"))
        .backend("one", &[serving(greets_then)])
        .start();
    let greeted = || {
        let mut client = proxy.client();
        client.0.read_exact(&mut [0; 5]).unwrap();
        client
    };
    let mut client = greeted();
    client.say("x");
    assert_eq!(client.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    reset(greeted().0);
    assert_eq!(ends.recv().unwrap(), Err(ErrorKind::ConnectionReset));
    drop(greeted());
    assert_eq!(ends.recv().unwrap(), Ok(0), "an orderly end stays one");
}

#[test]
fn a_relay_on_which_nothing_passes_ends() {
    let proxy = World::new()
        .server("protocol", json!("tcp"))
        .server("tcp", to("one"))
        .backend("one", &[serving(|mut stream| drop(stream.read(&mut [0])))])
        .limits(json!({ "relayIdle": "0.2s" }))
        .start();
    assert_eq!(proxy.client().rest(), "");
}

/// How many hundredths of a second the kernel waits before it probes a connection to `server`.
fn until_probed(server: SocketAddr) -> u64 {
    let [a, b, c, d] = [127, 0, 0, 1_u8].map(u32::from);
    let remote = format!("{:08X}:{:04X}", d << 24 | c << 16 | b << 8 | a, server.port());
    let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut timers = fields.filter(|fields| fields[2] == remote).map(|fields| fields[5]);
    let timer = timers.next().unwrap().strip_prefix("02:").expect("a keep-alive timer");
    u64::from_str_radix(timer, 16).unwrap()
}

#[test]
fn connections_to_servers_have_the_configured_keep_alive() {
    let server = server(&[&ok("x")]);
    let settings = json!({ "settings": {
        "workload": { "name": "tester", "namespace": "default" },
        "limits": { "tcpKeepAlive": "7200s" },
    } });
    let proxy = World::new().spoken("http1", server.address).resource(settings).start();
    proxy.ask(&get("x", "/"));
    let after = until_probed(server.address);
    assert!(after > 710_000, "{after}");
}

#[test]
fn at_a_listeners_limit_room_is_made_on_whichever_worker_has_idle_connections() {
    let busy = server(&["hang"]);
    let mut world = World::new().spoken("http1", busy.address).limits(json!({ "connections": 8 }));
    world.options.workers = 2;
    let proxy = world.start();
    // Connections go to the workers in turns: all of the first one's are busy.
    let (mut hanging, mut idle_ones) = (Vec::new(), Vec::new());
    for at in 1..=4 {
        let mut client = proxy.client();
        client.say(&get("busy", "/"));
        busy.until_heard(at);
        hanging.push(client);
        if at < 4 {
            idle_ones.push(idle(&proxy));
        }
    }
    let mut more = proxy.client();
    until_closed(idle_ones.remove(0));
    more.say(&get("busy", "/"));
    busy.until_heard(5);
    assert!(hanging.iter_mut().all(Client::is_open));
    for mut other in idle_ones {
        other.say(&frame(PING, 0, 0, &[7; 8]));
        assert!(other.until(PING).is_some(), "only the idlest one is closed");
    }
}

#[test]
fn at_the_limit_idle_connections_make_room_and_busy_ones_do_not() {
    let busy = server(&["hang"]);
    let proxy = World::new()
        .backend("busy", &[busy.address])
        .all_to("busy")
        .limits(json!({ "connections": 2 }))
        .start();
    let mut others = Vec::new();
    let mut idle = Some(idle(&proxy));
    let mut hanging = proxy.client();
    for at in 1..=2 {
        hanging.say(&get("busy", "/"));
        busy.until_heard(at);
        others.push(std::mem::replace(&mut hanging, proxy.client()));
        // Room is made for the third one.
        if let Some(idle) = idle.take() {
            until_closed(idle);
        }
    }
    assert_eq!(hanging.rest(), "", "all others are busy");
    let metrics = proxy.get("merged", "/stats/prometheus");
    let count = |reason: &str| -> f64 {
        let name = format!("weft_connections_closed_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{reason} in {metrics}")).parse().unwrap()
    };
    assert!(count("shed") == 1.0 && count("overload") == 1.0, "{metrics}");
    assert!(others.iter_mut().all(|client| client.is_open()), "and stay");
}

/// Many connections come at once, as many as are idle, close to the limit of a listener, or of
/// the whole proxy.
#[test]
fn a_burst_of_connections_is_let_in_and_the_idlest_go() {
    const LIMIT: usize = 64;
    for of_listener in [true, false] {
        let server = server(&[&ok("x")]);
        let world = World::new().spoken("http1", server.address);
        let limits = json!({ "connections": LIMIT });
        let mut world = match of_listener {
            true => world.limits(limits),
            false => world.resource(json!({ "settings": {
                "workload": { "name": "tester", "namespace": "default" }, "limits": limits,
            } })),
        };
        world.options.workers = 2;
        let proxy = world.start();
        let served = |client: &mut Client| brief(&client.ask(&get("x", "/")));
        let mut idle: Vec<_> = (0..LIMIT - LIMIT / 16).map(|_| proxy.client()).collect();
        assert!(idle.iter_mut().all(|client| served(client) == "200 x"));
        let mut burst: Vec<_> = (0..idle.len()).map(|_| proxy.client()).collect();
        for (at, client) in burst.iter_mut().enumerate() {
            assert_eq!(served(client), "200 x", "number {at}, of the listener: {of_listener}");
        }
        let open = idle.iter_mut().filter_map(|client| client.is_open().then_some(()));
        assert!(open.count() <= LIMIT / 16);
    }
}

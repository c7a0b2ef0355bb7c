//! A request that leads back to the proxy.

use std::{
    io::copy,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;
use tempfile::TempDir;

use crate::world::{Client, Running, World, brief, get, lines, rule};

/// Leads every connection to an address that is known later, and counts them.
fn back() -> (SocketAddr, Arc<OnceLock<SocketAddr>>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (target, count) = (Arc::new(OnceLock::<SocketAddr>::new()), Arc::new(AtomicUsize::new(0)));
    let (leads_to, counted) = (Arc::clone(&target), Arc::clone(&count));
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let to = TcpStream::connect(leads_to.get().unwrap()).unwrap();
            for (mut from, mut to) in [
                (from.try_clone().unwrap(), to.try_clone().unwrap()),
                (to.try_clone().unwrap(), from.try_clone().unwrap()),
            ] {
                thread::spawn(move || {
                    let _ = copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (address, target, count)
}

/// What comes of a request that is led back to the proxy that it came through, and how often it
/// came by.
fn turns(edge: bool) -> (String, usize) {
    let (address, target, count) = back();
    let rule = json!({
        "action": { "forward": [{ "backend": "one", "weight": 1 }] },
        // Tries would multiply from turn to turn.
        "retries": { "attempts": 2, "on": ["5xx"], "statuses": [], "backoff": "0.025s",
                     "avoidTried": false },
        "origin": { "object": "VirtualService/default/test" },
    });
    let proxy = World::new()
        .server("edge", json!(edge))
        .backend("one", &[address])
        .route(&["*"], json!([rule]))
        .start();
    target.set(proxy.at("test")).unwrap();
    let answer = brief(&proxy.ask(&get("x", "/")));
    (answer, count.load(Ordering::SeqCst))
}

#[test]
fn a_request_that_goes_in_a_circle_is_refused_after_a_few_turns() {
    for edge in [true, false] {
        let (answer, turns) = turns(edge);
        assert!(answer.starts_with("508 the request goes in a circle"), "{answer}");
        assert_eq!(turns, 17, "edge: {edge}");
    }
}

/// A proxy with two listeners that lead to each other at these addresses.
fn two_listeners(
    protocol: &str,
    binds: [&str; 2],
    addresses: [SocketAddr; 2],
) -> (Running, TempDir) {
    let (mut world, log) = World::new().log("%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%");
    for number in [0, 1] {
        let name = ["a", "b"][number];
        let origin = json!({ "object": "Service/default/test" });
        let server = json!({
            "name": name, "protocol": protocol, "routes": [format!("to-{name}")],
            "tcp": [{ "backends": [[name, 1]], "origin": origin }], "origin": origin,
        });
        world = world
            .backend(name, &[addresses[number]])
            .resource(json!({ "route": {
                "name": format!("to-{name}"), "hosts": ["*"], "rules": [rule(name)],
                "origin": origin,
            } }))
            .resource(json!({ "listener": {
                "name": name, "bind": binds[number], "destination": "socket",
                "scope": { "servers": [server] },
            } }));
    }
    (world.run(), log)
}

/// What a client gets where listeners lead to each other by `ip`, for connections of `protocol`,
/// and what the log says.
fn own(protocol: &str, ip: [u8; 4]) -> (String, Vec<String>) {
    let free: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("0.0.0.0:0").unwrap()).collect();
    let ports: Vec<u16> = free.iter().map(|one| one.local_addr().unwrap().port()).collect();
    drop(free);
    let binds = [&*format!("0.0.0.0:{}", ports[0]), &*format!("0.0.0.0:{}", ports[1])];
    let addresses = [(ip, ports[1]).into(), (ip, ports[0]).into()];
    let (proxy, log) = two_listeners(protocol, binds, addresses);
    let mut client = Client::to(([127, 0, 0, 1], ports[0]).into());
    client.say("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = client.rest();
    let logged = lines(&log, 1);
    drop(proxy);
    (answer, logged)
}

#[test]
fn what_leads_to_a_listener_of_the_same_proxy_is_not_dialled() {
    for ip in [[127, 0, 0, 1], [127, 0, 0, 7]] {
        let reason = "delayed_connect_error:_the_address_is_this_proxy's_own";
        let (answer, log) = own("http", ip);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(log, [format!("UF {reason}")]);
        let (answer, log) = own("tcp", ip);
        assert_eq!(answer, "");
        assert_eq!(log, [format!("UF,URX {reason}")]);
    }
}

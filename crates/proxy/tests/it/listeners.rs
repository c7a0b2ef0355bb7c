//! Listeners that cannot be opened, and those beside them.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use weft_proxy::ListenerState;

use crate::world::{Client, World, brief, get, ok, server};

fn listener(name: &str, bind: SocketAddr) -> Value {
    json!({ "listener": {
        "name": name, "bind": bind, "destination": "socket",
        "scope": { "servers": [{
            "name": "http.80", "protocol": "http", "routes": ["route0"],
            "origin": { "object": "Gateway/default/test" },
        }] },
    }})
}

#[test]
fn a_listener_that_cannot_be_opened_hurts_no_other_and_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let server = server(&[&ok("here")]);
    // Ready within the deadline of `run`, although `taken` cannot be opened.
    let proxy = World::new()
        .all_to("one")
        .backend("one", &[server.address])
        .resource(listener("a-taken", address))
        .resource(listener("b-same", address))
        .resource(listener("free", "127.0.0.1:0".parse().unwrap()))
        .run();
    let answer = Client::to(proxy.at("free")).ask(&get("x", "/"));
    assert_eq!(brief(&answer), "200 here");
    assert!(!proxy.addresses.contains_key("a-taken"));
    let status = proxy.get("admin", "/listeners");
    assert!(status.contains("Address already in use"), "{status}");
    let metrics = proxy.get("merged", "/stats/prometheus");
    for line in ["weft_listeners{state=\"open\"} 1\n", "weft_listeners{state=\"failed\"} 2\n"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    // It is opened as soon as that is possible, and then one of the two is.
    drop(taken);
    proxy.until_listeners(|all| {
        let open = all.iter().filter(|one| matches!(one.state, ListenerState::Open { .. }));
        open.count() == 2
    });
    let answer = Client::to(address).ask(&get("x", "/"));
    assert_eq!(brief(&answer), "200 here");
}

/// Another Gateway must not take a port at one address, or keep the one of every address away.
#[test]
fn a_listener_at_every_address_has_its_port_alone() {
    let server = server(&[&ok("here")]);
    // Not one that the system gives away: other tests ask it for some meanwhile.
    let mut ports = (20_000..30_000).map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
    let everywhere = ports.find(|one| TcpListener::bind(one).is_ok()).unwrap();
    let free = SocketAddr::from(([127, 0, 0, 1], everywhere.port()));
    let proxy = World::new()
        .all_to("one")
        .backend("one", &[server.address])
        .resource(listener("a-narrow", free))
        .resource(listener("a-of-ipv6", SocketAddr::from(([0_u16; 8], free.port()))))
        .resource(listener("b-everywhere", everywhere))
        .run();
    assert_eq!(brief(&Client::to(free).ask(&get("x", "/"))), "200 here");
    assert!(proxy.addresses.contains_key("b-everywhere"));
    assert!(!proxy.addresses.contains_key("a-narrow"));
    assert!(!proxy.addresses.contains_key("a-of-ipv6"));
    let status = proxy.get("admin", "/listeners");
    assert!(status.contains("listener `b-everywhere` has this port at every address"), "{status}");
}

/// A connection that was made for requests of one listener goes by that one's limits.
#[test]
fn listeners_with_other_limits_do_not_share_connections_to_servers() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun";
    let server = server(&[&ok("whole"), begun]);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut hasty = listener("hasty", any);
    hasty["listener"]["limits"] = json!({ "stalled": "0.1s" });
    let world = World::new().all_to("one").backend("one", &[server.address]);
    let proxy = world.resource(listener("patient", any)).resource(hasty).run();
    assert_eq!(brief(&Client::to(proxy.at("patient")).ask(&get("x", "/"))), "200 whole");
    let mut client = Client::to(proxy.at("hasty"));
    client.say(&get("x", "/"));
    let began = std::time::Instant::now();
    assert!(client.rest().ends_with("begun"));
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "it is cut");
    assert_eq!(server.connections(), 2);
}

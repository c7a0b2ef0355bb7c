//! Listeners that cannot be opened, and those beside them.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use weft_proxy::ListenerState;

use crate::world::{Client, World, brief, get, ok, rule, server};

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

/// A listener like that of [`listener`], with this route.
fn listener_of(name: &str, bind: SocketAddr, route: &str) -> Value {
    let mut listener = listener(name, bind);
    listener["listener"]["scope"]["servers"][0]["routes"] = json!([route]);
    listener
}

/// A free port at every address; not one that the system gives away, for which other tests ask.
fn port_from(first: u16) -> u16 {
    let mut ports = first..first + 5_000;
    ports.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).unwrap()
}

/// What clients of `address` get for both hosts.
fn at(address: [u8; 4], port: u16) -> [String; 2] {
    let to = SocketAddr::from((address, port));
    ["wide.example", "narrow.example"].map(|host| {
        let answer = Client::to(to).ask(&get(host, "/"));
        brief(&answer)
    })
}

/// Two Gateways of different owners: none takes the other's connections or hosts.
#[test]
fn a_listener_at_one_address_and_one_at_every_address_share_their_port() {
    let (wide, narrow) = (server(&[&*ok("wide"); 2]), server(&[&ok("narrow")]));
    let port = port_from(20_000);
    let bind = |address: [u8; 4]| SocketAddr::from((address, port));
    let proxy = World::new()
        .route(&["wide.example"], json!([rule("wide")]))
        .backend("wide", &[wide.address])
        .backend("narrow", &[narrow.address])
        .resource(json!({ "route": {
            "name": "narrow", "hosts": ["narrow.example"], "rules": [rule("narrow")],
            "origin": { "object": "VirtualService/default/narrow" },
        }}))
        .resource(listener_of("a-narrow", bind([127, 0, 0, 2]), "narrow"))
        .resource(listener_of("b-wide", bind([0, 0, 0, 0]), "route0"))
        .resource(listener_of("c-elsewhere", bind([192, 0, 2, 1]), "narrow"))
        .resource(listener_of("d-of-ipv6", SocketAddr::from(([0_u16; 8], port)), "narrow"))
        .run();
    assert_eq!(at([127, 0, 0, 2], port), ["200 wide", "200 narrow"]);
    assert_eq!(at([127, 0, 0, 1], port), ["200 wide", "404 "]);
    let open = |name: &str| proxy.addresses.contains_key(name);
    assert!(open("a-narrow") && open("b-wide") && !open("c-elsewhere") && !open("d-of-ipv6"));
    let status = proxy.get("admin", "/listeners");
    assert!(status.contains("Cannot assign requested address"), "{status}");
    assert!(status.contains("listener `b-wide` has this port at every address"), "{status}");
}

#[test]
fn a_port_of_listeners_at_single_addresses_is_closed_at_all_others() {
    let narrow = server(&[&*ok("narrow"); 2]);
    let port = port_from(25_000);
    let bind = |address: [u8; 4]| SocketAddr::from((address, port));
    let _proxy = World::new()
        .route(&["narrow.example"], json!([rule("narrow")]))
        .backend("narrow", &[narrow.address])
        .resource(listener("two", bind([127, 0, 0, 2])))
        .resource(listener("three", bind([127, 0, 0, 3])))
        .run();
    assert_eq!(at([127, 0, 0, 2], port), ["404 ", "200 narrow"]);
    assert_eq!(at([127, 0, 0, 3], port), ["404 ", "200 narrow"]);
    let error = std::net::TcpStream::connect(bind([127, 0, 0, 1])).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
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

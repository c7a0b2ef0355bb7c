//! Connections that are relayed as they are, and those that nobody declared.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    thread,
};

use serde_json::json;

use crate::{
    peers::nobody,
    world::{World, brief, get, lines, ok, server},
};

const LOG: &str = "\"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%";

/// A server that greets, then says back in capitals what it hears until the end.
fn greeter(greeting: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                stream.write_all(greeting.as_bytes()).unwrap();
                let mut heard = String::new();
                let _ = stream.read_to_string(&mut heard);
                let _ = stream.write_all(heard.to_uppercase().as_bytes());
            });
        }
    });
    address
}

fn to(backend: &str) -> serde_json::Value {
    json!([{ "backends": [[backend, 1]], "origin": { "object": "Service/default/tcp" } }])
}

#[test]
fn bytes_are_relayed_with_half_closed_connections_and_counted() {
    let (world, log) = World::new()
        .server("protocol", json!("tcp"))
        .server("tcp", to("echo"))
        .backend("echo", &[greeter("hi ")])
        .log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say("hello");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "hi HELLO");
    assert_eq!(lines(&log, 1), ["\"- - -\" 0 - - 5 8 echo"]);
    let metrics = proxy.get("merged", "/stats/prometheus");
    for part in ["opened_total", "closed_total", "sent_bytes_total"] {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("istio_tcp_{part}{{")))
            .or_else(|| {
                let name = format!("istio_tcp_connections_{part}{{");
                metrics.lines().find(|line| line.starts_with(&name))
            })
            .unwrap();
        assert!(line.contains("destination_service_name=\"echo\""), "{line}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_closes_the_connection() {
    let (world, log) = World::new()
        .server("protocol", json!("tcp"))
        .server("tcp", to("gone"))
        .backend("gone", &[nobody()])
        .log(LOG);
    let proxy = world.start();
    assert_eq!(proxy.client().rest(), "");
    assert_eq!(lines(&log, 1), ["\"- - -\" 0 UF,URX - 0 0 gone"]);
}

#[test]
fn on_an_undeclared_port_the_application_may_speak_first() {
    let proxy = World::new()
        .server("protocol", json!("detect"))
        .server("tcp", to("mysql"))
        .backend("mysql", &[greeter("5.7.0-greeting")])
        .start();
    let mut client = proxy.client();
    let mut greeting = [0; 14];
    client.0.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"5.7.0-greeting");
}

#[test]
fn on_an_undeclared_port_http_is_seen_and_uses_the_connection_that_is_there() {
    let server = server(&[&ok("http")]);
    let proxy = World::new()
        .server("protocol", json!("detect"))
        .server("tcp", to("web"))
        .backend("web", &[server.address])
        .all_to("web")
        .start();
    let mut client = proxy.client();
    // The application is dialled before the client says a word.
    while server.connections() == 0 {
        thread::yield_now();
    }
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 http");
    assert_eq!(server.connections(), 1);
}

/// What two endpoints that take turns hear of four clients, and how often they are
/// dialled.
fn heard_by_two(answer: &str, request: &str) -> [usize; 3] {
    let servers = [server(&[answer]), server(&[answer])];
    let proxy = World::new()
        .server("protocol", json!("detect"))
        .server("tcp", to("two"))
        .backend("two", &[servers[0].address, servers[1].address])
        .all_to("two")
        .start();
    let dialled = || servers[0].connections() + servers[1].connections();
    for number in 1..=4 {
        let mut client = proxy.client();
        while dialled() < number {
            thread::yield_now();
        }
        assert!(!client.ask(request).is_empty());
    }
    [servers[0].heard().len(), servers[1].heard().len(), dialled()]
}

#[test]
fn on_an_undeclared_port_endpoints_take_turns_and_each_client_dials_once() {
    assert_eq!(heard_by_two(&ok("http"), &get("x", "/")), [2, 2, 4]);
    assert_eq!(heard_by_two("pong\r\n\r\n", "*1 ping\r\n\r\n"), [2, 2, 4]);
}

#[test]
fn a_connection_that_the_first_request_does_not_use_is_closed() {
    let (preconnected, other) = (server(&["hang"]), server(&[&ok("other")]));
    let proxy = World::new()
        .server("protocol", json!("detect"))
        .server("tcp", to("preconnected"))
        .backend("preconnected", &[preconnected.address])
        .backend("other", &[other.address])
        .all_to("other")
        .start();
    let mut client = proxy.client();
    while preconnected.connections() == 0 {
        thread::yield_now();
    }
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 other");
    preconnected.until_closed(1);
}

#[test]
fn on_an_undeclared_port_other_bytes_go_the_tcp_way() {
    let proxy = World::new()
        .server("protocol", json!("detect"))
        .server("tcp", to("echo"))
        .backend("echo", &[greeter("")])
        .start();
    let mut client = proxy.client();
    client.say("*1\r\n$4\r\nping\r\n");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "*1\r\n$4\r\nPING\r\n");
}

#[test]
fn a_header_of_the_proxy_protocol_says_where_the_connection_was_going() {
    let server = server(&[&ok("declared")]);
    let (world, log) = World::new()
        .layer("proxyProtocol")
        .server("port", json!(8080))
        .backend("one", &[server.address])
        .all_to("one")
        .log("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%");
    let proxy = world.start();
    let request = get("x", "/");
    let answer = proxy.ask(&format!("PROXY TCP4 1.2.3.4 10.0.0.5 4000 8080\r\n{request}"));
    assert_eq!(brief(&answer), "200 declared");
    assert_eq!(lines(&log, 1), ["1.2.3.4:4000 10.0.0.5:8080"]);
    assert_eq!(proxy.client().ask(&request), "", "no header, no service");
}

#[test]
fn a_destination_that_is_this_proxy_itself_is_refused() {
    let original = crate::world::backend("self", json!("original"));
    let proxy = World::new().resource(json!({ "backend": original })).all_to("self").start();
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "503 no healthy upstream");
}

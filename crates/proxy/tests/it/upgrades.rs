//! Upgrades that are refused, or half made.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
};

use serde_json::{Value, json};

use crate::{
    peers::read_head,
    world::{Client, Running, World, brief, get, ok, rule, server, serving},
};

/// A request to upgrade to another protocol.
const WEBSOCKET: &str =
    "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

/// After an upgrade that is refused come requests, and what has two readings is refused there, too.
#[test]
fn what_follows_a_refused_upgrade_is_read_as_strictly_as_what_came_before() {
    let smuggled = "POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\
                    transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let bare = "GET /b HTTP/1.1\r\nhost: x\r\na: b\nc: d\r\n\r\n";
    let connect = "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n";
    for wish in [WEBSOCKET, connect] {
        for next in [smuggled, bare] {
            for at_once in [true, false] {
                let server = server(&[&ok("no"), &ok("smuggled")]);
                let proxy = World::new().spoken("http1", server.address).start();
                let mut client = proxy.client();
                if at_once {
                    client.say(&format!("{wish}{next}"));
                } else {
                    client.ask(wish);
                    client.say(next);
                }
                let answers = client.rest();
                assert!(answers.contains("HTTP/1.1 400 "), "{wish}{next}{answers}");
                assert!(server.heard().iter().all(|one| !one.contains("/b ")), "{wish}{next}");
            }
        }
    }
}

#[test]
fn requests_beside_a_refused_upgrade_are_answered_in_order() {
    let server = server(&[&ok("1"), &ok("2"), &ok("3"), &ok("4")]);
    let proxy = World::new().spoken("http1", server.address).start();
    let mut client = proxy.client();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let last = "GET /4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.say(&format!("{}{WEBSOCKET}{}{last}", get("/1"), get("/3")));
    let answers = client.rest();
    let bodies: Vec<&str> =
        answers.split("\r\n\r\n").skip(1).map(|body| &body[..body.len().min(1)]).collect();
    assert_eq!(bodies, ["1", "2", "3", "4"], "{answers}");
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
/// Upgrades at once.
const MANY: usize = 50;
/// Connections at once. Beyond fifteen sixteenths of them idle ones are made to leave.
const ROOM: usize = 64;

/// A server that answers each request to upgrade with `answer` once `go` says so, or never; says when one has
/// come, and then what came after it until the end.
fn waiting(answer: Option<&'static str>, go: Receiver<()>) -> (SocketAddr, Receiver<String>) {
    let (sender, said) = channel();
    let go = Arc::new(Mutex::new(go));
    let address = serving(move |mut stream| {
        let head = read_head(&mut stream);
        if !head.contains("websocket") {
            return stream.write_all(ok("plain").as_bytes()).unwrap();
        }
        sender.send("asked".to_owned()).unwrap();
        if let Some(answer) = answer {
            go.lock().unwrap().recv().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        sender.send(String::from_utf8(rest).unwrap()).unwrap();
    });
    (address, said)
}

/// A proxy with room for few more connections than there are upgrades.
fn full(address: SocketAddr, rule: Value) -> Running {
    World::new()
        .backend("one", &[address])
        .route(&["*"], json!([rule]))
        .limits(json!({ "connections": ROOM }))
        .start()
}

/// Upgrades that have been asked for, with `early` bytes after the request.
fn asked(proxy: &Running, said: &Receiver<String>, early: &str) -> Vec<Client> {
    let clients: Vec<Client> = (0..MANY)
        .map(|_| {
            let mut client = proxy.client();
            client.say(&format!("{WEBSOCKET}{early}"));
            client
        })
        .collect();
    (0..MANY).for_each(|_| assert_eq!(said.recv().unwrap(), "asked"));
    clients
}

/// Waits until nothing is under way, and as many others are there as none has to leave for.
fn until_free(proxy: &Running) {
    while !proxy.get("admin", "/backends").contains("\"busy\": 0") {
        std::thread::yield_now();
    }
    loop {
        let mut others: Vec<Client> = (0..ROOM * 7 / 8).map(|_| proxy.client()).collect();
        let served = others.iter_mut().all(|one| brief(&one.ask(&get("x", "/"))) == "200 plain");
        if served && others.iter_mut().all(Client::is_open) {
            return;
        }
    }
}

#[test]
fn bytes_that_come_before_a_slow_switch_are_the_other_protocols() {
    let (switch, go) = channel();
    let (address, said) = waiting(Some(SWITCH), go);
    let proxy = full(address, rule("one"));
    let early = "a\nGET / HTTP/1.1\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut clients = asked(&proxy, &said, early);
    (0..MANY).for_each(|_| switch.send(()).unwrap());
    for client in &mut clients {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client.say("late\n");
        client.0.shutdown(std::net::Shutdown::Write).unwrap();
    }
    for _ in 0..MANY {
        assert_eq!(said.recv().unwrap(), format!("{early}late\n"));
    }
    drop(clients);
    until_free(&proxy);
}

#[test]
fn clients_that_leave_before_the_switch_hold_nothing() {
    for early in ["", "early\n"] {
        let (_never, go) = channel();
        let (address, said) = waiting(None, go);
        let proxy = full(address, rule("one"));
        let clients = asked(&proxy, &said, early);
        drop(clients);
        (0..MANY).for_each(|_| assert_eq!(said.recv().unwrap(), ""));
        until_free(&proxy);
    }
}

#[test]
fn a_switch_that_never_comes_has_the_rules_time() {
    let (_never, go) = channel();
    let (address, said) = waiting(None, go);
    let mut hasty = rule("one");
    hasty["timeout"] = json!("0.3s");
    let proxy = full(address, hasty);
    let mut clients = asked(&proxy, &said, "");
    for client in &mut clients {
        assert!(client.hear().starts_with("HTTP/1.1 504 "));
    }
    // Their connections go on, and so do their requests.
    assert_eq!(brief(&clients[0].ask(&get("x", "/"))), "200 plain");
    (0..MANY).for_each(|_| assert_eq!(said.recv().unwrap(), ""));
    drop(clients);
    until_free(&proxy);
}

#[test]
fn bytes_after_a_wish_that_is_answered_with_something_else_are_requests() {
    let (answer, go) = channel();
    let (sender, said) = channel();
    let go = Arc::new(Mutex::new(go));
    // The next request takes any connection that is free, or a new one.
    let address = serving(move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            let answer = match head.contains("websocket") {
                true => {
                    sender.send("asked".to_owned()).unwrap();
                    go.lock().unwrap().recv().unwrap();
                    ok("no")
                }
                false if head.is_empty() => return,
                false => {
                    sender.send(head).unwrap();
                    ok("plain")
                }
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let proxy = full(address, rule("one"));
    let mut clients = asked(&proxy, &said, &get("x", "/next"));
    (0..MANY).for_each(|_| answer.send(()).unwrap());
    for client in &mut clients {
        assert_eq!(brief(&client.hear()), "200 no");
        assert_eq!(brief(&client.hear()), "200 plain");
    }
    for _ in 0..MANY {
        assert!(said.recv().unwrap().starts_with("GET /next HTTP/1.1\r\n"));
    }
}

#[test]
fn servers_that_leave_before_the_switch_or_in_its_midst_hold_nothing() {
    let half = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupg";
    for answer in ["", half] {
        let address = serving(move |mut stream| {
            if read_head(&mut stream).contains("websocket") {
                return stream.write_all(answer.as_bytes()).unwrap();
            }
            stream.write_all(ok("plain").as_bytes()).unwrap();
        });
        let proxy = full(address, rule("one"));
        let mut clients = Vec::new();
        for _ in 0..MANY {
            let mut client = proxy.client();
            let answer = client.ask(WEBSOCKET);
            assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
            clients.push(client);
        }
        drop(clients);
        until_free(&proxy);
    }
}

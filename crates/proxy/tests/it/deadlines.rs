//! Peers that owe something, or take nothing, for too long.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc::channel,
    thread,
};

use crate::{
    frames::{
        DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, Peer, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, block, frame, post,
    },
    world::{Running, Server, World, brief, get, lines, ok, rule, server},
};
use serde_json::{Value, json};

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

/// A world in which these limits are short.
fn limited(limits: &[&str]) -> World {
    let short = |name: &&str| ((*name).to_owned(), json!("0.1s"));
    World::new().limits(limits.iter().map(short).collect())
}

/// A server that sends without end, to every client.
fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n");
                while stream.write_all(&[b'x'; 65_536]).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn a_client_that_does_not_finish_its_head_is_told_and_closed() {
    let server = server(&[&ok("x")]);
    let world = limited(&["head"]);
    let (world, log) = world.spoken("http1", server.address).log(LOG);
    let proxy = world.start();
    let late = "408 request header timeout";
    for begun in ["G", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut client = proxy.client();
        client.say(begun);
        let answer = client.rest();
        assert_eq!(brief(&answer), late, "{begun:?}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    let mut client = proxy.client();
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 x");
    client.say("GET / HT");
    assert_eq!(brief(&client.rest()), late, "also after another request");
    let lines = lines(&log, 5);
    let told = lines.iter().filter(|line| *line == "408 - request_header_timeout").count();
    assert_eq!((told, lines.len()), (4, 5), "{lines:?}");
    let preface = std::str::from_utf8(PREFACE).unwrap();
    for begun in [&preface[..3], &preface[..20], preface, "\u{16}"] {
        let mut client = proxy.client();
        client.say(begun);
        assert!(!client.rest().contains("HTTP/1"), "{begun:?}");
    }
}

#[test]
fn empty_lines_are_no_head_that_has_begun() {
    let server = server(&[&ok("x")]);
    let limits = json!({ "head": "0.1s", "idle": "0.6s" });
    let proxy = World::new().limits(limits).spoken("http1", server.address).start();
    let mut client = proxy.client();
    client.say("\r\n");
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 x");
    client.say("\r\n\r\n");
    assert_eq!(client.rest(), "", "it is only idle");
}

#[test]
fn an_idle_client_is_closed() {
    let server = server(&[&ok("x")]);
    let world = limited(&["idle", "keepAlive"]);
    let proxy = world.spoken("http1", server.address).start();
    let mut client = proxy.client();
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 x");
    assert_eq!(client.rest(), "");
    let mut peer = Peer::greeted(proxy.at("test"));
    // It answers, and is still of no use.
    let goodbye = loop {
        let next = peer.next().expect("a goodbye");
        match (next.kind, next.flags) {
            (PING, 0) => peer.say(&frame(PING, 1, 0, &next.payload)),
            (GOAWAY, _) => break next,
            _ => {}
        }
    };
    assert_eq!(crate::frames::code(&goodbye), 0);
}

#[test]
fn a_peer_of_http_2_that_answers_no_ping_is_closed() {
    let silent = server(&["hang"]);
    let world = limited(&["keepAlive", "keepAliveAnswer"]);
    let (world, log) = world.spoken("http1", silent.address).log(LOG);
    let proxy = world.start();
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &crate::frames::get()));
    assert!(peer.until(PING).is_some());
    while peer.next().is_some() {}
    assert_eq!(lines(&log, 1), ["0 DC downstream_remote_disconnect"]);
}

#[test]
fn a_client_that_owes_its_body_is_told() {
    let server = server(&[&ok("x")]);
    let world = limited(&["stalled"]);
    let (world, log) = world.spoken("http1", server.address).log(LOG);
    let proxy = world.start();
    for framing in ["content-length: 10", "transfer-encoding: chunked"] {
        let answer = proxy.ask(&format!("POST / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n"));
        assert_eq!(brief(&answer), "408 stream timeout", "{framing}");
    }
    let mut peer = Peer::greeted(proxy.at("test"));
    let head = [post(), block(&[("content-length", "10")])].concat();
    peer.say(&frame(HEADERS, END_HEADERS, 1, &head));
    assert_eq!(peer.until(DATA).unwrap().payload, b"stream timeout");
    // The server may wait for the end of a request before it answers, so that is owed too.
    peer.say(&frame(HEADERS, END_HEADERS, 3, &post()));
    peer.say(&frame(DATA, 0, 3, b"begun"));
    assert_eq!(peer.until(DATA).unwrap().payload, b"stream timeout");
    assert_eq!(lines(&log, 4)[2..], ["408 SI stream_idle_timeout"; 2]);
}

#[test]
fn a_client_that_takes_nothing_is_closed() {
    let world = limited(&["stalled"]);
    let (world, log) = world.spoken("http1", endless()).log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&get("x", "/"));
    assert_eq!(lines(&log, 1), ["200 DC downstream_remote_disconnect"]);
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &crate::frames::get()));
    assert!(peer.until(RST_STREAM).is_some());
    assert_eq!(lines(&log, 2)[1], "200 DC downstream_remote_disconnect");
}

#[test]
fn a_rules_time_is_over_also_for_a_client_that_takes_nothing() {
    let mut rule = rule("one");
    rule["timeout"] = json!("0.3s");
    let world = World::new().spoken("http1", endless()).route(&["x"], json!([rule]));
    let (world, log) = world.log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&get("x", "/"));
    assert_eq!(lines(&log, 1), ["200 UT upstream_response_timeout"]);
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &crate::frames::get()));
    assert!(peer.until(RST_STREAM).is_some());
    assert_eq!(lines(&log, 2)[1], "200 UT upstream_response_timeout");
}

#[test]
fn a_server_that_owes_its_answer_or_takes_no_request_is_given_up() {
    let begins = server(&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbeg"]);
    let world = limited(&["stalled"]);
    let (world, log) = world.backend("one", &[begins.address]).all_to("one").log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&get("x", "/"));
    assert!(client.rest().ends_with("beg"));
    let line = "200 UC upstream_stalled";
    assert_eq!(lines(&log, 1), [line]);
    // It is never accepted, so its kernel takes what it has room for, and no more.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = limited(&["stalled"]);
    let world = world.backend("one", &[deaf.local_addr().unwrap()]).all_to("one");
    let proxy = world.start();
    let mut client = proxy.client();
    client.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n");
    let mut writing = client.0.try_clone().unwrap();
    thread::spawn(move || while writing.write_all(&[b'x'; 65_536]).is_ok() {});
    assert_eq!(brief(&client.hear()), "504 stream timeout");
}

#[test]
fn a_server_that_takes_no_request_is_not_asked_again_and_is_named_in_the_log() {
    for upstream in ["http1", "http2"] {
        let deaf = deaf(upstream == "http2");
        let mut rule = rule("one");
        rule["retries"] = json!({ "attempts": 3, "on": ["reset", "5xx"], "backoff": "0.001s",
            "avoidTried": false });
        let world = limited(&["stalled"]).spoken(upstream, deaf).route(&["x"], json!([rule]));
        let (world, log) = world.log(LOG);
        let proxy = world.start();
        let mut client = proxy.client();
        client.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n");
        let mut writing = client.0.try_clone().unwrap();
        thread::spawn(move || while writing.write_all(&[b'x'; 65_536]).is_ok() {});
        assert_eq!(brief(&client.hear()), "504 stream timeout", "{upstream}");
        assert_eq!(lines(&log, 1), ["504 SI stream_idle_timeout"], "{upstream}");
    }
}

/// A server that takes nothing of a request's body.
fn deaf(http2: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut peer = Peer::on(stream);
                if http2 {
                    peer.0.read_exact(&mut [0; PREFACE.len()]).unwrap();
                    peer.say(&frame(SETTINGS, 0, 0, &[]));
                    // The window of the stream is never opened again.
                    while peer.next().is_some() {}
                }
                thread::park();
            });
        }
    });
    address
}

/// The rules' answer to an upload that takes longer than their time.
fn slow_upload(rules: Value) -> String {
    let server = server(&[&ok("x")]);
    let world = World::new().backend("one", &[server.address]).route(&["x"], rules);
    let (world, _hangs) = with_clock(world, "0.3s");
    let proxy = world.start();
    let mut client = proxy.client();
    client.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nbegun");
    tick(&proxy);
    client.say("ended");
    brief(&client.hear())
}

/// Adds a host whose requests take this time.
fn with_clock(world: World, time: &str) -> (World, Server) {
    let hangs = server(&["hang"]);
    let mut rule = rule("clock");
    rule["timeout"] = json!(time);
    let world = world.backend("clock", &[hangs.address]).route(&["clock"], json!([rule]));
    (world, hangs)
}

/// Waits for as long as the clock's requests take.
fn tick(proxy: &Running) {
    assert_eq!(brief(&proxy.ask(&get("clock", "/"))), "504 upstream request timeout");
}

#[test]
fn a_rules_time_is_over_also_for_an_upload_that_ends_with_its_last_bytes() {
    let hangs = server(&["hang"]);
    let mut rule = rule("one");
    rule["timeout"] = json!("0.2s");
    let world = World::new().spoken("http1", hangs.address).route(&["x"], json!([rule]));
    let proxy = world.start();
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&frame(HEADERS, END_HEADERS, 1, &post()));
    peer.say(&frame(DATA, END_STREAM, 1, b"all"));
    assert_eq!(peer.until(DATA).unwrap().payload, b"upstream request timeout");
}

#[test]
fn a_rules_time_begins_when_the_request_is_complete() {
    let mut rule = rule("one");
    rule["timeout"] = json!("0.2s");
    assert_eq!(slow_upload(json!([rule])), "200 x");
    rule["timeout"] = json!(null);
    rule["retries"] = json!({ "attempts": 1, "on": ["per-try-timeout"], "backoff": "0.001s",
        "perTryTimeout": "0.2s", "avoidTried": false });
    assert_eq!(slow_upload(json!([rule])), "200 x");
}

#[test]
fn a_connection_that_its_server_gives_up_as_it_is_used_again_costs_no_request() {
    let once = |method: &str| {
        let server = server(&[&ok("one"), "close", &ok("two")]);
        let world = World::new().backend("one", &[server.address]);
        let (world, _hangs) = with_clock(world.route(&["x"], json!([rule("one")])), "0.6s");
        let proxy = world.start();
        let mut client = proxy.client();
        assert_eq!(brief(&client.ask(&get("x", "/"))), "200 one");
        // Servers that close idle connections do so after a while.
        tick(&proxy);
        client.ask(&format!("{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"))
    };
    assert_eq!(brief(&once("GET")), "200 two");
    assert!(once("POST").starts_with("HTTP/1.1 503"), "it may have done its work");
}

#[test]
fn streams_that_are_silent_for_long_are_left_alone_once_they_are_answered() {
    silent_call(true, &[]);
}

#[test]
fn calls_of_grpc_that_are_silent_for_long_are_left_alone() {
    silent_call(false, &[("content-type", "application/grpc")]);
    silent_call(true, &[("content-type", "application/grpc")]);
}

/// A client pauses within its request for longer than the limit on a stall; its server
/// answers before that, or at the end.
#[track_caller]
fn silent_call(early: bool, fields: &[(&str, &str)]) {
    let (sender, receiver) = channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut peer = Peer::on(listener.accept().unwrap().0);
        peer.0.read_exact(&mut [0; PREFACE.len()]).unwrap();
        peer.say(&frame(SETTINGS, 0, 0, &[]));
        let stream = peer.until(HEADERS).unwrap().stream;
        let head = frame(HEADERS, END_HEADERS, stream, &[0x88]);
        if early {
            peer.say(&head);
        }
        sender.send(()).unwrap();
        // The end of the request comes much later than any limit on a stall.
        assert!(peer.until(DATA).is_some());
        if !early {
            peer.say(&head);
        }
        peer.say(&frame(DATA, END_STREAM, stream, b"late"));
        while peer.next().is_some() {}
    });
    let (world, _hangs) = with_clock(limited(&["stalled"]), "0.4s");
    let proxy = world.spoken("http2", address).start();
    let mut peer = Peer::greeted(proxy.at("test"));
    let head = [post(), block(fields)].concat();
    peer.say(&frame(HEADERS, END_HEADERS, 1, &head));
    receiver.recv().unwrap();
    if early {
        assert!(peer.until(HEADERS).is_some());
    }
    tick(&proxy);
    peer.say(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
    peer.say(&frame(DATA, END_STREAM, 1, b"last"));
    assert_eq!(peer.until(DATA).unwrap().payload, b"late");
}

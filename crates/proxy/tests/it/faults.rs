//! What a client does wrong is the client's fault, whatever its server speaks.

use std::{
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::json;

use crate::{
    frames::{
        DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, Peer, RST_STREAM, SETTINGS, block,
        frame, post,
    },
    world::{World, brief, get, lines, ok, rule, server},
};

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";

/// A server of HTTP/2 that answers the end of a request with `200`; what it hears.
pub fn server2() -> (SocketAddr, Receiver<Frame>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut peer = Peer::on(stream);
            std::io::Read::read_exact(&mut peer.0, &mut [0; PREFACE.len()]).unwrap();
            peer.say(&frame(SETTINGS, 0, 0, &[]));
            while let Some(next) = peer.next() {
                if next.kind <= HEADERS && next.flags & END_STREAM != 0 {
                    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, next.stream, &[0x88]));
                }
                let _ = sender.send(next);
            }
        }
    });
    (address, heard)
}

fn until(heard: &Receiver<Frame>, kind: u8) -> Frame {
    heard.iter().find(|frame| frame.kind == kind).unwrap()
}

/// The rule retries whatever may be.
fn retrying(world: World) -> World {
    let mut rule = rule("one");
    rule["retries"] = json!({ "attempts": 3, "on": ["reset", "5xx"], "backoff": "0.001s",
        "avoidTried": false });
    world.route(&["x"], json!([rule]))
}

#[test]
fn malformed_chunks_are_answered_400_and_the_servers_connection_is_not_used_again() {
    let server = server(&[&ok("good")]);
    let world = retrying(World::new().spoken("http1", server.address));
    let (world, log) = world.log(LOG);
    let proxy = world.start();
    for (at, bad) in
        ["zz\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n", "3\r\nabc\r\n0\r\nno colon\r\n\r\n"]
            .into_iter()
            .enumerate()
    {
        let mut client = proxy.client();
        let answer = client.ask(&format!("{CHUNKED}{bad}"));
        assert_eq!(brief(&answer), "400 Bad Request", "{bad:?}");
        assert_eq!(client.rest(), "", "where the next request begins is not known");
        assert_eq!(lines(&log, at + 1)[at], "400 DPE http1.codec_error");
    }
    // The server got the heads and no end of a request.
    server.until_closed(server.connections());
    assert_eq!(server.heard(), [""; 0]);
    let before = server.connections();
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 good");
    assert_eq!(server.connections(), before + 1);
}

#[test]
fn malformed_chunks_for_a_server_of_http_2_end_their_stream_only() {
    let (address, heard) = server2();
    let (world, log) = retrying(World::new().spoken("http2", address)).log(LOG);
    let proxy = world.start();
    let answer = proxy.ask(&format!("{CHUNKED}3\r\nabc\r\nzz\r\n"));
    assert_eq!(brief(&answer), "400 Bad Request");
    assert_eq!(lines(&log, 1), ["400 DPE http1.codec_error"]);
    let reset = until(&heard, RST_STREAM);
    assert!(proxy.ask(&get("x", "/")).starts_with("HTTP/1.1 200"));
    let next = until(&heard, HEADERS);
    assert_eq!((reset.stream, next.stream), (1, 3), "on the same connection");
}

#[test]
fn a_client_that_leaves_within_its_request_is_not_its_servers_fault() {
    let server = server(&[&ok("")]);
    let (address2, _heard) = server2();
    for (upstream, address) in [("http1", server.address), ("http2", address2)] {
        let (world, log) = retrying(World::new().spoken(upstream, address)).log(LOG);
        let proxy = world.start();
        let mut client = proxy.client();
        client.say(&format!("{CHUNKED}3\r\nabc\r\n"));
        drop(client);
        assert_eq!(lines(&log, 1), ["0 DC downstream_remote_disconnect"], "{upstream}");
        let mut peer = Peer::greeted(proxy.at("test"));
        let grpc = [post(), block(&[("content-type", "application/grpc")])].concat();
        peer.say(&frame(HEADERS, END_HEADERS, 1, &grpc));
        peer.say(&frame(DATA, 0, 1, b"abc"));
        peer.say(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
        assert_eq!(lines(&log, 2)[1], "0 DC downstream_remote_disconnect", "{upstream}");
    }
}

#[test]
fn a_body_of_http_2_that_is_shorter_than_announced_is_not_its_servers_fault() {
    let server = server(&[&ok("")]);
    let (address2, _heard) = server2();
    for (upstream, address) in [("http1", server.address), ("http2", address2)] {
        let (world, log) = retrying(World::new().spoken(upstream, address)).log(LOG);
        let proxy = world.start();
        let mut peer = Peer::greeted(proxy.at("test"));
        let head = [post(), block(&[("content-length", "10")])].concat();
        peer.say(&frame(HEADERS, END_HEADERS, 1, &head));
        peer.say(&frame(DATA, END_STREAM, 1, b"abc"));
        assert_eq!(crate::frames::code(&peer.until(RST_STREAM).unwrap()), 1);
        let line = &lines(&log, 1)[0];
        // Whichever of the two hears of it first.
        let expected =
            ["400 DPE http2.violation.of.messaging.rule", "0 DC downstream_remote_disconnect"];
        assert!(expected.contains(&&**line), "{upstream} {line}");
    }
}

#[test]
fn a_request_that_breaks_after_its_answer_has_begun_is_still_its_clients_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbeg").unwrap();
        while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
    });
    let (world, log) = World::new().spoken("http1", address).log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&format!("{CHUNKED}3\r\nabc\r\n"));
    let mut begun = [0; 512];
    let read = std::io::Read::read(&mut client.0, &mut begun).unwrap();
    assert!(begun[..read].starts_with(b"HTTP/1.1 200 OK"));
    client.say("zz\r\n");
    client.rest();
    assert_eq!(lines(&log, 1), ["200 DPE http1.codec_error"]);
}

#[test]
fn a_request_without_a_host_for_a_server_of_http_2_is_answered_400() {
    let (address, _heard) = server2();
    let (world, log) = World::new().spoken("http2", address).log(LOG);
    let proxy = world.start();
    for host in ["", ":80"] {
        assert_eq!(brief(&proxy.ask(&get(host, "/"))), "400 Bad Request");
        let mut peer = Peer::greeted(proxy.at("test"));
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", host)];
        peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)));
        let answer = peer.next_of(&[DATA, RST_STREAM]).unwrap();
        assert!(answer.kind == RST_STREAM || answer.payload == b"Bad Request", "{answer:?}");
    }
    assert_eq!(lines(&log, 2)[0], "400 DPE http.invalid_authority");
    for host in ["x:", "x:abc", "x:99999", "x_y", ".x", "x.", "[::1]:80", "1.2.3.4:80"] {
        assert!(proxy.ask(&get(host, "/")).starts_with("HTTP/1.1 200"), "{host}");
    }
}

#[test]
fn fields_in_trailers_that_http_2_forbids_are_left_out() {
    let (address, heard) = server2();
    let proxy = World::new().spoken("http2", address).start();
    let trailers = "0\r\nconnection: close\r\ntransfer-encoding: chunked\r\nx-end: 1\r\n\r\n";
    let answer = proxy.ask(&format!("{CHUNKED}3\r\nabc\r\n{trailers}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let end = heard.iter().find(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0);
    let end = String::from_utf8_lossy(&end.unwrap().payload).into_owned();
    assert!(!end.contains("chunked"), "{end}");
}

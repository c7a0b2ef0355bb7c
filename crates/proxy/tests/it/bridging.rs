//! What differs between HTTP/1 and HTTP/2, where a proxy speaks one on each side.

use std::{
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
};

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, Peer, SETTINGS,
        block, frame,
    },
    world::{Running, Server, World, brief, ok, server},
};

/// A request of HTTP/2 with these fields beside the usual ones, as frames.
fn request(method: &str, fields: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let usual = [(":method", method), (":scheme", "http"), (":path", "/a"), (":authority", "x")];
    let block = block(&[&usual, fields].concat());
    let end = if body.is_none() { END_STREAM } else { 0 };
    let mut frames = frame(HEADERS, END_HEADERS | end, 1, &block);
    if let Some(body) = body {
        frames.extend(frame(DATA, END_STREAM, 1, body));
    }
    frames
}

fn to_http1(answer: &str) -> (Server, Running) {
    let server = server(&[answer]);
    let proxy = World::new().spoken("http1", server.address).start();
    (server, proxy)
}

/// What a server of HTTP/1 hears.
#[track_caller]
fn heard(frames: &[u8]) -> String {
    let server = server(&[&ok("")]);
    let proxy = World::new().spoken("http1", server.address).start();
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(frames);
    assert!(peer.until(HEADERS).is_some());
    server.heard().remove(0)
}

#[test]
fn bodies_of_unknown_length_reach_a_server_of_http_1_whatever_the_method() {
    for method in ["GET", "HEAD", "POST", "DELETE", "PATCH"] {
        let heard = heard(&request(method, &[], Some(b"body")));
        assert!(heard.contains("transfer-encoding: chunked\r\n"), "{heard}");
        assert!(heard.ends_with("\r\n\r\n4\r\nbody\r\n0\r\n\r\n"), "{heard}");
    }
    let known = heard(&request("GET", &[("content-length", "4")], Some(b"body")));
    assert!(known.contains("content-length: 4\r\n") && known.ends_with("\r\n\r\nbody"), "{known}");
    let none = heard(&request("GET", &[], None));
    assert!(!none.contains("transfer-encoding") && !none.contains("content-length"), "{none}");
}

#[test]
fn the_host_is_first_and_said_once() {
    let heard = heard(&request("GET", &[("accept", "*/*"), ("te", "trailers")], None));
    assert!(heard.starts_with("GET /a HTTP/1.1\r\nhost: x\r\n"), "{heard}");
    assert_eq!(heard.matches("host:").count(), 1, "{heard}");
    assert!(heard.contains("te: trailers\r\n"), "{heard}");
}

/// The head of an answer, as the fields that were written literally.
fn head(peer: &mut Peer) -> Frame {
    let mut head = peer.until(HEADERS).unwrap();
    while head.flags & END_HEADERS == 0 {
        let more = peer.until(CONTINUATION).unwrap();
        head.payload.extend(more.payload);
        head.flags |= more.flags;
    }
    head
}

#[test]
fn answers_to_head_keep_their_length_and_have_no_body() {
    let (_server, proxy) = to_http1("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n");
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&request("HEAD", &[], None));
    assert_ne!(head(&mut peer).flags & END_STREAM, 0);
    // An answer of the proxy's own has no body either.
    let proxy = World::new().backend("none", &[]).all_to("none").start();
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&request("HEAD", &[], None));
    assert_ne!(head(&mut peer).flags & END_STREAM, 0);
}

#[test]
fn interim_answers_are_not_taken_for_the_answer() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_owned() + &ok("body");
    let (_server, proxy) = to_http1(&interim);
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&request("GET", &[], None));
    assert_eq!(peer.until(DATA).unwrap().payload, b"body");
}

#[test]
fn a_client_of_http_2_that_waits_for_leave_gets_it() {
    let (server, proxy) = to_http1(&ok("done"));
    let mut peer = Peer::greeted(proxy.at("test"));
    let usual = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")];
    let fields = [&usual[..], &[("expect", "100-continue"), ("content-length", "4")]].concat();
    peer.say(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
    let leave = head(&mut peer);
    assert_eq!(leave.flags & END_STREAM, 0);
    peer.say(&frame(DATA, END_STREAM, 1, b"body"));
    assert_eq!(peer.until(DATA).unwrap().payload, b"done");
    assert!(server.heard()[0].ends_with("body"));
}

/// A server of HTTP/2 that says which head it got, and answers with `answer`.
fn http2_server(answer: Vec<Vec<u8>>) -> (Running, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut peer = Peer::on(listener.accept().unwrap().0);
        std::io::Read::read_exact(&mut peer.0, &mut [0; PREFACE.len()]).unwrap();
        peer.say(&frame(SETTINGS, 0, 0, &[]));
        let head = head(&mut peer);
        sender.send(head.payload).unwrap();
        if head.flags & END_STREAM == 0 {
            while peer.next().unwrap().flags & END_STREAM == 0 {}
        }
        peer.say(&answer.concat());
        while peer.next().is_some() {}
    });
    (World::new().spoken("http2", address).start(), receiver)
}

const OK: u8 = 0x88;

#[test]
fn fields_of_one_connection_do_not_reach_a_server_of_http_2() {
    let (proxy, heads) = http2_server(vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[OK])]);
    let answer = proxy.ask(
        "POST / HTTP/1.1\r\nhost: x\r\nte: trailers, deflate;q=0.5\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: keep-alive\r\nconnection: keep-alive, x-gone\r\nx-gone: 1\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    );
    assert_eq!(brief(&answer), "200 ");
    let head = decoded(&heads.recv().unwrap());
    assert!(head.contains("te: trailers\n"), "{head}");
    for gone in
        ["host:", "keep-alive", "proxy-connection", "x-gone", "transfer-encoding", "deflate"]
    {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert!(head.contains(":authority: x\n"), "{head}");
}

/// The fields of a block, as lines; by a decoder that others wrote.
fn decoded(block: &[u8]) -> String {
    use tokio::io::AsyncWriteExt;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let block = block.to_vec();
    runtime.block_on(async move {
        let (mut client, server) = tokio::io::duplex(65_536);
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
        let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &head].concat();
        client.write_all(&bytes).await.unwrap();
        let mut server = h2::server::handshake(server).await.unwrap();
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let mut text = format!(":authority: {}\n", request.uri().authority().unwrap());
        for (name, value) in request.headers() {
            text += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        text
    })
}

#[test]
fn answers_of_http_2_keep_their_framing_for_clients_of_http_1() {
    let head = |flags, fields: &[(&str, &str)]| {
        frame(HEADERS, END_HEADERS | flags, 1, &[&[OK][..], &block(fields)].concat())
    };
    let known = vec![head(0, &[("content-length", "4")]), frame(DATA, END_STREAM, 1, b"body")];
    let (proxy, _heads) = http2_server(known);
    let answer = proxy.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(
        answer.contains("content-length: 4\r\n") && answer.ends_with("\r\n\r\nbody"),
        "{answer}"
    );
    let unknown = vec![head(0, &[]), frame(DATA, END_STREAM, 1, b"body")];
    let (proxy, _heads) = http2_server(unknown);
    let answer = proxy.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.contains("transfer-encoding: chunked\r\n"), "{answer}");
    let (proxy, _heads) = http2_server(vec![head(END_STREAM, &[("content-length", "1234")])]);
    let mut client = proxy.client();
    client.say("HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = client.rest();
    assert!(answer.contains("content-length: 1234\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn an_answer_of_http_2_has_as_many_fields_as_one_of_http_1_may() {
    for (count, status) in [(100, "200"), (101, "502")] {
        let names: Vec<String> = (0..count).map(|at| format!("x-{at}")).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let block = [&[OK][..], &block(&fields)].concat();
        let (proxy, _heads) =
            http2_server(vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)]);
        let answer = proxy.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{count}: {answer}");
    }
}

#[test]
fn a_length_that_a_server_of_http_2_cannot_read_does_not_reach_it() {
    let (proxy, heads) = http2_server(vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[OK])]);
    for digits in ["00000000000000000000000003", "18446744073709551612"] {
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {digits}\r\n\r\nabc");
        assert!(proxy.ask(&head).starts_with("HTTP/1.1 400 "), "{digits}");
    }
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0000000000000000000\r\n\r\n";
    assert_eq!(brief(&proxy.ask(head)), "200 ");
    let head = decoded(&heads.recv().unwrap());
    assert!(head.contains("content-length: 0\n"), "{head}");
}

#[test]
fn an_answer_with_two_framings_is_passed_on_with_one() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
                4\r\nbody\r\n0\r\n\r\n";
    let (_server, proxy) = to_http1(both);
    let answer = proxy.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.ends_with("4\r\nbody\r\n0\r\n\r\n"), "{answer}");
    assert!(!answer.contains("content-length"), "{answer}");
}

#[test]
fn another_protocol_that_nobody_asked_for_is_a_bad_gateway() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: x\r\n\r\n";
    let (_server, proxy) = to_http1(switch);
    assert!(proxy.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").starts_with("HTTP/1.1 502"));
}

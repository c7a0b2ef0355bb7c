//! Servers of HTTP/2 that leave, refuse, reset and limit, written by hand.

use std::{
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, channel},
    thread,
};

use crate::{
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, Peer, RST_STREAM, SETTINGS,
        frame,
    },
    world::{Running, World, brief, get, lines},
};

/// `:status: 200`, from the static table (RFC 7541, appendix A).
pub const OK: &[u8] = &[0x88];
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// A server that does `serve` with each connection, by number from 0, after the handshake.
pub fn raw_server(
    settings: &'static [u8],
    serve: impl Fn(usize, &mut Peer) + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::sync::Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let serve = std::sync::Arc::clone(&serve);
            thread::spawn(move || {
                let mut peer = Peer::on(stream);
                let mut preface = [0; PREFACE.len()];
                if std::io::Read::read_exact(&mut peer.0, &mut preface).is_err() {
                    return;
                }
                assert_eq!(preface, PREFACE);
                peer.say(&frame(SETTINGS, 0, 0, settings));
                peer.say(&frame(SETTINGS, ACK, 0, &[]));
                serve(number, &mut peer);
            });
        }
    });
    address
}

fn proxy_of(server: SocketAddr) -> World {
    World::new().spoken("http2", server)
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn ok(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, OK)
}

/// The stream of the next request.
fn request(peer: &mut Peer) -> Option<u32> {
    peer.until(HEADERS).map(|frame| frame.stream)
}

/// Answers all further requests.
fn answer_all(peer: &mut Peer) {
    while let Some(stream) = request(peer) {
        peer.say(&ok(stream));
    }
}

/// Sends a request on a connection of its own, and waits for the answer elsewhere.
fn ask(proxy: &Running, text: &str) -> Receiver<String> {
    let (mut client, text) = (proxy.client(), text.to_owned());
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(client.ask(&text)));
    receiver
}

const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";

#[test]
fn requests_that_a_leaving_server_did_not_process_go_to_another_connection() {
    let server = raw_server(&[], |number, peer| match number {
        0 => {
            let first = request(peer).unwrap();
            let second = request(peer).unwrap();
            peer.say(&goaway(first, NO_ERROR));
            peer.say(&ok(first));
            assert!(second > first);
            // It stays until the last answer has been read.
            while peer.next().is_some() {}
        }
        _ => answer_all(peer),
    });
    let proxy = proxy_of(server).start();
    let answers = [ask(&proxy, POST), ask(&proxy, POST)];
    for answer in answers {
        assert_eq!(brief(&answer.recv().unwrap()), "200 ");
    }
}

#[test]
fn a_leaving_server_that_names_an_error_processed_no_more_either() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let server = raw_server(&[], |number, peer| match number {
        0 | 1 => {
            request(peer).unwrap();
            peer.say(&goaway(0, ENHANCE_YOUR_CALM));
        }
        _ => answer_all(peer),
    });
    let proxy = proxy_of(server).start();
    assert_eq!(brief(&ask(&proxy, POST).recv().unwrap()), "200 ");
}

#[test]
fn a_server_that_leaves_again_and_again_is_given_up() {
    let server = raw_server(&[], |_, peer| {
        request(peer).unwrap();
        peer.say(&goaway(0, NO_ERROR));
    });
    let (world, log) = proxy_of(server).log(LOG);
    let proxy = world.start();
    let body = "503 upstream connect error or disconnect/reset before headers. reset reason: \
                remote refused stream reset";
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), body);
    let line = "503 UR upstream_reset_before_response_started{remote_refused_stream_reset}";
    assert_eq!(lines(&log, 1), [line]);
}

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

#[test]
fn a_request_that_was_processed_is_not_sent_again_as_its_server_leaves() {
    let server = raw_server(&[], |number, peer| {
        assert_eq!(number, 0, "a second connection");
        let stream = request(peer).unwrap();
        peer.say(&goaway(stream, NO_ERROR));
    });
    let (world, log) = proxy_of(server).log(LOG);
    let proxy = world.start();
    assert!(proxy.ask(&get("x", "/")).starts_with("HTTP/1.1 503"));
    let line = "503 UC upstream_reset_before_response_started{connection_termination}";
    assert_eq!(lines(&log, 1), [line]);
}

#[test]
fn a_stream_that_its_server_resets_is_told_apart_from_a_connection_that_ends() {
    for (code, line) in [
        (CANCEL, "503 UR upstream_reset_before_response_started{remote_reset}"),
        (
            REFUSED_STREAM,
            "503 UR upstream_reset_before_response_started\
            {remote_refused_stream_reset}",
        ),
    ] {
        let server = raw_server(&[], move |_, peer| {
            while let Some(stream) = request(peer) {
                peer.say(&frame(RST_STREAM, 0, stream, &code.to_be_bytes()));
            }
        });
        let (world, log) = proxy_of(server).log(LOG);
        let proxy = world.start();
        assert!(proxy.ask(&get("x", "/")).starts_with("HTTP/1.1 503"));
        assert_eq!(lines(&log, 1), [line]);
    }
}

#[test]
fn an_answer_that_breaks_off_says_why() {
    for (end, line) in [
        (Some(CANCEL), "200 UR upstream_reset_after_response_started{remote_reset}"),
        (None, "200 UC upstream_reset_after_response_started{connection_termination}"),
    ] {
        let server = raw_server(&[], move |_, peer| {
            let Some(stream) = request(peer) else { return };
            peer.say(&frame(HEADERS, END_HEADERS, stream, OK));
            peer.say(&frame(DATA, 0, stream, b"begun"));
            if let Some(code) = end {
                peer.say(&frame(RST_STREAM, 0, stream, &code.to_be_bytes()));
                while peer.next().is_some() {}
            }
        });
        let (world, log) = proxy_of(server).log(LOG);
        let proxy = world.start();
        let mut client = proxy.client();
        client.say(&get("x", "/"));
        client.rest();
        assert_eq!(lines(&log, 1), [line]);
    }
}

#[test]
fn no_stream_waits_behind_a_long_one_where_a_server_allows_one_at_a_time() {
    // SETTINGS_MAX_CONCURRENT_STREAMS: 1.
    let server = raw_server(&[0, 3, 0, 0, 0, 1], |number, peer| match number {
        0 => while peer.next().is_some() {},
        _ => answer_all(peer),
    });
    let proxy = proxy_of(server).start();
    let (sender, receiver) = channel();
    for _ in 0..8 {
        let (mut client, sender) = (proxy.client(), sender.clone());
        thread::spawn(move || sender.send(client.ask(&get("x", "/"))));
    }
    for _ in 0..7 {
        assert_eq!(brief(&receiver.recv().unwrap()), "200 ");
    }
}

#[test]
fn an_answer_may_have_as_many_header_bytes_as_with_http_1() {
    let server = raw_server(&[], |_, peer| {
        while let Some(stream) = request(peer) {
            let value = "v".repeat(240);
            let fields: Vec<_> =
                (0..75).map(|number| (format!("x-{number}"), value.clone())).collect();
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let block = [OK, &crate::frames::block(&fields)].concat();
            let (first, rest) = block.split_at(16_000);
            peer.say(&frame(HEADERS, END_STREAM, stream, first));
            peer.say(&frame(crate::frames::CONTINUATION, END_HEADERS, stream, rest));
        }
    });
    let proxy = proxy_of(server).start();
    let answer = proxy.ask(&get("x", "/"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.len() > 18_000, "{}", answer.len());
}

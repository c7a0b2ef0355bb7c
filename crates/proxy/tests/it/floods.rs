//! Peers of HTTP/2 that break a rule again and again, and do not read what they are told.

use std::{
    io::Read,
    net::{Shutdown, TcpListener},
    thread,
};

use crate::{
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, Peer,
        SETTINGS, WITH_PRIORITY, code, frame, get,
    },
    world::{World, brief, ok, server},
};

const ENHANCE_YOUR_CALM: u32 = 11;
/// More than any side puts up with.
const MANY: u32 = 20_000;

/// A stream's place in the tree of priorities, below this one.
fn below(stream: u32) -> [u8; 5] {
    let [a, b, c, d] = stream.to_be_bytes();
    [a, b, c, d, 0]
}

/// A stream that depends on itself, for the `number`th time.
fn self_dependent(number: u32) -> Vec<u8> {
    let stream = 2 * number + 3;
    frame(PRIORITY, 0, stream, &below(stream))
}

/// What a peer hears at last: the code of a GOAWAY, or nothing while it is still served.
fn verdict(peer: &mut Peer) -> Option<u32> {
    let last = peer.next_of(&[GOAWAY, PING])?;
    (last.kind == GOAWAY).then(|| code(&last))
}

/// A client that sends `flood`s and then reads.
#[track_caller]
fn check_client(what: &str, skipped: bool, flood: impl Fn(u32) -> Vec<u8>) {
    let server = server(&[&ok("")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut peer = Peer::greeted(proxy.at("test"));
    if skipped {
        // All streams of lower numbers are over by this.
        let last = 2 * MANY + 101;
        peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, last, &get()));
    }
    for number in 0..MANY {
        peer.say(&flood(number));
    }
    peer.say(&frame(PING, 0, 0, &[7; 8]));
    assert_eq!(verdict(&mut peer), Some(ENHANCE_YOUR_CALM), "{what}");
}

#[test]
fn a_client_that_breaks_a_rule_again_and_again_without_reading_is_left() {
    check_client("PRIORITY", false, self_dependent);
    check_client("empty DATA", true, |number| frame(DATA, 0, 2 * number + 1, &[]));
    check_client("DATA at the end", true, |number| frame(DATA, END_STREAM, 2 * number + 1, b"x"));
    check_client("HEADERS", false, |number| {
        let stream = 2 * number + 1;
        let flags = END_HEADERS | END_STREAM | WITH_PRIORITY;
        frame(HEADERS, flags, stream, &[&below(stream)[..], &get()].concat())
    });
}

#[test]
fn a_server_that_breaks_a_rule_again_and_again_without_reading_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = World::new().spoken("http2", listener.local_addr().unwrap()).start();
    let serving = thread::spawn(move || {
        let mut peer = Peer::on(listener.accept().unwrap().0);
        peer.0.read_exact(&mut [0; PREFACE.len()]).unwrap();
        peer.say(&frame(SETTINGS, 0, 0, &[]));
        peer.say(&frame(SETTINGS, ACK, 0, &[]));
        peer.until(HEADERS).expect("a request");
        for number in 0..MANY {
            peer.say(&self_dependent(number));
        }
        peer.say(&frame(PING, 0, 0, &[7; 8]));
        let verdict = verdict(&mut peer);
        let _ = peer.0.shutdown(Shutdown::Both);
        verdict
    });
    let answer = proxy.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(serving.join().unwrap(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(&brief(&answer)[..1], "5", "{answer}");
}
